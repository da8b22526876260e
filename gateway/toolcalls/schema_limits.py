"""How large a tool's schema may be.

The numbers are those of OpenAI's structured outputs where it has one:
https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
Its ten levels of nesting hold for strict tools only; ours are for all, and wider.
"""

from __future__ import annotations

from typing import Any

MOST_TOOLS = 1024
"""Of any dialect; OpenAI's take 128."""
MOST_NAME_CHARACTERS = 128
MOST_BYTES = 256 * 1024
MOST_BYTES_TOGETHER = 1024 * 1024
MOST_DEPTH = 64
"""Levels of JSON; a schema within `properties` takes two. jsonschema-rs ends at about 250."""
MOST_PROPERTIES = 5000
MOST_ENUM_VALUES = 1000


class TooLarge(Exception):
    """A schema is larger than we compile; says in which way."""


def check_size(schema: Any) -> None:
    """Count what a schema holds.

    Raises:
        TooLarge: It holds more than we take.
    """
    properties = values = 0
    level, depth = [schema], 0
    while level:
        depth += 1
        if depth > MOST_DEPTH:
            raise TooLarge(f"it is nested deeper than {MOST_DEPTH} levels")
        properties += sum(len(found) for node in level if isinstance(found := _get(node, "properties"), dict))
        values += sum(len(found) for node in level if isinstance(found := _get(node, "enum"), list))
        level = [child for node in level for child in _children(node)]
    if properties > MOST_PROPERTIES:
        raise TooLarge(f"it has {properties} properties; the most are {MOST_PROPERTIES}")
    if values > MOST_ENUM_VALUES:
        raise TooLarge(f"its enums have {values} values; the most are {MOST_ENUM_VALUES}")


def _get(node: Any, key: str) -> Any:
    return node.get(key) if isinstance(node, dict) else None


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []
