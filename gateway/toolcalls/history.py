"""A conversation's tool calls and results, mended where clients break them.

An agent cannot go back and write its history again, so that nothing here is refused and nothing is lost. Gemma 4's
template shows a result only where it follows the message that holds its call, and names it by the call's id; it drops
any other one without a word, and leaves a call without a result open. So afterwards each call's arguments are a JSON
object as text, ids are unique within a message, and a message's calls are followed by one result each, in their order.

A history that is right already stays as it is. An id that comes again in a later message is right: some clients count
from nought in each.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.toolcalls.toolbox import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.request import Json

NO_RESULT: Final = "There is no result: it is not known whether this call was carried out."
"""What the model reads of a call that nobody answered."""

LOST_CALL: Final = "The result of a tool call that is not shown here:\n"
"""Before a result whose call is not there, which the user then says: agents cut old messages off."""

MOST_LAYERS: Final = 4
"""So often may arguments be text that holds text that holds JSON."""


def mend_history(messages: Sequence[Json]) -> list[Json]:
    """Return a conversation with whole pairs of calls and results.

    A result belongs to the call of its id that came last before it; among calls of one id in one run of the model's,
    in their order. A result without an id belongs to the first call that no other result belongs to.

    Args:
        messages: As llama-server's chat endpoint takes them, but ids may be missing, and arguments may be anything.

    Returns:
        New messages where something was mended, the very same ones elsewhere.
    """
    turns = {at: _Turn(at, message) for at, message in enumerate(messages) if message.get("tool_calls")}
    paired = _pair(messages, turns)
    mended: list[Json] = []
    for at, message in enumerate(messages):
        if at in turns:
            mended += turns[at].mended(messages)
        elif message["role"] != "tool":
            mended.append(message)
        elif at not in paired:
            mended.append({"role": "user", "content": _told(message["content"])})
    return mended


def mend_arguments(given: Any) -> str:
    """Return a call's arguments as the text of a JSON object.

    Nothing, and null, are no arguments. JSON text within JSON text is unwrapped. What is no object all the same is kept
    as the value of `arguments`, as JSON if it is that and as text if not.

    Args:
        given: Text that holds JSON, or does not, or the object itself.
    """
    if given is not None and not isinstance(given, str):
        return msgspec.json.encode(given if isinstance(given, dict) else {"arguments": given}).decode()
    text = given or ""
    for _ in range(MOST_LAYERS):
        if not text.strip():
            return "{}"
        try:
            value = msgspec.json.decode(text)
        except UNREADABLE:
            break
        if isinstance(value, dict):
            return text
        if value is None:
            return "{}"
        if not isinstance(value, str):
            return f'{{"arguments":{text.strip()}}}'
        text = value
    return msgspec.json.encode({"arguments": text}).decode()


@dataclass(slots=True)
class _Call:
    """A call, and where its result is."""

    given: Json
    result: int | None = None

    @property
    def id(self) -> str:
        return self.given.get("id") or ""

    def with_id(self, call_id: str) -> Json:
        """Return it as it is to be: the very same, if it is so already."""
        function = self.given["function"]
        arguments = mend_arguments(function.get("arguments"))
        if self.id == call_id and function.get("arguments") == arguments:
            return self.given
        return {**self.given, "id": call_id, "function": {**function, "arguments": arguments}}


class _Turn:
    """A message with calls."""

    def __init__(self, at: int, message: Json) -> None:
        self.calls = [_Call(call) for call in message["tool_calls"]]
        self._at = at
        self._message = message

    def mended(self, messages: Sequence[Json]) -> Iterator[Json]:
        """Yield the message, and a result for each call."""
        ids = self._ids(messages)
        calls = [call.with_id(call_id) for call, call_id in zip(self.calls, ids, strict=True)]
        is_right = all(call is mended for call, mended in zip(self._message["tool_calls"], calls, strict=True))
        yield self._message if is_right else {**self._message, "tool_calls": calls}
        for call, call_id in zip(self.calls, ids, strict=True):
            yield _result(messages, call, call_id)

    def _ids(self, messages: Sequence[Json]) -> list[str]:
        """Return an id for each call: its own, or its result's, or one that is made of its place."""
        wanted = [call.id or _result_id(messages, call) for call in self.calls]
        reserved, ids = set(wanted), dict[str, None]()
        for i, wish in enumerate(wanted):
            chosen = wish
            if not wish or wish in ids:
                chosen = f"{wish or 'call'}-{self._at}-{i}"
                while chosen in reserved or chosen in ids:
                    chosen += "-"
            ids[chosen] = None
        return list(ids)


def _result_id(messages: Sequence[Json], call: _Call) -> str:
    return "" if call.result is None else messages[call.result].get("tool_call_id") or ""


def _result(messages: Sequence[Json], call: _Call, call_id: str) -> Json:
    if call.result is None:
        return {"role": "tool", "content": NO_RESULT, "tool_call_id": call_id}
    given = messages[call.result]
    return given if given.get("tool_call_id") == call_id else {**given, "tool_call_id": call_id}


def _told(content: str | list[Json]) -> str | list[Json]:
    return LOST_CALL + content if isinstance(content, str) else [{"type": "text", "text": LOST_CALL}, *content]


def _pair(messages: Sequence[Json], turns: Mapping[int, _Turn]) -> set[int]:
    """Find each call's result, by their ids first. Returns where those are that belong to a call."""
    paired: set[int] = set()
    for is_exact in (True, False):
        waiting = _Waiting()
        for at, message in enumerate(messages):
            if at in turns:
                goes_on = at > 0 and messages[at - 1]["role"] == "assistant"
                waiting.add(turns[at].calls, goes_on=goes_on, is_exact=is_exact)
            elif message["role"] == "tool" and at not in paired:
                call = waiting.take(_key(message.get("tool_call_id") or "", is_exact=is_exact))
                if call is not None:
                    call.result = at
                    paired.add(at)
    return paired


_ANY: Final = None
"""The key of all calls."""
_NO_ID: Final = ""
"""The key of calls without an id."""


def _key(result_id: str, *, is_exact: bool) -> str | None:
    """Return under what a result's call is looked for. By ids, a result without one finds nothing."""
    if is_exact:
        return result_id
    return _NO_ID if result_id else _ANY


def _keys(call: _Call, *, is_exact: bool) -> tuple[str | None, ...]:
    if is_exact:
        return (call.id,) if call.id else ()
    return (_ANY,) if call.id else (_ANY, _NO_ID)


class _Waiting:
    """Calls that wait for their result."""

    def __init__(self) -> None:
        self._run = 0
        self._runs: dict[str | None, list[tuple[int, deque[_Call]]]] = {}

    def add(self, calls: Iterable[_Call], *, goes_on: bool, is_exact: bool) -> None:
        """Add a message's calls.

        Args:
            calls: Those that have a result already are left out.
            goes_on: Whether the message before it is the model's too.
            is_exact: Whether results are looked for by the calls' ids.
        """
        self._run += not goes_on
        for call in calls:
            if call.result is None:
                for key in _keys(call, is_exact=is_exact):
                    self._add(key, call)

    def _add(self, key: str | None, call: _Call) -> None:
        runs = self._runs.setdefault(key, [])
        if not runs or runs[-1][0] != self._run:
            runs.append((self._run, deque()))
        runs[-1][1].append(call)

    def take(self, key: str | None) -> _Call | None:
        """Return the last run's first call that still waits under a key, which then waits no longer."""
        runs = self._runs.get(key, [])
        while runs:
            calls = runs[-1][1]
            while calls:
                if (call := calls.popleft()).result is None:
                    return call
            runs.pop()
        return None
