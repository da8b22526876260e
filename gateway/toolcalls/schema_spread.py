"""A schema -> the plain variants that it is a choice between.

A variant is one set of keywords without references, `allOf`, `anyOf`, `oneOf` or `if`. Its subschemas are as they were.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.request import Json

MOST_VARIANTS = 48
"""Of one schema; more are left out."""

MOST_STEPS = 20_000

_INDEX = re.compile(r"[0-9]{1,9}")  # Python refuses to read a number of more than 4300 digits
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_SPREAD = frozenset({*_REFERENCES, "allOf", "anyOf", "oneOf", "if", "then", "else"})


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to meet a schema.

    Attributes:
        keywords: Its keywords; `type` is a list, `const` an `enum`, tuples are `prefixItems`.
        trail: The references that were followed on the way here, from the root on.
    """

    keywords: Json
    trail: tuple[str, ...]


class TooLarge(Exception):
    """A schema, written out, is larger than a grammar should be."""


class Spreader:
    """Spreads the parts of one schema."""

    def __init__(self, root: Json, *, depth: int) -> None:
        """Prepare for a schema.

        Args:
            root: What references are relative to.
            depth: How often a reference may lead back to itself; further on it leads nowhere.
        """
        self._root = root
        self._depth = depth
        self._steps = 0

    def spread(self, schema: Any, trail: tuple[str, ...]) -> list[Variant]:
        """Return the variants of a part that was reached by following the references of `trail`; none if it is false.

        Raises:
            TooLarge: There is no end of them.
        """
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise TooLarge
        if schema is False:
            return []
        if not isinstance(schema, dict):
            return [Variant({}, trail)]
        found = [Variant(_plain_keywords(schema), trail)]
        for key in _REFERENCES:
            if isinstance(reference := schema.get(key), str):
                found = _both(found, self._follow(reference, trail))
        for part in schema.get("allOf", ()):
            found = _both(found, self.spread(part, trail))
        for key in ("anyOf", "oneOf"):
            if key in schema:
                choices = [one for part in schema[key] for one in self.spread(part, trail)]
                found = _both(found, choices[:MOST_VARIANTS])
        if "if" in schema:
            met = self.spread({"allOf": [schema["if"], schema.get("then", True)]}, trail)
            found = _both(found, [*met, *self.spread(schema.get("else", True), trail)])
        return found

    def _follow(self, reference: str, trail: tuple[str, ...]) -> list[Variant]:
        if trail.count(reference) > self._depth:
            return []
        return self.spread(resolve(self._root, reference), (*trail, reference))


def resolve(root: Json, reference: str) -> Any:
    """Return what a reference leads to; True, which allows anything, for what is not in the schema."""
    _, _, fragment = reference.rpartition("#")
    if "#" not in reference:
        return _find(root, "$id", reference)
    if fragment and not fragment.startswith("/"):
        found = _find(root, "$anchor", fragment)
        return found if found is not True else _find(root, "$dynamicAnchor", fragment)
    node: Any = root
    for step in unquote(fragment).split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, list) and _INDEX.fullmatch(key) and int(key) < len(node):
            node = node[int(key)]
        else:
            return True
    return node


def _find(node: Any, key: str, value: str) -> Any:
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if node.get(key) == value:
                return node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return True


def _plain_keywords(schema: Json) -> Json:
    """Return a schema's own keywords, those that have several spellings in one."""
    keywords = {key: value for key, value in schema.items() if key not in _SPREAD}
    if isinstance(kind := keywords.get("type"), str):
        keywords["type"] = [kind]
    if "const" in keywords:
        keywords["enum"] = [keywords.pop("const")]
    if isinstance(keywords.get("items"), list):  # a tuple, before 2020
        keywords["prefixItems"] = keywords["items"]
        keywords["items"] = keywords.get("additionalItems", True)
    for exclusive, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(keywords.get(exclusive), bool) and keywords.pop(exclusive) and limit in keywords:  # draft 4
            keywords[exclusive] = keywords.pop(limit)
    return keywords


def _both(left: list[Variant], right: list[Variant]) -> list[Variant]:
    """Return the variants that meet one of each side."""
    found: list[Variant] = []
    for one in left:
        for other in right:
            if (merged := _merge(one.keywords, other.keywords)) is not None:
                longer = other.trail if len(other.trail) > len(one.trail) else one.trail
                found.append(Variant(merged, longer))
            if len(found) == MOST_VARIANTS:
                return found
    return found


def _merge(left: Json, right: Json) -> Json | None:
    """Return the keywords of both, or None if nothing can meet them together."""
    merged = {**left, **right}
    for key in left.keys() & right.keys():
        merged[key] = _merge_values(key, left[key], right[key])
        if key in {"type", "enum"} and not merged[key]:
            return None
    return merged


def _merge_values(key: str, left: Any, right: Any) -> Any:
    if key in _MERGED:
        return _MERGED[key](left, right)
    return left  # two patterns, two formats: one of them, the other is left to the validator


def _common_types(left: list[str], right: list[str]) -> list[str]:
    common = [name for name in left if name in right]
    if "number" in left and "integer" in right and "integer" not in common:
        common.append("integer")
    if "integer" in left and "number" in right and "integer" not in common:
        common.append("integer")
    return common


def _together(left: Any, right: Any) -> Any:
    if left is True or left in ({}, right):
        return right
    if right is True or right == {}:
        return left
    if left is False or right is False:
        return False
    return {"allOf": [left, right]}


def _common_properties(left: Json, right: Json) -> Json:
    return {name: _together(left.get(name, True), right.get(name, True)) for name in {**left, **right}}


def _common_tuple(left: list[Any], right: list[Any]) -> list[Any]:
    common = [_together(*pair) for pair in zip(left, right, strict=False)]
    return common + left[len(right) :] + right[len(left) :]


_MERGED: dict[str, Callable[[Any, Any], Any]] = {
    "type": _common_types,
    "enum": lambda left, right: [value for value in left if value in right],
    "required": lambda left, right: [*left, *right],
    "properties": _common_properties,
    "patternProperties": _common_properties,
    "prefixItems": _common_tuple,
    **dict.fromkeys(("items", "additionalProperties", "propertyNames"), _together),
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), min),
}
