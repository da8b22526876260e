"""What can be put right in a call without losing anything and without a guess.

A rule is only ever tried on a call that is not valid, and what it makes of it only counts if all of it is valid then.
So a valid call is never touched, and where a union takes a value as it is, it stays: "5" for a string or a number.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.events import ToolCall
from gateway.toolcalls.marks import strip_marks
from gateway.toolcalls.toolbox import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.toolcalls.schemas import Path
    from gateway.toolcalls.toolbox import Tool, Toolbox, Violation

MOST_TRIES = 200
"""So many values are tried for one call's arguments; each costs a validation."""

MOST_ROUNDS = 4
"""So many layers can lie over a value: text that holds text that holds JSON."""


class Rule(enum.StrEnum):
    """What was put right; the label of a metric."""

    NAME = "name"
    """Spaces, control tokens or a namespace around the one declared name that can be meant."""
    EMPTY = "empty"
    """No arguments at all, for a tool that needs none."""
    ENCODED_ARGUMENTS = "encoded_arguments"
    """JSON text in place of the arguments' object."""
    WRAPPED_ARGUMENTS = "wrapped_arguments"
    """`{"arguments": {...}}` in place of the arguments."""
    MARKS = "marks"
    """Control tokens around a value."""
    KEY_MARKS = "key_marks"
    """Control tokens, quotes or spaces around a key."""
    ENCODED = "encoded"
    """JSON text in place of the object or array that it stands for."""
    QUOTED = "quoted"
    """A number, a boolean or null in quotes."""
    UNQUOTED = "unquoted"
    """A whole number where its text is wanted."""
    WRITTEN_OUT = "written_out"
    """A call that stood in the text or in the thought: see `gateway.toolcalls.written_calls`."""
    NULL = "null"
    """Null for a property that may be left out and may not be null."""


@dataclass(frozen=True, slots=True)
class Normalised:
    """What became of a call.

    Attributes:
        call: The call: the very same where no rule was needed. Where none helped, at most its name is another.
        rules: What was put right, in that order; empty for the same call.
        violations: Why it may still not be passed on; empty if it may.
    """

    call: ToolCall
    rules: tuple[Rule, ...] = ()
    violations: tuple[Violation, ...] = ()

    @property
    def is_valid(self) -> bool:
        """Return whether the call may be passed on."""
        return not self.violations


def normalise(toolbox: Toolbox, call: ToolCall) -> Normalised:
    """Put right what can be, in a call that is not valid. Never raises, whatever the model wrote."""
    violations = toolbox.check(call)
    if not violations:
        return Normalised(call)
    name = _declared_name(toolbox, call.name)
    if name is None:
        return Normalised(call, violations=tuple(violations))
    rules: list[Rule] = [Rule.NAME] if name != call.name else []
    renamed = ToolCall(call.id, name, call.arguments)
    remaining = toolbox.check(renamed) if rules else violations
    if not remaining:
        return Normalised(renamed, tuple(rules))
    mended = _mend_arguments(toolbox.tools[name], call.arguments)
    if mended is None:
        return Normalised(renamed, tuple(rules), tuple(remaining))
    arguments, more = mended
    found = ToolCall(call.id, name, msgspec.json.encode(arguments).decode())
    return Normalised(found, (*rules, *more), tuple(toolbox.check(found)))


def _declared_name(toolbox: Toolbox, written: str) -> str | None:
    """Return the declared tool that a name stands for, if there is exactly one."""
    if written in toolbox.tools:
        return written
    bare = strip_marks(written).strip()
    if bare in toolbox.tools:
        return bare
    fitting = [name for name in toolbox.tools if bare.endswith((f".{name}", f":{name}", f"/{name}"))]
    return fitting[0] if len(fitting) == 1 else None


def _mend_arguments(tool: Tool, text: str) -> tuple[dict[str, Any], list[Rule]] | None:
    """Return valid arguments and the rules that made them of `text`, or None."""
    for arguments, rules in _readings(text):
        if tool.accepts(arguments):
            return arguments, rules
        if isinstance(arguments, dict) and (mended := _Mender(tool, arguments).mend()) is not None:
            return mended[0], rules + mended[1]
    return None


def _readings(text: str) -> Iterator[tuple[Any, list[Rule]]]:
    """Yield what the arguments' text may stand for, the plainest first."""
    if text.strip() in {"", "null", '""'}:
        yield {}, [Rule.EMPTY]
        return
    found, rules = _decode(text), []
    if found is None:
        found, rules = _decode(strip_marks(text)), [Rule.MARKS]
    for _ in range(MOST_ROUNDS):
        if not isinstance(found, str):
            break
        found, rules = _decode(strip_marks(found)), [*rules, Rule.ENCODED_ARGUMENTS]
    yield found, rules
    if isinstance(found, dict) and len(found) == 1:
        key, inner = next(iter(found.items()))
        if key in {"arguments", "parameters"}:
            inner = _decode(inner) if isinstance(inner, str) else inner
            yield inner, [*rules, Rule.WRAPPED_ARGUMENTS]


class _Mender:
    """Tries the rules on the places that the validator blames, the deepest first."""

    def __init__(self, tool: Tool, arguments: dict[str, Any]) -> None:
        self._tool = tool
        self._value: Any = arguments
        self._rules: list[Rule] = []
        self._tries = 0

    def mend(self) -> tuple[dict[str, Any], list[Rule]] | None:
        """Return the valid arguments and the rules that led there, or None."""
        places = self._tool.parameters.places(self._value)
        for _ in range(MOST_ROUNDS):
            before = places
            for path in before:
                places = self._mend_at(path, places)
                if not places:
                    return self._value, self._rules
            if places == before:
                break
        return None

    def _mend_at(self, path: Path, places: dict[Path, bool]) -> dict[Path, bool]:
        """Keep the first rule's result with which fewer places are to blame, and return those."""
        try:
            old = _get(self._value, path)
        except (KeyError, IndexError, TypeError):
            return places  # another place's mending took it away
        for rule, new in _candidates(old, is_property=places.get(path, False)):
            if self._tries >= MOST_TRIES:
                break
            self._tries += 1
            changed = _set(self._value, path, new)
            remaining = self._tool.parameters.places(changed)
            if len(remaining) < len(places) or (rule in _LAYERS and path not in remaining):
                self._value = changed
                self._rules.append(rule)
                return remaining
        return places


_LEFT_OUT = object()
_LAYERS = frozenset({Rule.ENCODED, Rule.KEY_MARKS})
"""Rules that may uncover more faults than they mend."""

_Candidate = tuple[Rule, Any]


def _candidates(value: Any, *, is_property: bool) -> Iterator[_Candidate]:
    """Yield what a value may stand for."""
    if isinstance(value, str):
        bare = strip_marks(value)
        if bare != value:
            yield Rule.MARKS, bare
        yield from _decoded(bare)
    elif isinstance(value, dict):
        if (keys := _bare_keys(value)) is not None:
            yield Rule.KEY_MARKS, keys
    elif isinstance(value, int) and not isinstance(value, bool):
        yield Rule.UNQUOTED, str(value)
    elif value is None and is_property:
        yield Rule.NULL, _LEFT_OUT


_PYTHON = {"True": True, "False": False, "None": None}


def _decoded(text: str) -> Iterator[_Candidate]:
    bare = text.strip()
    if bare in _PYTHON:
        yield Rule.QUOTED, _PYTHON[bare]
        return
    try:
        found = msgspec.json.decode(bare)
    except UNREADABLE:
        return
    if isinstance(found, dict | list):
        yield Rule.ENCODED, found
    elif not isinstance(found, str) and _is_exact(bare, found):
        yield Rule.QUOTED, found


def _is_exact(text: str, value: Any) -> bool:
    """Return whether a number has kept all its digits."""
    if not isinstance(value, float):
        return True
    try:
        return Decimal(text) == Decimal(repr(value))
    except InvalidOperation:
        return False


_AROUND_KEY = re.compile(r"""^[\s"']+|[\s"']+$""")


def _bare_keys(value: dict[str, Any]) -> dict[str, Any] | None:
    """Return an object with clean keys, or None if they are clean or two would become one."""
    bare = {_AROUND_KEY.sub("", strip_marks(key)): inner for key, inner in value.items()}
    return bare if len(bare) == len(value) and list(bare) != list(value) else None


def _decode(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except UNREADABLE:
        return None


def _get(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def _set(value: Any, path: Path, new: Any) -> Any:
    """Return a copy of `value` with another value at a place, or without that place."""
    if not path:
        return new
    step, rest = path[0], path[1:]
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    if not rest and new is _LEFT_OUT:
        del copy[step]
    else:
        copy[step] = _set(value[step], rest, new)
    return copy
