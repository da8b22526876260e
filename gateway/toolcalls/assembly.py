"""The pieces of a stream -> whole tool calls.

A client is never given a part of a call: what is sent cannot be taken back when the rest turns out to be broken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.events import ToolCall

if TYPE_CHECKING:
    from gateway.events import ToolCallDelta


class CallAssembler:
    """Collects the pieces of one answer's calls. llama-server sends the calls one after another, never interleaved."""

    def __init__(self) -> None:
        self._index = -1
        self._id = ""
        self._name = ""
        self._arguments: list[str] = []

    def feed(self, delta: ToolCallDelta) -> list[ToolCall]:
        """Take a piece and return the calls, at most one, that it shows to be complete."""
        complete = self.end() if delta.index != self._index else []
        if delta.index != self._index:
            self._index = delta.index
        self._id += delta.id or ""
        self._name += delta.name or ""
        self._arguments.append(delta.arguments)
        return complete

    def end(self) -> list[ToolCall]:
        """Return the call that the answer's end completes, if there is one. It may have been cut off."""
        begun = self._index >= 0 and bool(self._name)
        found = ToolCall(self._id, self._name, "".join(self._arguments))
        self._index, self._id, self._name, self._arguments = -1, "", "", []
        return [found] if begun else []


def is_json(text: str) -> bool:
    """Return whether a call's arguments are complete."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
