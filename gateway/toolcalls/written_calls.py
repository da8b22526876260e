"""Calls that a model wrote out where a text is expected, to be read to the text's end.

    Gemma's syntax   one call after another, with or without the marks around each
    tagged JSON      <tool_call>{"name": ..., "arguments": {...}}</tool_call>, as Hermes and Qwen models write it
    bare JSON        that object or a list of them, in a fence or not

Each names a declared tool, is complete, and nothing follows it. Anything else is text about calls and stays text.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.events import ToolCall
from gateway.toolcalls.gemma_syntax import NotACall, parse_call
from gateway.toolcalls.marks import skip_marks
from gateway.toolcalls.schema_limits import MOST_NAME_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Collection

MARKED = "<|tool_call>"
TAGGED = "<tool_call>"
TAG_END = "</tool_call>"
BARE = "call:"

LONGEST_MARK = 24

_OPEN_FENCE = re.compile(r"\s*```(?:json|tool_call)?\s*")
_CLOSED_FENCE = re.compile(r"\s*```\s*")
_SPACE = re.compile(r"\s*")
_OTHER_KEYS = frozenset({"id", "type"})

_scan = json.JSONDecoder().raw_decode


class Failed:
    """The places in one text from which reading to its end has failed, so that none is read from twice.

    A reader that begins at a later mark or call goes the same way as one that has passed there.
    """

    def __init__(self) -> None:
        self._places: set[int] = set()
        self._marks = (0, 0)  # from where to where the last run of marks goes

    def clear(self) -> None:
        """Forget all: the text is another one."""
        self._places.clear()
        self._marks = (0, 0)

    def enter(self, at: int) -> None:
        """Note that it is read from here. If that succeeds, nobody asks.

        Raises:
            NotACall: It has failed.
        """
        if at in self._places:
            raise NotACall(unfinished=False)
        self._places.add(at)

    def skip_marks(self, text: str, at: int) -> int:
        """Return where a run of marks ends; it may be asked for from any of them."""
        if not self._marks[0] <= at < self._marks[1]:
            self._marks = (at, skip_marks(text, at))
        return self._marks[1]


def read_gemma(text: str, at: int, names: Collection[str], failed: Failed) -> list[ToolCall]:
    """Read calls in Gemma's syntax from `at` to the text's end. Their ids are empty.

    Raises:
        NotACall: There is something else, or something after them.
    """
    calls: list[ToolCall] = []
    at = failed.skip_marks(text, at)
    while at < len(text) or not calls:
        failed.enter(at)
        try:
            call = parse_call(text, at)
        except NotACall as failure:
            unfinished = failure.unfinished and _could_be_declared(text, at + len(BARE), names)
            raise NotACall(unfinished=unfinished or _is_begun_mark(text, at)) from None
        if call.name not in names:
            raise NotACall(unfinished=False)
        calls.append(ToolCall("", call.name, msgspec.json.encode(call.arguments).decode()))
        at = failed.skip_marks(text, call.end)
    return calls


def _could_be_declared(text: str, at: int, names: Collection[str]) -> bool:
    """Return whether what stands after `call:` is a declared name, or the beginning of one."""
    name, brace, _ = text[at : at + MOST_NAME_CHARACTERS + 1].partition("{")
    return name in names if brace else any(declared.startswith(name) for declared in names)


def _is_begun_mark(text: str, at: int) -> bool:
    rest = text[at : at + LONGEST_MARK]
    return rest.startswith("<") and len(rest) < LONGEST_MARK and ">" not in rest


def read_tagged(text: str, at: int, names: Collection[str], failed: Failed) -> list[ToolCall]:
    """Read tagged JSON from `at` to the text's end; as `read_gemma`.

    Raises:
        NotACall: There is something else, or something after it.
    """
    calls: list[ToolCall] = []
    while at < len(text):
        if not text.startswith(TAGGED, at):
            raise NotACall(unfinished=TAGGED.startswith(text[at : at + len(TAGGED)]))
        failed.enter(at)
        value, at = _read_value(text, at + len(TAGGED))
        calls += _to_calls(value, names)
        at = _skip_space(text, at)
        if text.startswith(TAG_END, at):
            at = _skip_space(text, at + len(TAG_END))
        elif at < len(text) and not text.startswith(TAGGED, at):
            raise NotACall(unfinished=len(text) - at < len(TAG_END))
    return calls


def read_json(text: str, names: Collection[str]) -> list[ToolCall]:
    """Read a text that is JSON as a whole; as `read_gemma`.

    Raises:
        NotACall: It is something else.
    """
    fence = _OPEN_FENCE.match(text)
    value, at = _read_value(text, fence.end() if fence else 0)
    calls = _to_calls(value, names)
    at = _skip_space(text, at)
    if fence and (closed := _CLOSED_FENCE.match(text, at)):
        at = closed.end()
    if at < len(text):
        raise NotACall(unfinished=fence is not None and "```".startswith(text[at:].strip()))
    return calls


def _read_value(text: str, at: int) -> tuple[Any, int]:
    at = _skip_space(text, at)
    if text[at : at + 1] not in {"", "{", "["}:
        raise NotACall(unfinished=False)
    try:
        value, end = _scan(text, at)
    except (ValueError, RecursionError):
        raise NotACall(unfinished=True) from None
    return value, end


def _to_calls(value: Any, names: Collection[str]) -> list[ToolCall]:
    items = value if isinstance(value, list) else [value]
    if not items:
        raise NotACall(unfinished=False)
    return [_to_call(item, names) for item in items]


def _to_call(item: Any, names: Collection[str]) -> ToolCall:
    """Return the call that an object is; a further key makes it something else."""
    if not isinstance(item, dict) or item.get("name") not in names:
        raise NotACall(unfinished=False)
    keys = set(item) - {"name"} - _OTHER_KEYS
    if len(keys) != 1 or not keys <= {"arguments", "parameters"} or item.get("type", "function") != "function":
        raise NotACall(unfinished=False)
    arguments = item[keys.pop()]
    if not isinstance(arguments, dict | str):
        raise NotACall(unfinished=False)
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return ToolCall("", item["name"], text)


def _skip_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
