from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.errors import InvalidRequest
from gateway.events import ToolCall
from gateway.request import ToolChoice
from gateway.toolcalls.schema_limits import MOST_DEPTH, MOST_ENUM_VALUES, MOST_PROPERTIES
from gateway.toolcalls.schemas import FORMATS, CompiledSchema, compile_schema
from gateway.toolcalls.toolbox import Toolbox, ToolFields, Violation, compile_tools

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 1},
        "days": {"type": "integer", "minimum": 1},
        "stops": {"type": "array", "items": {"type": "object", "required": ["city"]}},
    },
    "required": ["city"],
    "additionalProperties": False,
}


def declare(parameters: Any, name: str = "weather") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def box(parameters: Any) -> Toolbox:
    return compile_tools([declare(parameters)])


def check(parameters: Any, arguments: str) -> list[Violation]:
    return box(parameters).check(ToolCall("1", "weather", arguments))


def refusal(*tools: dict[str, Any]) -> tuple[str | None, str]:
    with pytest.raises(InvalidRequest) as caught:
        compile_tools(tools)
    return caught.value.param, caught.value.message


# --- checking calls ---------------------------------------------------------------------------------------------


def test_a_valid_call_has_no_violations() -> None:
    assert check(WEATHER, '{"city": "Paris", "days": 3, "stops": [{"city": "Lyon"}]}') == []


def test_each_violation_says_where_and_why() -> None:
    assert check(WEATHER, '{"city": "", "days": "3", "stops": [{}, {"city": 1}], "x": 1}') == [
        Violation("weather", "city", '"" is shorter than 1 character'),
        Violation("weather", "days", '"3" is not of type "integer"'),
        Violation("weather", "stops[0]", '"city" is a required property'),
        Violation("weather", "", "Additional properties are not allowed ('x' was unexpected)"),
    ]
    assert str(Violation("weather", "days", "too few")) == "days: too few"
    assert str(Violation("weather", "", "too few")) == "too few"


def test_the_validators_words_are_cut_short() -> None:
    [violation] = check(WEATHER, json.dumps({"city": "Paris", "days": "9" * 5000}))
    assert len(violation.message) < 300


@pytest.mark.parametrize("arguments", ["", "{", '{"city": "Paris"', "{} {}", '{"city": NaN}', '"\\ud800"', "[" * 5000])
def test_text_that_is_no_json_is_a_violation(arguments: str) -> None:
    [violation] = check(WEATHER, arguments)
    assert violation.message.startswith("The arguments are not JSON")


@pytest.mark.parametrize("arguments", ["null", "[]", "3", '"{}"'])
def test_arguments_are_an_object_even_where_the_schema_leaves_it_open(arguments: str) -> None:
    assert check({}, arguments) == [Violation("weather", "", "The arguments are not a JSON object.")]


def test_an_unknown_tool_is_a_violation_that_names_the_known_ones() -> None:
    tools = compile_tools([declare(WEATHER), declare({}, "clock")])
    assert tools.check(ToolCall("1", "wether", "{}")) == [
        Violation("wether", "", "There is no such tool; there are: weather, clock.")
    ]


def test_without_parameters_a_tool_takes_no_arguments_but_bears_some() -> None:
    tools = compile_tools([{"type": "function", "function": {"name": "now"}}, declare(None, "then")])
    assert tools.check(ToolCall("1", "now", "{}")) == []
    assert tools.check(ToolCall("1", "then", "{}")) == []


def test_the_draft_is_the_one_that_the_schema_names() -> None:
    tuple_ = {"properties": {"a": {"items": [{"type": "integer"}]}}}
    assert check({"$schema": "http://json-schema.org/draft-07/schema#", **tuple_}, '{"a": ["x"]}')
    assert refusal(declare(tuple_))[0] == "tools[0].function.parameters.properties.a.items"
    old = {"$schema": "http://json-schema.org/draft-04/schema#", "properties": {"a": {"minimum": 1}}}
    old["properties"]["a"]["exclusiveMinimum"] = True  # type: ignore[index]
    assert check(old, '{"a": 1}')
    assert check(old, '{"a": 2}') == []


def test_a_dialect_that_nobody_knows_is_read_as_the_newest_draft() -> None:
    schema = {"$schema": "https://spec.openapis.org/oas/3.1/dialect/base", "properties": {"a": {"const": 1}}}
    assert check(schema, '{"a": 1}') == []
    assert check(schema, '{"a": 2}')


WRONG = {
    "date": "2026-13-01",
    "date-time": "2026-01-01 10:00",
    "duration": "1 day",
    "email": "nobody",
    "hostname": "-x-",
    "ipv4": "1.2.3",
    "ipv6": "1:2",
    "time": "25:00",
    "uri": "not a uri",
    "uuid": "123",
}


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_the_formats_that_a_repair_can_write_are_checked(name: str) -> None:
    schema = {"properties": {"a": {"type": "string", "format": name}}}
    assert check(schema, json.dumps({"a": WRONG[name]})) == [
        Violation("weather", "a", f'"{WRONG[name]}" is not a "{name}"')
    ]


@pytest.mark.parametrize("name", ["regex", "iri", "uri-reference", "json-pointer", "int64", "color"])
def test_other_formats_are_not(name: str) -> None:
    assert check({"properties": {"a": {"type": "string", "format": name}}}, '{"a": "(] %"}') == []


def test_a_pattern_that_backtracks_without_end_counts_as_not_matching() -> None:
    schema = {"properties": {"a": {"pattern": r"^(?=(a+)+$)"}}}
    assert check(schema, json.dumps({"a": "a" * 60 + "b"}))


def test_a_schema_that_refers_to_itself_checks_every_level() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "additionalProperties": False}
    schema = {"$ref": "#/$defs/node", "$defs": {"node": node}}
    assert check(schema, '{"next": {"next": {}}}') == []
    assert [found.path for found in check(schema, '{"next": {"next": {"x": 1}}}')] == ["next.next"]


# --- compiling ---------------------------------------------------------------------------------------------------

PARAMETERS = "tools[0].function.parameters"

BROKEN: list[tuple[Any, str]] = [
    ({"properties": {"x": {"type": "strin"}}}, ".properties.x.type"),
    ({"properties": {"x": {"items": {"anyOf": [{}, {"minimum": "1"}]}}}}, ".properties.x.items.anyOf[1].minimum"),
    ({"properties": {"x": {"pattern": "(["}}}, ".properties.x.pattern"),
    ({"properties": {"x": {"$ref": "https://example.com/x.json"}}}, ".properties.x.$ref"),
    ({"properties": {"x": {"$ref": "file:///etc/passwd"}}}, ".properties.x.$ref"),
    ({"properties": {"x": {"$ref": "other.json"}}}, ".properties.x.$ref"),
    ({"properties": {"x": {"$ref": "#/$defs/y"}}, "$defs": {}}, ".properties.x.$ref"),
    ({"allOf": [{"$ref": "#nowhere"}]}, ".allOf[0].$ref"),
    ({"required": "x"}, ".required"),
    ({"type": "array"}, ".type"),
    ({"type": ["null", "string"]}, ".type"),
    ([], ""),
    ("object", ""),
    (True, ""),
]


@pytest.mark.parametrize(("schema", "where"), BROKEN)
def test_a_broken_schema_is_refused_at_its_place(schema: Any, where: str) -> None:
    param, message = refusal(declare(schema))
    assert param == PARAMETERS + where
    assert message.startswith(f"Invalid schema for function 'weather' at '{PARAMETERS}{where}': ")


def test_the_dialect_gives_the_fields_their_names() -> None:
    with pytest.raises(InvalidRequest) as caught:
        compile_tools(
            [declare({}, "a"), declare({"type": 1})], fields=lambda i: ToolFields("", f"tools[{i}].input_schema")
        )
    assert caught.value.param == "tools[1].input_schema.type"


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


LARGE = [
    nested(MOST_DEPTH),
    nested(400),
    {"properties": {f"p{i}": {} for i in range(MOST_PROPERTIES + 1)}},
    {"properties": {"x": {"enum": list(range(MOST_ENUM_VALUES + 1))}}},
    {"description": "x" * 300_000},
]


@pytest.mark.parametrize("schema", LARGE)
def test_a_schema_that_is_too_large_is_refused(schema: dict[str, Any]) -> None:
    assert refusal(declare(schema))[0] == PARAMETERS


def test_all_schemas_together_have_a_limit() -> None:
    tools = [declare({"description": "x" * 250_000}, f"t{i}") for i in range(5)]
    assert refusal(*tools)[0] == "tools"


def test_there_are_so_many_tools_and_not_more() -> None:
    tools = [declare({}, f"t{i}") for i in range(1025)]
    assert list(compile_tools(tools[:1024]).tools) == [f"t{i}" for i in range(1024)]
    assert refusal(*tools)[0] == "tools"


@pytest.mark.parametrize("name", ["", "a b", "ünder", "x" * 129, "a\n", "a/b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    assert refusal(declare({}, name))[0] == "tools[0].function.name"


def test_two_tools_of_one_name_are_refused() -> None:
    assert refusal(declare({}), declare(WEATHER)) == (
        "tools[1].function.name",
        "Invalid 'tools[1].function.name': there are two tools called 'weather'.",
    )


def test_a_schema_is_compiled_once() -> None:
    assert compile_schema(dict(WEATHER)) is compile_schema(dict(WEATHER))
    assert isinstance(box(WEATHER).tools["weather"].parameters, CompiledSchema)


# --- the choice ---------------------------------------------------------------------------------------------------

TWO = [declare(WEATHER), declare({}, "clock")]


@pytest.mark.parametrize(
    ("choice", "names", "must_call"),
    [
        (ToolChoice("auto"), ["weather", "clock"], False),
        (ToolChoice("required"), ["weather", "clock"], True),
        (ToolChoice("none"), [], False),
        (ToolChoice("required", frozenset({"clock"})), ["clock"], True),
        (ToolChoice("auto", frozenset({"clock"})), ["clock"], False),
    ],
)
def test_only_the_chosen_tools_may_be_called(choice: ToolChoice, names: list[str], must_call: bool) -> None:
    tools = compile_tools(TWO, choice, parallel=False)
    assert (list(tools.tools), tools.must_call, tools.parallel) == (names, must_call, False)


def test_a_broken_schema_is_refused_whatever_the_choice() -> None:
    with pytest.raises(InvalidRequest):
        compile_tools([*TWO, declare({"type": 1}, "third")], ToolChoice("none"))


def test_no_tools_are_an_empty_toolbox() -> None:
    assert compile_tools(None).tools == {}
    assert compile_tools([]).parallel
