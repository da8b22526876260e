"""Gemma 4's control tokens, kept out of the answer's text.

llama-server shows most of them as text, so that its own parser can see them, and where that parser does not expect one
it stays in the answer: https://github.com/ggml-org/llama.cpp/issues/22786 and its like. As text they look the same as
words about them, which a model may well be asked for. So they are removed only from the answer to a conversation that
names none of them, which is nearly every one; and never from a thought or a call's arguments, which have readers of
their own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gateway.toolcalls.marks import MARKS

if TYPE_CHECKING:
    from collections.abc import Sequence

_FIND = re.compile("|".join(map(re.escape, MARKS)))
_LONGEST: Final = max(map(len, MARKS))


def names_marks(value: Any) -> bool:
    """Return whether a conversation, or any part of one, holds a mark."""
    match value:
        case str():
            return _FIND.search(value) is not None
        case dict():
            return any(map(names_marks, value.values()))
        case list():
            return any(map(names_marks, value))
    return False


class MarkFilter:
    """Passes text on without the marks in it. Pure; the text may come in any pieces."""

    def __init__(self, messages: Sequence[Any]) -> None:
        """Take the conversation. It is looked at when the first mark appears, which hardly ever happens."""
        self._messages = messages
        self._named: bool | None = None
        self._held = ""

    def feed(self, text: str) -> str:
        """Return what of the text so far may be passed on; what could be a mark's beginning is held back."""
        if self._named or ("<" not in text and not self._held):
            return text
        text = self._held + text
        *before, rest = _FIND.split(text)
        if before and self._are_named():
            self._held = ""
            return text
        keep = _unfinished(rest)
        self._held = rest[len(rest) - keep :]
        return "".join(before) + rest[: len(rest) - keep]

    def end(self) -> str:
        """Return what was held back: no mark came of it."""
        held, self._held = self._held, ""
        return held

    def _are_named(self) -> bool:
        if self._named is None:
            self._named = names_marks(list(self._messages))
        return self._named


def _unfinished(text: str) -> int:
    """Return the length of the end of `text` that may be a mark's beginning."""
    start = text.rfind("<", -_LONGEST + 1)
    return len(text) - start if start >= 0 and any(mark.startswith(text[start:]) for mark in MARKS) else 0
