from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.toolcalls.showing import show


def shown(schema: Any) -> Any:
    (tool,) = json.loads(bytes(show([{"type": "function", "function": {"name": "f", "parameters": schema}}])))
    assert (tool["type"], tool["function"]["name"]) == ("function", "f")
    return tool["function"]["parameters"]


SEVERAL = {"type": ["string", "null"]}
EITHER = {"anyOf": [{"type": "string"}, {"type": "null"}]}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"items": SEVERAL}, {"items": EITHER}),
        ({"items": {"type": ["string"], "minLength": 1}}, {"items": {"type": "string", "minLength": 1}}),
        ({"items": {**SEVERAL, "minLength": 1}}, {"items": {**EITHER, "minLength": 1}}),
        ({"items": {"items": SEVERAL}}, {"items": {"items": EITHER}}),
        ({"items": [{"items": SEVERAL}, SEVERAL]}, {"items": [{"items": EITHER}, SEVERAL]}),
        ({"anyOf": [{"properties": {"a": {"items": SEVERAL}}}]}, {"anyOf": [{"properties": {"a": {"items": EITHER}}}]}),
        ({"additionalProperties": {"items": SEVERAL}}, {"additionalProperties": {"items": EITHER}}),
        ({"properties": {"default": {"items": SEVERAL}}}, {"properties": {"default": {"items": EITHER}}}),
        (  # another union stays what it is; the model is not told of the types then
            {"items": {**SEVERAL, "anyOf": [{"minLength": 1}]}},
            {"items": {"anyOf": [{"minLength": 1}]}},
        ),
    ],
)
def test_items_have_one_type_or_a_union(schema: Any, expected: Any) -> None:
    assert shown(schema) == expected


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": SEVERAL, "items": SEVERAL}},  # templates can show it there
        {"default": {"items": SEVERAL}, "enum": [{"items": SEVERAL}], "properties": {"a": SEVERAL}},
        {"properties": {"a": {"items": True}}, "type": ["object", "null"]},
        {"items": {"type": "string"}},
    ],
)
def test_all_else_stays_as_it_is(schema: Any) -> None:
    assert shown(schema) == schema


def test_a_tool_without_a_schema_stays_one() -> None:
    tools = [
        {"type": "function", "function": {"name": "f"}},
        {"type": "function", "function": {"name": "g", "parameters": {"items": SEVERAL}}},
    ]
    assert json.loads(bytes(show(tools)))[0] == tools[0]
