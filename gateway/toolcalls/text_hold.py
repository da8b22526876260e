"""Text on its way to the client, and the calls that are written out at its end.

Text passes as it comes. What could be the beginning of a written-out call is held back, and given out unchanged as
soon as it turns out to be text. Where a call may begin:

- at the mark `<|tool_call>` or `<tool_call>`, anywhere but in a code fence;
- at the word `call:` and the beginning of a declared name, as the first thing on a line, not in a code fence;
- at the beginning of the answer, if that is the beginning of a call as JSON.

It is one only if it is complete and reaches the text's end: see `gateway.toolcalls.written_calls`. A model that is
stuck may begin calls without end, so nothing is read again from a place where reading has failed.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from gateway.toolcalls.gemma_syntax import NotACall
from gateway.toolcalls.written_calls import BARE, MARKED, TAGGED, Failed, read_gemma, read_json, read_tagged

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.events import ToolCall

SMALL = 64
"""Held text of up to so many characters is looked at again with each piece; longer, when it has grown by half."""

_STARTS = (MARKED, TAGGED, BARE)
_FIRSTS = tuple({start[0] for start in _STARTS})
LONGEST_START = max(map(len, _STARTS))
_START = re.compile("|".join(map(re.escape, _STARTS)))
_BEGUN = re.compile(
    "(?:"
    + "|".join(f"(?:{re.escape(start[:size])})" for start in _STARTS for size in range(len(start) - 1, 0, -1))
    + r")\Z"
)
_FENCE = "```"
_MARKED_CALL = r"<\|tool_call>call:(?:(?!<\|?tool_call).)*<tool_call\|>"
_MARKED_CALLS = re.compile(rf"{_MARKED_CALL}(?:\s*{_MARKED_CALL})*", re.DOTALL)


class TextHold:
    """Holds back what may be a call. Pure; the text may come in any pieces."""

    def __init__(self, names: Collection[str], *, whole_json: bool = True) -> None:
        """Watch for calls.

        Args:
            names: The declared tools' names.
            whole_json: Whether a text that is JSON as a whole can be a call.
        """
        self._names = frozenset(names)
        self._held = ""
        self._look_at = 0  # how long the held text must be to be looked at again
        self._heads = _json_heads(self._names) if whole_json else ()
        self._place = _Place()  # behind the text that was passed on
        self._failed = Failed()

    def feed(self, text: str) -> str:
        """Return what of the text so far is no call."""
        self._held += text
        if len(self._held) < self._look_at:
            return ""
        self._failed.clear()
        at = self._next_start(0)
        while at < len(self._held) and not self._may_be_call(at):
            at = self._next_start(self._go(at, at + 1))
        passed, self._held = self._held[:at], self._held[at:]
        size = len(self._held)
        self._look_at = 0 if size < SMALL else size + size // 2
        return passed

    def end(self) -> tuple[str, list[ToolCall]]:
        """Return the rest of the text, and the calls that come after it. Their ids are empty."""
        held = self._held
        self._failed.clear()
        at = self._next_start(0)
        calls: list[ToolCall] = []
        while at < len(held):
            with contextlib.suppress(NotACall):
                if calls := self._read(at):
                    break
            at = self._next_start(self._go(at, at + 1))
        self._held, self._look_at = "", 0
        return held[:at], calls

    def _go(self, at: int, end: int) -> int:
        """Pass over the held text from `at` to `end`."""
        self._place.go(self._held[at:end])
        return end

    def _next_start(self, at: int) -> int:
        """Pass over the held text up to where a call may begin, or to its end, and return where that is."""
        if self._place.at_beginning and self._heads and self._held:
            return at
        if not any(first in self._held for first in _FIRSTS):
            return self._go(at, len(self._held))  # as in most pieces
        while found := _START.search(self._held, at) or _BEGUN.search(self._held, at):
            at = self._go(at, found.start())
            if self._place.allows_call(bare=self._held[at] == BARE[0]):
                return at
            at = self._go(at, at + 1)
        return self._go(at, len(self._held))

    def _may_be_call(self, at: int) -> bool:
        if self._place.at_beginning and self._may_be_json():
            return True
        begun = any(start.startswith(self._held[at : at + LONGEST_START + 1]) for start in _STARTS)
        if begun or not self._held.startswith(_STARTS, at):
            return begun
        try:
            self._read_marked(at)
        except NotACall as failure:
            return failure.unfinished
        return True

    def _may_be_json(self) -> bool:
        dense = "".join(self._held.split())
        if not any(head.startswith(dense) or dense.startswith(head) for head in self._heads):
            return False
        try:
            read_json(self._held, self._names)
        except NotACall as failure:
            return failure.unfinished or any(head.startswith(dense) for head in self._heads)
        return True

    def _read(self, at: int) -> list[ToolCall]:
        if self._place.at_beginning and self._heads:
            try:
                return read_json(self._held, self._names)
            except NotACall:
                pass
        return self._read_marked(at) if self._held.startswith(_STARTS, at) else []

    def _read_marked(self, at: int) -> list[ToolCall]:
        if self._held.startswith(TAGGED, at):
            return read_tagged(self._held, at, self._names, self._failed)
        return read_gemma(self._held, at, self._names, self._failed)


class _Place:
    """What the text that has been passed on says about the place after it."""

    def __init__(self) -> None:
        self.at_beginning = True
        self._blank_line = True
        self._ticks = 0  # those that the text ends with
        self._fences = 0  # complete ones before them

    def go(self, text: str) -> None:
        """Pass over `text`."""
        if not text:
            return
        self.at_beginning = False
        if not self._ticks and "\n" not in text and "`" not in text:
            self._blank_line = self._blank_line and text.isspace()
            return
        last = text.rsplit("\n", 1)
        self._blank_line = not last[-1].strip() and (len(last) > 1 or self._blank_line)
        for run in re.finditer("`+|[^`]+", text):
            if run[0][0] == "`":
                self._ticks += len(run[0])
            else:
                self._fences, self._ticks = self._fences + self._ticks // len(_FENCE), 0

    def allows_call(self, *, bare: bool) -> bool:
        """Return whether a call may begin here, with its mark or bare."""
        in_fence = (self._fences + self._ticks // len(_FENCE)) % 2 == 1
        return not in_fence and (self._blank_line or not bare)


def _json_heads(names: Collection[str]) -> tuple[str, ...]:
    """Return how a call as JSON can begin, white space left out."""
    keys = [f'{{"name":"{name}"' for name in sorted(names)]
    keys += ['{"arguments":{', '{"parameters":{', '{"arguments":"', '{"parameters":"', '{"type":"function"', '{"id":"']
    return tuple(
        f"{fence}{bracket}{key}"
        for fence in ("", "```", "```json", "```tool_call")
        for bracket in ("", "[")
        for key in keys
    )


def find_calls(text: str, names: Collection[str], *, whole_json: bool = True) -> tuple[str, list[ToolCall]]:
    """Return what of a whole text is text, and the calls that are written out at its end. Their ids are empty.

    For a thought, `whole_json` is better off: a model thinks in JSON without calling.
    """
    hold = TextHold(names, whole_json=whole_json)
    passed = hold.feed(text)
    rest, calls = hold.end()
    return passed + rest, calls


def trapped_calls(thought: str, names: Collection[str]) -> list[ToolCall]:
    """Return the calls that are written out in a whole thought which nothing followed. Their ids are empty.

    They stand at its end or, with both marks, anywhere in it; but all in one place: a model that wrote one here and
    one there was still making up its mind.
    """
    calls = find_calls(thought, names, whole_json=False)[1]
    groups = list(_MARKED_CALLS.finditer(thought))
    if calls or len(groups) != 1:
        return calls
    return find_calls(groups[0][0], names, whole_json=False)[1]
