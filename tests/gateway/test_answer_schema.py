"""Schemas of answers: those that llama-server cannot take are refused by their place, in each dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic_dialect import generation as messages_generation
from responses_checks import parsed as responses_parsed

from gateway.dialects.answer_schema import MOST_OPTIONAL, checked_schema
from gateway.dialects.openai_chat_request import decode, to_generation
from gateway.errors import InvalidRequest
from gateway.thinking import ThinkingPolicy

TEXT: dict[str, Any] = {"type": "string"}
SHORT = TEXT | {"minLength": 5, "maxLength": 2}


def many(optional: int, required: int) -> dict[str, Any]:
    names = [f"p{i}" for i in range(optional + required)]
    return {"type": "object", "properties": dict.fromkeys(names, TEXT), "required": names[optional:]}


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        (SHORT, "minLength"),
        ({"minLength": 5, "maxLength": 2}, "minLength"),
        ({"type": ["array", "null"], "items": TEXT, "minItems": 5, "maxItems": 2}, "minItems"),
        ({"type": "object", "properties": {"a": {"type": "array", "items": SHORT}}}, "properties.a.items.minLength"),
        ({"anyOf": [TEXT, SHORT]}, "anyOf[1].minLength"),
        ({"$defs": {"a": SHORT}, "$ref": "#/$defs/a"}, "$defs.a.minLength"),
        (TEXT | {"pattern": "^a{5,2}$"}, "pattern"),
        (many(MOST_OPTIONAL + 1, 0), "properties"),
        ({"type": "foo"}, "type"),
        ({"type": "array", "minItems": -1}, "minItems"),
        ({"$ref": "https://example.com/schema.json"}, "$ref"),
        ({"$ref": "#/$defs/nothing"}, "$ref"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_hurt_the_server_is_refused_by_its_place(schema: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked_schema(schema, "format.schema")
    assert caught.value.param == f"format.schema.{place}"


@pytest.mark.parametrize(
    "schema",
    [
        {},
        TEXT | {"minLength": 2, "maxLength": 2, "pattern": "^[a{5,2}]{2}$"},
        TEXT | {"minLength": 7},
        {"type": "array", "maxItems": 0},
        many(MOST_OPTIONAL, 1000),
        {"type": "object", "properties": {"minItems": {"type": "integer"}, "maxItems": {"type": "integer"}}},
        {"enum": [{"minItems": 5, "maxItems": 2}], "default": {"$ref": "#"}},
        {"$defs": {"a": TEXT}, "$ref": "#/$defs/a"},
    ],
)
def test_what_it_can_take_goes_as_it_is(schema: dict[str, Any]) -> None:
    assert checked_schema(schema, "format.schema") is schema


def test_a_schema_that_refers_to_itself_gets_a_name() -> None:
    node = {"type": "object", "properties": {"leaf": {"$ref": "#/$defs/leaf"}, "next": {"$ref": "#"}}}
    assert checked_schema({**node, "$defs": {"leaf": TEXT}}, "format.schema") == {
        "$ref": "#/$defs/root",
        "$defs": {
            "leaf": TEXT,
            "root": {
                "type": "object",
                "properties": {"leaf": {"$ref": "#/$defs/leaf"}, "next": {"$ref": "#/$defs/root"}},
            },
        },
    }


@pytest.mark.parametrize(
    "more",
    [{"$defs": {"root": TEXT}}, {"properties": {"a": TEXT, "b": {"$ref": "#/properties/a"}}}],
    ids=["the name is taken", "a reference would lead elsewhere"],
)
def test_one_that_cannot_have_a_name_goes_as_it_is(more: dict[str, Any]) -> None:
    schema = {"items": {"$ref": "#"}, **more}
    assert checked_schema(schema, "format.schema") is schema


def by_chat(schema: dict[str, Any]) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = {"messages": [{"role": "user", "content": "Hi"}], "response_format": form}
    to_generation(decode(json.dumps(body).encode()), ThinkingPolicy())


def by_responses(schema: dict[str, Any]) -> None:
    responses_parsed(text={"format": {"type": "json_schema", "name": "x", "schema": schema}})


def by_messages(schema: dict[str, Any]) -> None:
    messages_generation(output_config={"format": {"type": "json_schema", "schema": schema}})


def by_older_messages(schema: dict[str, Any]) -> None:
    messages_generation(output_format={"type": "json_schema", "schema": schema})


@pytest.mark.parametrize(
    ("ask", "where"),
    [
        (by_chat, "response_format.json_schema.schema"),
        (by_responses, "text.format.schema"),
        (by_messages, "output_config.format.schema"),
        (by_older_messages, "output_format.schema"),
    ],
)
def test_each_dialect_names_its_own_field(ask: Any, where: str) -> None:
    ask(TEXT)
    with pytest.raises(InvalidRequest) as caught:
        ask(SHORT)
    assert caught.value.param == f"{where}.minLength"
