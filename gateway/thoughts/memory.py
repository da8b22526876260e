"""Thoughts that clients of Chat Completions lose: most send a tool call back without the thought that led to it.

The call's id brings it back here. The memory is this process's own, and bounded; a thought that is not there any more
is missing in the conversation as it would be without us.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.request import Json

MOST_CALLS: Final = 4096
MOST_CHARACTERS: Final = 32 << 20


class ThoughtMemory:
    """The thoughts behind the last tool calls, least recently used first out. Each key sees only its own."""

    def __init__(self, most_calls: int = MOST_CALLS, most_characters: int = MOST_CHARACTERS) -> None:
        self._most_calls = most_calls
        self._most_characters = most_characters
        self._characters = 0
        self._thoughts: OrderedDict[tuple[str, str], str] = OrderedDict()

    def remember(self, key: str, call_id: str, thought: str) -> None:
        """Keep the thought that led to a call. One that is larger than all that may be kept is not.

        Args:
            key: The name of the client's key.
            call_id: The call's id, with or without a dialect's prefix.
            thought: Not empty.
        """
        place = (key, _bare(call_id))
        self._characters += len(thought) - len(self._thoughts.pop(place, ""))
        self._thoughts[place] = thought
        while len(self._thoughts) > self._most_calls or self._characters > self._most_characters:
            _, dropped = self._thoughts.popitem(last=False)
            self._characters -= len(dropped)

    def recall(self, key: str, messages: Sequence[Json]) -> list[Json]:
        """Return a conversation with the thoughts that it lost, as far as they are known."""
        return [self._with_thought(key, message) for message in messages]

    def _with_thought(self, key: str, message: Json) -> Json:
        calls = message.get("tool_calls")
        if not calls or message.get("reasoning_content"):
            return message
        for call in calls:
            place = (key, _bare(call.get("id", "")))
            if (thought := self._thoughts.get(place)) is not None:
                self._thoughts.move_to_end(place)
                return {**message, "reasoning_content": thought}
        return message


def _bare(call_id: str) -> str:
    """Return an id without the prefix that a dialect gave it, such as `call_`."""
    return call_id.rpartition("_")[2]
