"""A tool's JSON Schema -> a validator of its arguments. Compiled once, never fetched.

JSON Schema 2020-12, or the draft that `$schema` names. Formats are checked where a repair can keep them (`FORMATS`):
newer drafts leave it open, and clients' validators do check them.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import msgspec

from gateway.toolcalls.schema_limits import MOST_BYTES, TooLarge, check_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jsonschema_rs import ValidationError

CACHED_SCHEMAS = 512
MOST_VIOLATIONS = 8
MOST_WORDS = 240
"""So many characters of the validator's words are passed on: they quote the value."""

BACKTRACK_LIMIT = 100_000
"""Steps of a pattern with look-around before it counts as not matching; all others run in linear time."""

FORMATS = frozenset({"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"})
"""The formats that are checked; `gateway.toolcalls.grammar_formats` can write each of them."""

_UNCHECKED = (
    "idn-email",
    "idn-hostname",
    "iri",
    "iri-reference",
    "json-pointer",
    "relative-json-pointer",
    "regex",
    "uri-reference",
    "uri-template",
)

_DRAFTS = {
    "http://json-schema.org/draft-04/schema": jsonschema_rs.Draft4Validator,
    "http://json-schema.org/draft-06/schema": jsonschema_rs.Draft6Validator,
    "http://json-schema.org/draft-07/schema": jsonschema_rs.Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": jsonschema_rs.Draft201909Validator,
}

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")

Path = tuple[str | int, ...]


class BrokenSchema(Exception):
    """A schema cannot be compiled.

    Attributes:
        path: Where in it, as in `properties.x.type`; empty for the whole.
        message: What is wrong.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.message = message


@dataclass(frozen=True, slots=True)
class Fault:
    """Where arguments break their schema.

    Attributes:
        path: The keys and indices that lead there.
        message: The validator's words, short.
    """

    path: Path
    message: str


class CompiledSchema:
    """A validator.

    Attributes:
        schema: What it was compiled from. Not to be changed.
        size: Its length as JSON, in bytes.
    """

    def __init__(self, schema: dict[str, Any], size: int) -> None:
        """Compile a schema.

        Raises:
            BrokenSchema: It breaks its metaschema, refers to what is not there or not in it, or is too large.
        """
        self.schema = schema
        self.size = size
        try:
            check_size(schema)
            self._validator = _compile(schema)
        except TooLarge as error:
            raise BrokenSchema("", f"{error}.") from None
        except jsonschema_rs.ValidationError as error:
            raise BrokenSchema(dotted(error.instance_path) or _find_reference(schema, error), _words(error)) from None
        except ValueError as error:  # its own limit of nesting
            raise BrokenSchema("", str(error)) from None

    def accepts(self, instance: Any) -> bool:
        """Return whether an instance is valid."""
        return self._validator.is_valid(instance)

    def faults(self, instance: Any) -> list[Fault]:
        """Return why it is not, the first few reasons; empty if it is valid."""
        errors = itertools.islice(self._validator.iter_errors(instance), MOST_VIOLATIONS)
        return [Fault(tuple(error.instance_path), _words(error)) for error in errors]

    def places(self, instance: Any) -> dict[Path, bool]:
        """Return every place that is to blame, also within the alternatives of an `anyOf` or `oneOf`; deepest first.

        With each goes whether it is a property that the schema knows by name.
        """
        found: dict[Path, bool] = {}
        for error in _leaves(self._validator.iter_errors(instance)):
            path = tuple(error.instance_path)
            found[path] = found.get(path, False) or _is_declared(path, error.evaluation_path)
        return dict(sorted(found.items(), key=lambda place: (-len(place[0]), [str(step) for step in place[0]])))


def compile_schema(schema: dict[str, Any]) -> CompiledSchema:
    """Return the validator of a schema, from the cache if it has been compiled before.

    Raises:
        BrokenSchema: It cannot be compiled.
    """
    try:
        text = msgspec.json.encode(schema)
    except RecursionError:
        raise BrokenSchema("", "it is nested too deeply.") from None
    if len(text) > MOST_BYTES:
        raise BrokenSchema("", f"it takes {len(text)} bytes; the most are {MOST_BYTES}.")
    return _compiled(text)


def dotted(path: Sequence[str | int]) -> str:
    """Return a path as clients write it: `stops[2].city`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


@functools.lru_cache(CACHED_SCHEMAS)
def _compiled(text: bytes) -> CompiledSchema:
    return CompiledSchema(msgspec.json.decode(text), len(text))


def _compile(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    declared = str(schema.get("$schema", "")).rstrip("#")
    compiler: Any = _DRAFTS.get(declared, jsonschema_rs.Draft202012Validator)
    # the draft is chosen by the class; a dialect that nobody knows is read as the newest draft
    plain = {key: value for key, value in schema.items() if key != "$schema"}
    validator: jsonschema_rs.Validator = compiler(
        plain,
        validate_formats=True,
        formats=dict.fromkeys(_UNCHECKED, _anything),
        pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACK_LIMIT),
        offline=True,
    )
    return validator


def _anything(_value: object) -> bool:
    return True


def _words(error: ValidationError) -> str:
    return error.message if len(error.message) <= MOST_WORDS else f"{error.message[:MOST_WORDS]}…"


def _leaves(errors: Iterator[ValidationError]) -> Iterator[ValidationError]:
    for error in errors:
        yield error
        for alternative in getattr(error.kind, "context", ()):
            yield from _leaves(iter(alternative))


_STEPS_INTO = frozenset({"properties", "patternProperties", "additionalProperties", "items", "prefixItems"})


def _is_declared(path: Path, steps: Sequence[str | int]) -> bool:
    """Return whether the last step into the instance went through `properties`."""
    into = [i for i, step in enumerate(steps) if step in _STEPS_INTO]
    # a property may have such a name itself: then the pair before it counts
    return any(steps[i] == "properties" and path[-1:] == tuple(steps[i + 1 : i + 2]) for i in into[-2:])


def _find_reference(schema: dict[str, Any], error: ValidationError) -> str:
    """Return the place of the reference that cannot be followed: the error does not say."""
    waiting: list[tuple[Path, Any]] = [((), schema)]
    while waiting:
        path, node = waiting.pop(0)
        if isinstance(node, dict):
            for key in _REFERENCES:
                if isinstance(target := node.get(key), str) and target.lstrip("#") in error.message:
                    return dotted((*path, key))
            waiting += [((*path, key), child) for key, child in node.items()]
        elif isinstance(node, list):
            waiting += [((*path, i), child) for i, child in enumerate(node)]
    return ""
