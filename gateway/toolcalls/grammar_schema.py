"""A tool's JSON Schema -> one that llama-server turns into a grammar.

llama.cpp (common/json-schema.cpp, common/json-schema-to-grammar.cpp) reads a schema as one of its kinds and drops the
keywords beside it: a union's siblings, a number's bounds, a string's length beside its pattern. So the schema is first
written out: references resolved, `allOf` merged, unions spread over what stands beside them, recursion cut. What comes
out knows only `anyOf`, `enum`, objects, arrays, strings, integers, numbers, booleans and null, each with an end.

The grammar always writes all required properties. What it cannot say is left out, which widens it, and what only a
few would want is left out too, which narrows it: so that what comes back is checked against the client's own schema.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.toolcalls.grammar_formats import NATIVE, PATTERNS
from gateway.toolcalls.grammar_pattern import translate_pattern
from gateway.toolcalls.grammar_text import CHARACTER, repeat
from gateway.toolcalls.schema_spread import Spreader, TooLarge, Variant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.request import Json

CACHED = 256
MOST_NODES = 4000
MOST_ENUMERATED = 64
SAFE_INTEGER = 2**53 - 1
"""The largest whole number that every client's JSON reader keeps exactly."""

_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
_KEYWORDS = {
    "object": {"properties", "required", "additionalProperties", "patternProperties", "propertyNames", "minProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems", "contains", "uniqueItems"},
    "string": {"pattern", "format", "minLength", "maxLength"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
}
"""What a schema without a type is about."""

_PLAIN_KEY = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ $@/.")
"""Property names of these only can be told from other keys: llama.cpp does not escape the rest."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where the grammar ends what the schema leaves open.

    Attributes:
        characters: Of a string.
        items: Of an array, beyond those that it must have.
        depth: How often a reference may lead back to itself.
        plain: Whether to leave out what the schema allows and does not ask for: keys that it does not name, equal
            items, fractions. A model that writes noise then still writes what is valid.
        bare: Whether to leave out even the properties that it names and does not ask for.
    """

    characters: int = 16_000
    items: int = 64
    depth: int = 3
    plain: bool = False
    bare: bool = False


WIDE = Bounds()
TIGHT = Bounds(characters=64, items=1, depth=1, plain=True)
"""For a last attempt: it ends soon and is nearly always valid, but long texts are cut off."""
BARE = replace(TIGHT, bare=True)
"""For what does not end even so: a model that writes noise fills every property that it may."""


def grammar_schema(schema: Json, bounds: Bounds = WIDE) -> Json:
    """Return the schema for `response_format`. Not to be changed: it is cached.

    A schema that nothing can meet gives that of any object.
    """
    return _cached(msgspec.json.encode(schema), bounds)


@functools.lru_cache(CACHED)
def _cached(text: bytes, bounds: Bounds) -> Json:
    schema = msgspec.json.decode(text)
    for depth in range(bounds.depth, -1, -1):
        try:
            found = _Writer(schema, replace(bounds, depth=depth)).whole()
        except (TooLarge, RecursionError):
            continue
        return found or {"type": "object"}
    return {"type": "object"}


class _Writer:
    """Writes one schema. None stands for a schema that nothing can meet, or not soon enough."""

    def __init__(self, schema: Json, bounds: Bounds) -> None:
        self._bounds = bounds
        self._schema = schema
        self._spreader = Spreader(schema, depth=bounds.depth)
        self._nodes = 0

    def whole(self) -> Json | None:
        return self._write({"allOf": [self._schema, {"type": "object"}]}, ())

    def _write(self, schema: Any, trail: tuple[str, ...]) -> Json | None:
        """Write a subschema that was reached by following the references of `trail`."""
        variants = self._spreader.spread(schema, trail)
        return _union([self._write_variant(variant) for variant in variants])

    def _write_variant(self, variant: Variant) -> Json | None:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise TooLarge
        keywords = variant.keywords
        types = keywords.get("type") or _implied_types(keywords)
        if "enum" in keywords:
            values = [value for value in keywords["enum"] if not types or any(_is_a(value, name) for name in types)]
            return {"enum": values} if values else None
        if not types:
            return self._any()
        if "number" in types:
            types = [name for name in types if name != "integer"]
        return _union([self._write_type(name, variant) for name in types])

    def _write_type(self, name: str, variant: Variant) -> Json | None:
        match name:
            case "object":
                return self._object(variant)
            case "array":
                return self._array(variant)
            case "string":
                return self._string(variant.keywords)
            case "integer" | "number":
                return self._number(variant.keywords, whole=name == "integer")
            case _:
                return {"type": name}

    def _any(self) -> Json:
        scalars = [self._string({}), {"type": "number"}, {"type": "boolean"}, {"type": "null"}]
        if self._bounds.plain:
            return {"anyOf": scalars[2:]}
        scalar = {"anyOf": scalars}
        return {
            "anyOf": [
                *scalars,
                {"type": "array", "items": scalar, "maxItems": self._bounds.items},
                {"type": "object", "additionalProperties": scalar},
            ]
        }

    # --- objects

    def _object(self, variant: Variant) -> Json | None:
        keywords, trail = variant.keywords, variant.trail
        required = list(dict.fromkeys(keywords.get("required", ())))
        declared = self._declared(keywords, required)
        properties: dict[str, Json] = {}
        for name, schema in declared.items():
            written = self._write(schema, trail)
            if written is not None:
                properties[name] = written
            elif name in required:
                return None
        optional = [name for name in properties if name not in required]
        room = keywords.get("maxProperties", len(properties)) - len(required)
        lacking = keywords.get("minProperties", 0) - len(required)
        optional = optional[: max(min(room, lacking) if self._bounds.bare else room, 0)]
        properties = {name: written for name, written in properties.items() if name in required or name in optional}
        further = self._further(keywords, trail, properties)
        if lacking > len(optional) and further is None:
            return None if lacking > len(optional) + len(required) else _build(properties, [*required, *optional], None)
        return _union([_build(properties, chosen, further) for chosen in _choices(required, optional, lacking)])

    def _declared(self, keywords: Json, required: list[str]) -> Json:
        """Return the properties that may be written, with those that are only required or only named."""
        declared = dict(keywords.get("properties", {}))
        names = keywords.get("propertyNames")
        named = names.get("enum", ()) if isinstance(names, dict) else ()
        for name in [*required, *named]:
            if isinstance(name, str) and name not in declared:
                declared[name] = keywords.get("additionalProperties", True)
        return declared

    def _further(self, keywords: Json, trail: tuple[str, ...], properties: Json) -> Json | None:
        """Return the schema of properties under other names, if there are to be any."""
        needed = keywords.get("minProperties", 0) > len(properties)
        named = "propertyNames" in keywords and bool(properties)
        if named or (self._bounds.plain and not needed) or not all(_PLAIN_KEY.issuperset(name) for name in properties):
            return None
        patterns = list(keywords.get("patternProperties", {}).values())
        given = keywords.get("additionalProperties", "properties" not in keywords and not properties and not patterns)
        choices = patterns + ([] if given is False else [given])
        written = [found for schema in choices if (found := self._write(schema, trail)) is not None]
        return _union(written)

    # --- arrays

    def _array(self, variant: Variant) -> Json | None:
        keywords, trail = variant.keywords, variant.trail
        least = max(keywords.get("minItems", 0), int("contains" in keywords))
        most = keywords.get("maxItems", math.inf)
        first = keywords.get("prefixItems", [])
        item = self._write(keywords.get("items", True), trail) if not first or least > len(first) else None
        if first:
            return self._tuple([self._write(schema, trail) for schema in first], item, least, most)
        if item is None:
            return _EMPTY_ARRAY if not least else None
        bound = max(least, self._bounds.items) if self._bounds.plain else least + self._bounds.items
        if keywords.get("uniqueItems") and "enum" in item:
            bound = max(least, min(bound, len(item["enum"])))
        return {"type": "array", "items": item, "minItems": least, "maxItems": int(min(most, bound))}

    def _tuple(self, items: list[Json | None], rest: Json | None, least: int, most: float) -> Json | None:
        items = [*items, *[rest] * (least - len(items))]
        wanted = items[: int(min(most, len(items)))]
        usable = wanted[: wanted.index(None)] if None in wanted else wanted
        if len(usable) < least:
            return None
        return {"type": "array", "prefixItems": usable} if usable else _EMPTY_ARRAY

    # --- strings and numbers

    def _string(self, keywords: Json) -> Json | None:
        least = keywords.get("minLength", 0)
        most = keywords.get("maxLength", max(self._bounds.characters, 2 * least))
        if least > most:
            return None
        for pattern in (keywords.get("pattern"), PATTERNS.get(keywords.get("format", ""))):
            bound = min(most, self._bounds.characters)
            if pattern and (translated := translate_pattern(pattern, least=least, most=bound)):
                return {"type": "string", "pattern": translated}
        if keywords.get("format") in NATIVE:
            return {"type": "string", "format": keywords["format"]}
        most = max(least, min(most, self._bounds.characters))
        try:
            return {"type": "string", "pattern": f"^{repeat(CHARACTER, least, most)}$"} if most else {"enum": [""]}
        except ValueError:  # longer than can be written
            return {"type": "string"}

    def _number(self, keywords: Json, *, whole: bool) -> Json | None:
        low, high = keywords.get("minimum", -math.inf), keywords.get("maximum", math.inf)
        above, below = keywords.get("exclusiveMinimum", -math.inf), keywords.get("exclusiveMaximum", math.inf)
        if max(low, above) > min(high, below):
            return None
        first = max(math.ceil(max(low, -SAFE_INTEGER)), math.floor(max(above, -SAFE_INTEGER - 1)) + 1)
        last = min(math.floor(min(high, SAFE_INTEGER)), math.ceil(min(below, SAFE_INTEGER + 1)) - 1)
        bounded = (low, high, above, below) != (-math.inf, math.inf, -math.inf, math.inf)
        step = keywords.get("multipleOf")
        if step and (multiples := _multiples(step, first, last, few=self._bounds.plain)):
            return {"enum": multiples}
        if not whole and not self._bounds.plain:
            return {"type": "number"}
        if first <= last:
            return (
                {"type": "integer", "minimum": first, "maximum": last} if bounded or not whole else {"type": "integer"}
            )
        return None if whole else {"enum": [(max(low, above) + min(high, below)) / 2]}


_EMPTY_ARRAY: Json = {"type": "array", "items": {"type": "null"}, "maxItems": 0}


def _build(properties: Json, required: list[str], further: Json | None) -> Json:
    built: Json = {"type": "object", "properties": properties}
    if required:
        built["required"] = required
    if further is not None:
        built["additionalProperties"] = further
    return built


def _choices(required: list[str], optional: list[str], lacking: int) -> list[list[str]]:
    """Return lists of required properties, of which each has as many as there must be at least."""
    if lacking <= 0 or not optional:
        return [required]
    if lacking == 1 and len(optional) <= MOST_ENUMERATED:
        return [[*required, name] for name in optional]
    return [[*required, *optional[:lacking]]]


def _union(found: Sequence[Json | None]) -> Json | None:
    alternatives: list[Json] = []
    for one in found:
        for alternative in (one or {}).get("anyOf", [one]):
            if alternative is not None and alternative not in alternatives:
                alternatives.append(alternative)
    if len(alternatives) > 1:
        return {"anyOf": alternatives}
    return alternatives[0] if alternatives else None


def _implied_types(keywords: Json) -> list[str]:
    return [name for name, known in _KEYWORDS.items() if not known.isdisjoint(keywords)]


def _is_a(value: Any, name: str) -> bool:
    if isinstance(value, bool) or value is None:
        return name == ("null" if value is None else "boolean")
    if isinstance(value, int | float):
        return name == "number" or (name == "integer" and value == int(value))
    kind = "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"
    return name == kind


def _multiples(step: float, first: int, last: int, *, few: bool) -> list[int]:
    """Return the multiples between two numbers if they are not too many, or a few of them."""
    if not float(step).is_integer() or first > last:
        return []
    whole = int(step)
    lowest, highest = -(-first // whole), last // whole
    if highest - lowest >= MOST_ENUMERATED:
        if not few:
            return []
        lowest = min(max(lowest, 0), highest)
        highest = min(highest, lowest + 8)
    return [whole * times for times in range(lowest, highest + 1)]
