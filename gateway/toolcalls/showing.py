"""Tools as chat templates can show them to a model: the same schemas, written in another way.

Gemma 4's template tells a property's `type`, `description`, `nullable`, the `enum` of a string, the `items` of an array
and the `properties` of an object. It knows no `$ref`, `anyOf`, `oneOf`, `allOf` and `const`: of a property that is
written so, as pydantic and zod write them, the model is told no type at all. And it writes the types of a list's items
through a filter that llama.cpp's template engine does not have, where there are several: a request with such a tool is
answered with a 500 (b11549). What the template shows well stays as it is, so that prompts do, too.

What a call is held against is the client's own schema all the same. So what is shown may say less than it, or be wider.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from enum import Enum, auto
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.toolcalls.schema_spread import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.request import Json

CACHED: Final = 64
"""So many requests' tools are remembered: an agent sends the same with each."""

MOST_ADDED: Final = 64 * 1024
"""So many bytes of a request's tools may come from following references: without an end, two could become millions."""
MOST_ADDED_TO_TOOL: Final = 16 * 1024
COST: Final = 50
"""So many bytes a reference counts for besides what it leads to, which may be nothing."""
MOST_DEPTH: Final = 24
"""Schemas within each other; no reference is followed further down. The engine has to walk through what is shown."""

_REWRITTEN: Final = re.compile(rb'"(?:type":\[|(?:\$ref|anyOf|oneOf|allOf|const|enum)":)')
_POINTER: Final = re.compile(r"#(?:/.{0,500})?", re.DOTALL)
"""The references that are followed. Anchors and ids would have to be looked for in all of the document."""

_NAMED: Final = frozenset({"patternProperties", "dependentSchemas"})
"""The keywords whose values are schemas by names of the client's; so are those of `properties`."""
_BOUND: Final = frozenset({"$defs", "definitions", "$id", "$schema"})
"""The keywords that mean something only where they stand."""
_LITERAL: Final = frozenset({"enum", "const", "default", "examples", "required", "$defs", "definitions"})
"""The keywords whose values are no schemas, or not shown."""
_DETAILS: Final = frozenset({"enum", "items", "properties"})
"""The keywords that the template tells only of a property with a single type."""
_KINDS: Final[dict[type, str]] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "array",
    dict: "object",
    NoneType: "null",
}
_NO_DETAILS: Final[dict[str, Json]] = {name: {"type": name} for name in _KINDS.values()} | {
    "object": {"type": "object", "properties": {}}  # without `properties` all its keywords would be told as some
}


def show(tools: Sequence[Json]) -> msgspec.Raw:
    """Return declarations in OpenAI's shape as JSON that can be shown."""
    text = msgspec.json.encode(tools)
    return msgspec.Raw(_rewritten(text) if _REWRITTEN.search(text) else text)


@functools.lru_cache(CACHED)
def _rewritten(text: bytes) -> bytes:
    tools = msgspec.json.decode(text)
    room = MOST_ADDED
    for tool in tools:
        function = tool["function"]
        if isinstance(schema := function.get("parameters"), dict):
            allowed = min(room, MOST_ADDED_TO_TOOL)
            writer = _Writer(schema, allowed)
            function["parameters"] = writer.write()
            room -= allowed - max(writer.room, 0)
    return msgspec.json.encode(tools)


class _How(Enum):
    """How the template shows a schema."""

    PROPERTY = auto()
    """In its own words: what it does not know is lost."""
    ITEMS = auto()
    """The properties in its own words, all else as it is."""
    WHOLE = auto()
    """As it is: nothing is lost, so there is nothing to be told in another way."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a schema stands.

    Attributes:
        how: How it is shown there.
        trail: The references that were followed on the way to it. The first is the root's own.
        depth: How many schemas it is within.
    """

    how: _How = _How.PROPERTY
    trail: frozenset[str] = frozenset({"#"})
    depth: int = 0

    def within(self, how: _How) -> _Place:
        return _Place(how, self.trail, self.depth + 1)


class _Writer:
    """Writes one schema.

    Attributes:
        room: How many bytes references may still add; below zero if one would have added more.
    """

    def __init__(self, root: Json, room: int) -> None:
        self._root = root
        self.room = room

    def write(self) -> Json:
        return _decided(self._write(self._root, _Place()))

    def _write(self, schema: Any, place: _Place) -> Any:
        """Return a schema without references."""
        if isinstance(schema, list):
            return [self._write(each, place) for each in schema]
        if not isinstance(schema, dict):
            return schema
        schema, place = self._gather(schema, place)
        return {keyword: self._write_value(keyword, value, place) for keyword, value in schema.items()}

    def _write_value(self, keyword: str, value: Any, place: _Place) -> Any:
        if keyword == "properties" and isinstance(value, dict):
            return {name: self._write_property(each, place) for name, each in value.items()}
        if place.how is not _How.PROPERTY:
            how = _How.WHOLE
        elif keyword == "additionalProperties":  # the template tells it as one, where there are no others
            return self._write_property(value, place)
        else:
            how = _How.ITEMS if keyword == "items" else _How.PROPERTY
        if keyword in _NAMED and isinstance(value, dict):
            return {name: self._write(each, place.within(how)) for name, each in value.items()}
        written = value if keyword in _LITERAL else self._write(value, place.within(how))
        return _one_type(written) if keyword == "items" else written

    def _write_property(self, schema: Any, place: _Place) -> Any:
        if place.how is _How.WHOLE:
            return self._write(schema, place.within(_How.WHOLE))
        return _told(self._write(schema, place.within(_How.PROPERTY)))

    def _gather(self, schema: Json, place: _Place) -> tuple[Json, _Place]:
        """Return a schema together with what it refers to and what its `allOf` asks for, and where that led."""
        own, others = dict(schema), []
        if isinstance(reference := schema.get("$ref"), str) and _POINTER.fullmatch(reference):
            del own["$ref"]
            others.append(self._follow(reference, place))
            place = replace(place, trail=place.trail | {reference})
        if _can_be_joined(schema.get("allOf")):
            others += own.pop("allOf")
        if not others:
            return schema, place
        parts = [own]
        for other in others:
            part, led = self._gather(other, place.within(place.how))
            parts.append(part)
            place = replace(place, trail=led.trail)
        return _join(parts), place

    def _follow(self, reference: str, place: _Place) -> Json:
        """Return what a reference leads to; no more than its type if it leads back, or too far."""
        target = resolve(self._root, reference)
        if not isinstance(target, dict):
            return {}
        if reference in place.trail or place.depth > MOST_DEPTH or not self._has_room(target):
            kind = target.get("type")
            return _NO_DETAILS.get(kind, {}) if isinstance(kind, str) else {}
        return {keyword: value for keyword, value in target.items() if keyword not in _BOUND}

    def _has_room(self, target: Json) -> bool:
        if self.room > 0:
            self.room -= len(msgspec.json.encode(target)) + COST
        return self.room > 0


def _can_be_joined(parts: Any) -> bool:
    """Return whether an `allOf` has only parts that do not need to be told apart."""
    return isinstance(parts, list) and all(isinstance(part, dict) and "if" not in part for part in parts)


def _join(parts: Sequence[Json]) -> Json:
    """Return what all of them say; where they differ, what the first of them says."""
    joined: Json = {}
    properties: Json = {}
    for part in reversed(parts):
        joined |= part
        properties |= _mapping(part.get("properties"))
    required = dict.fromkeys(name for part in parts for name in _texts(part.get("required")))
    if properties:
        joined["properties"] = properties
    if required:
        joined["required"] = list(required)
    return joined


def _told(schema: Any) -> Any:
    """Return the schema of a property with a type that the template tells, if there is one."""
    if not isinstance(schema, dict):
        return schema
    if "const" in schema:
        schema = {**_without(schema, "const"), "enum": [schema["const"]]}
    schema = _decided(schema)
    if "type" not in schema and isinstance(values := schema.get("enum"), list) and values:
        return _with_types(schema, [_KINDS[type(value)] for value in values])
    if isinstance(schema.get("type"), list) and len(_real(schema)) == 1 and _DETAILS & schema.keys():
        return _with_types(schema, _types(schema))
    return schema


def _decided(schema: Json) -> Json:
    """Return a schema of no type with what comes nearest to its `anyOf` or `oneOf` in their place."""
    for union in ("anyOf", "oneOf"):
        if "type" not in schema and isinstance(choices := schema.get(union), list) and (told := _either(choices)):
            schema = _join([_without(schema, union), told])
    return schema


def _either(choices: Sequence[Any]) -> Json | None:
    """Return what comes nearest to any of some schemas; None if there is none, or one without a type.

    The template tells several types, but then nothing else of them.
    """
    told = [_told(choice) for choice in choices]
    if not told or not all(_types(choice) for choice in told):
        return None
    real = [choice for choice in told if _real(choice)]
    match list(dict.fromkeys(name for choice in real for name in _real(choice))):
        case [_] if len(real) == 1:
            found = real[0]
        case ["string"]:
            found = _any_text(real)
        case ["array"]:
            found = _any_array(real)
        case ["object"]:
            found = _any_object(real)
        case _:
            found = {}
    return _with_types(found, [name for choice in told for name in _types(choice)])


def _any_text(choices: Sequence[Json]) -> Json:
    if not all("enum" in choice for choice in choices):
        return {}
    return {"enum": list(dict.fromkeys(value for choice in choices for value in _texts(choice["enum"])))}


def _any_array(choices: Sequence[Json]) -> Json:
    if not all("items" in choice for choice in choices):
        return {}
    return {"items": _union([choice["items"] for choice in choices])}


def _any_object(choices: Sequence[Json]) -> Json:
    """Return the properties of all, which is more than any of them has; what all require is required."""
    properties: dict[str, list[Any]] = {}
    for choice in choices:
        for name, schema in _mapping(choice.get("properties")).items():
            properties.setdefault(name, []).append(schema)
    first, *others = [dict.fromkeys(_texts(choice.get("required"))) for choice in choices]
    return {
        "properties": {name: _told(_union(schemas)) for name, schemas in properties.items()},
        "required": [name for name in first if all(name in other for other in others)],
    }


def _union(schemas: list[Any]) -> Any:
    return schemas[0] if all(schema == schemas[0] for schema in schemas) else {"anyOf": schemas}


def _with_types(schema: Json, types: Sequence[str]) -> Json:
    """Return a schema with these types, null told as `nullable`."""
    real = [name for name in dict.fromkeys(types) if name != "null"]
    found = {**schema, "type": real[0] if len(real) == 1 else real or "null"}
    if not real or "null" not in types:
        return found
    if isinstance(values := found.get("enum"), list):
        found["enum"] = [value for value in values if value is not None]
    return {**found, "nullable": True}


def _types(schema: Any) -> list[str]:
    """Return the types of a schema; none if it does not say."""
    kind = _mapping(schema).get("type")
    types = [kind] if isinstance(kind, str) else _texts(kind)
    return [*types, "null"] if types and schema.get("nullable") is True else types


def _real(schema: Any) -> list[str]:
    return [name for name in _types(schema) if name != "null"]


def _one_type(items: Any) -> Any:
    """Return the schema of items without a list of types."""
    if not isinstance(items, dict) or not isinstance(types := items.get("type"), list):
        return items
    rest = _without(items, "type")
    if len(types) == 1:
        return {"type": types[0], **rest}
    return {"anyOf": [{"type": name} for name in types], **rest}


def _without(schema: Json, keyword: str) -> Json:
    return {key: value for key, value in schema.items() if key != keyword}


def _mapping(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
