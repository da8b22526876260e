"""Tools as chat templates can show them to a model: the same schemas, written in another way.

Gemma 4's template writes the types of a list's items through a filter that llama.cpp's template engine does not have,
where there are several: a request with such a tool is answered with a 500 (b11549). So several types become `anyOf`.
What a call is held against is the client's own schema all the same.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.request import Json

CACHED: Final = 64
"""So many requests' tools are remembered: an agent sends the same with each."""

_SEVERAL: Final = b'"type":['
_NAMED: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""The keywords whose values are schemas by names of the client's."""
_LITERAL: Final = frozenset({"enum", "const", "default", "examples", "required"})
"""The keywords whose values are no schemas."""


def show(tools: Sequence[Json]) -> msgspec.Raw:
    """Return declarations in OpenAI's shape as JSON that can be shown."""
    text = msgspec.json.encode(tools)
    return msgspec.Raw(_rewritten(text) if _SEVERAL in text else text)


@functools.lru_cache(CACHED)
def _rewritten(text: bytes) -> bytes:
    tools = msgspec.json.decode(text)
    for tool in tools:
        function = tool["function"]
        if "parameters" in function:
            function["parameters"] = _rewrite(function["parameters"])
    return msgspec.json.encode(tools)


def _rewrite(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_rewrite(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found: Json = {}
    for keyword, value in schema.items():
        if keyword in _NAMED and isinstance(value, dict):
            found[keyword] = {name: _rewrite(each) for name, each in value.items()}
        elif keyword == "items":
            found[keyword] = _one_type(_rewrite(value))
        else:
            found[keyword] = value if keyword in _LITERAL else _rewrite(value)
    return found


def _one_type(items: Any) -> Any:
    """Return the schema of items without a list of types."""
    if not isinstance(items, dict) or not isinstance(types := items.get("type"), list):
        return items
    rest = {keyword: value for keyword, value in items.items() if keyword != "type"}
    if len(types) == 1:
        return {"type": types[0], **rest}
    return {"anyOf": [{"type": name} for name in types], **rest}
