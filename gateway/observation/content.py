"""What was said in a request, for a log that may hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.events import ReasoningDelta, TextDelta, ToolCall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.events import Event

LONGEST: Final = 8000
"""Characters of one text that are logged: an image or a book is more than anybody reads in a log."""


class Content:
    """The messages of a request, and what was answered."""

    def __init__(self, messages: Any) -> None:
        self._messages = messages
        self._said: dict[str, list[str]] = {"thought": [], "text": [], "calls": []}

    def add(self, batch: Sequence[Event]) -> None:
        """Note what is said. Several choices' words come in the order in which they are said."""
        for event in batch:
            match event:
                case ReasoningDelta(text):
                    self._said["thought"].append(text)
                case TextDelta(text):
                    self._said["text"].append(text)
                case ToolCall(_, name, arguments):
                    self._said["calls"].append(f"{name}({arguments})")

    def fields(self) -> dict[str, Any]:
        """Return it as JSON values, long texts cut."""
        said = {kind: "".join(pieces)[:LONGEST] for kind, pieces in self._said.items() if pieces}
        return {"messages": _cut(self._messages), "answer": said}


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value[:LONGEST]
    if isinstance(value, list):
        return [_cut(item) for item in value]
    if isinstance(value, dict):
        return {name: _cut(item) for name, item in value.items()}
    return value
