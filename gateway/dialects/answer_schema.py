"""The JSON Schema that an answer is to have: what llama-server cannot make a grammar of is refused, by its place.

It is made for every request, before anything else is known of it, by code that trusts its input (b11549): the server
takes all memory over a minimum above its maximum, or a pattern such as `a{5,2}`; takes minutes over an object of some
thousand optional properties; and calls it its own failure where it does not know a type or a reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.dialects.json_body import invalid
from gateway.toolcalls.schemas import BrokenSchema, compile_schema, dotted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.request import Json
    from gateway.toolcalls.schemas import Path

MOST_OPTIONAL: Final = 500
"""Properties of one object that may be left out. Their grammar grows with the third power: 800 take over a second."""

_BOUNDS: Final = (("minLength", "maxLength"), ("minItems", "maxItems"))
_LITERAL: Final = frozenset({"const", "default", "enum", "examples"})
"""The keywords whose values are no schemas."""
_ROOT: Final = "#"
_ROOT_NAME: Final = "root"
_MOVABLE: Final = ("#/$defs/", "#/definitions/")
"""The references that lead to the same when the root becomes one of the definitions."""


def checked_schema(schema: Json, where: str) -> Json:
    """Return a schema that llama-server can make a grammar of.

    Args:
        schema: The client's.
        where: The request's field that holds it.

    Raises:
        InvalidRequest: It is none, or one that cannot be met; `param` names the place.
    """
    try:
        compile_schema(schema)
    except BrokenSchema as error:
        raise invalid(_place(where, error.path), error.message) from None
    nodes = list(_nodes(schema))
    for path, node in nodes:
        place = _place(where, dotted(path))
        for least, most in _BOUNDS:
            if _number(node, least) > _number(node, most, float("inf")):
                raise invalid(_place(place, least), f"it is above {most}.")
        if _optional(node) > MOST_OPTIONAL:
            message = f"{_optional(node)} of them are not required; the most are {MOST_OPTIONAL}."
            raise invalid(_place(place, "properties"), message)
    references = [reference for _, node in nodes if isinstance(reference := node.get("$ref"), str)]
    return _with_named_root(schema, references) if _ROOT in references else schema


def _place(where: str, path: str) -> str:
    return f"{where}.{path}" if path else where


def _nodes(schema: Json) -> Iterator[tuple[Path, Json]]:
    """Yield each object in a schema that may be one itself, with the way to it."""
    waiting: list[tuple[Path, Any]] = [((), schema)]
    while waiting:
        path, node = waiting.pop()
        if isinstance(node, dict):
            yield path, node
            waiting += [((*path, key), child) for key, child in node.items() if key not in _LITERAL]
        elif isinstance(node, list):
            waiting += [((*path, index), child) for index, child in enumerate(node)]


def _number(node: Json, keyword: str, default: float = 0) -> float:
    value = node.get(keyword)
    return value if isinstance(value, int | float) else default


def _optional(node: Json) -> int:
    properties, required = node.get("properties"), node.get("required")
    if not isinstance(properties, dict):
        return 0
    return len(properties.keys() - set(required)) if isinstance(required, list) else len(properties)


def _with_named_root(schema: Json, references: list[str]) -> Json:
    """Return a schema that refers to its root by a name, if it can: llama-server does not know `#` (b11549)."""
    definitions = schema.get("$defs", {})
    if _ROOT_NAME in definitions or not all(each == _ROOT or each.startswith(_MOVABLE) for each in references):
        return schema
    renamed = _renamed(schema)
    shared = {keyword: renamed.pop(keyword) for keyword in ("$defs", "definitions") if keyword in renamed}
    return {**shared, "$defs": {**shared.get("$defs", {}), _ROOT_NAME: renamed}, "$ref": f"#/$defs/{_ROOT_NAME}"}


def _renamed(node: Any) -> Any:
    if isinstance(node, list):
        return [_renamed(each) for each in node]
    if not isinstance(node, dict):
        return node
    renamed = {keyword: each if keyword in _LITERAL else _renamed(each) for keyword, each in node.items()}
    return {**renamed, "$ref": f"#/$defs/{_ROOT_NAME}"} if node.get("$ref") == _ROOT else renamed
