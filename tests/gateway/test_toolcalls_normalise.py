from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema

from gateway.events import ToolCall
from gateway.toolcalls.normalise import Normalised, Rule, normalise
from gateway.toolcalls.toolbox import Toolbox, Violation, compile_tools

Q = '<|"|>'
SCHEMA = {
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "rain": {"type": "boolean"},
        "unit": {"enum": ["C", "F"]},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "ratio": {"type": ["number", "null"]},
        "place": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]},
        "stops": {"type": "array", "items": {"$ref": "#/$defs/stop"}},
        "tags": {"type": "object", "additionalProperties": {"type": "string"}},
        "by": {
            "oneOf": [
                {"properties": {"kind": {"const": "bus"}, "line": {"type": "integer"}}, "required": ["kind", "line"]},
                {"properties": {"kind": {"const": "car"}, "seats": {"type": "integer"}}, "required": ["kind", "seats"]},
            ]
        },
    },
    "additionalProperties": False,
    "$defs": {"stop": {"type": "object", "properties": {"n": {"type": "integer"}, "note": {"type": "string"}}}},
}


def declare(name: str, parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


BOX = compile_tools(
    [declare("trip", SCHEMA), declare("pay", {"properties": {"sum": {"type": "number"}}, "required": ["sum"]})]
)


def outcome(arguments: str, name: str = "trip") -> tuple[str, str, list[Rule]]:
    found = normalise(BOX, ToolCall("1", name, arguments))
    assert found.is_valid, found
    assert not BOX.check(found.call)
    return found.call.name, found.call.arguments, list(found.rules)


MENDED: list[tuple[Any, Any, list[Rule]]] = [
    ({"days": "3"}, {"days": 3}, [Rule.QUOTED]),
    ({"days": " -3 "}, {"days": -3}, [Rule.QUOTED]),
    ({"rain": "true"}, {"rain": True}, [Rule.QUOTED]),
    ({"rain": "False"}, {"rain": False}, [Rule.QUOTED]),
    ({"maybe": "null"}, {"maybe": None}, [Rule.QUOTED]),
    ({"maybe": "None"}, {"maybe": None}, [Rule.QUOTED]),
    ({"ratio": "0.5"}, {"ratio": 0.5}, [Rule.QUOTED]),
    ({"maybe": f"{Q}7{Q}"}, {"maybe": 7}, [Rule.QUOTED]),
    ({"unit": f'{Q}C<|"|'}, {"unit": "C"}, [Rule.MARKS]),
    ({"unit": "<channel|>C"}, {"unit": "C"}, [Rule.MARKS]),
    ({"unit": "C<tool_call|>\n"}, {"unit": "C"}, [Rule.MARKS]),
    ({"city": 75001}, {"city": "75001"}, [Rule.UNQUOTED]),
    ({"city": None, "days": 1}, {"days": 1}, [Rule.NULL]),
    ({"place": '{"lat": 1.5}'}, {"place": {"lat": 1.5}}, [Rule.ENCODED]),
    ({"place": '{"lat": "1.5"}'}, {"place": {"lat": 1.5}}, [Rule.ENCODED, Rule.QUOTED]),
    ({"stops": '[{"n": 1}, {"n": "2"}]'}, {"stops": [{"n": 1}, {"n": 2}]}, [Rule.ENCODED, Rule.QUOTED]),
    ({"stops": [{"n": "1", "note": None}, {"n": 2}]}, {"stops": [{"n": 1}, {"n": 2}]}, [Rule.QUOTED, Rule.NULL]),
    ({f"{Q}days{Q}": 3}, {"days": 3}, [Rule.KEY_MARKS]),
    ({'"days"': 3, " rain": True}, {"days": 3, "rain": True}, [Rule.KEY_MARKS]),
    ({"by": {"kind": "car", "seats": "4"}}, {"by": {"kind": "car", "seats": 4}}, [Rule.QUOTED]),
    ({"arguments": {"days": 3}}, {"days": 3}, [Rule.WRAPPED_ARGUMENTS]),
    ({"parameters": '{"days": "3"}'}, {"days": 3}, [Rule.WRAPPED_ARGUMENTS, Rule.QUOTED]),
    ('{"days": 3}', {"days": 3}, [Rule.ENCODED_ARGUMENTS]),
    (json.dumps('{"days": "3"}'), {"days": 3}, [Rule.ENCODED_ARGUMENTS, Rule.ENCODED_ARGUMENTS, Rule.QUOTED]),
]


@pytest.mark.parametrize(("written", "meant", "rules"), MENDED)
def test_what_loses_nothing_is_put_right(written: Any, meant: Any, rules: list[Rule]) -> None:
    name, arguments, used = outcome(json.dumps(written))
    assert (name, json.loads(arguments), used) == ("trip", meant, rules)


@pytest.mark.parametrize("arguments", ["", "  ", "null", '""'])
def test_no_arguments_are_an_empty_object_where_none_are_needed(arguments: str) -> None:
    assert outcome(arguments) == ("trip", "{}", [Rule.EMPTY])
    assert not normalise(BOX, ToolCall("1", "pay", arguments)).is_valid


def test_marks_around_all_arguments_are_taken_off() -> None:
    assert outcome('{"days": 3}<tool_call|>') == ("trip", '{"days":3}', [Rule.MARKS])


@pytest.mark.parametrize(
    "name", [" trip", "trip\n", "functions.trip", "default_api:trip", "tools/trip", f"{Q}trip{Q}", "a.b.trip"]
)
def test_a_name_that_can_only_mean_one_tool_is_that_tool(name: str) -> None:
    assert outcome("{}", name) == ("trip", "{}", [Rule.NAME])


@pytest.mark.parametrize("name", ["Trip", "trips", "mytrip", "", ".", "tri"])
def test_a_name_that_has_to_be_guessed_is_not(name: str) -> None:
    call = ToolCall("1", name, "{}")
    assert normalise(BOX, call) == Normalised(call, violations=tuple(BOX.check(call)))


def test_a_name_that_fits_two_tools_means_none() -> None:
    tools = compile_tools([declare("run", {}), declare("app.run", {})])
    assert not normalise(tools, ToolCall("1", "x.app.run", "{}")).is_valid
    assert normalise(tools, ToolCall("1", "x.run", "{}")).call.name == "run"


KEPT: list[Any] = [
    {"days": "three"},
    {"days": "3.5"},
    {"days": ""},
    {"days": True},
    {"rain": "yes"},
    {"rain": 1},
    {"unit": "c"},
    {"unit": " C"},
    {"city": True},
    {"city": 1.5},
    {"city": ["Paris"]},
    {"place": None, "x": 1},
    {"place": {"lat": None}},
    {"tags": {"a": None}},
    {"ratio": "0.12345678901234567890123"},
    {"ratio": "1e999"},
    {"stops": {"n": 1}},
    {"by": {"kind": "bus"}},
    {"weather": 1},
    {"arguments": {"days": 3}, "rain": True},
    "Paris",
    [],
]


@pytest.mark.parametrize("written", KEPT)
def test_what_would_be_a_guess_is_left_as_it_is(written: Any) -> None:
    call = ToolCall("1", "trip", json.dumps(written))
    assert normalise(BOX, call) == Normalised(call, violations=tuple(BOX.check(call)))


@pytest.mark.parametrize("arguments", ["{", '{"days": 3', "days=3", '{"days": 3} {"days": 4}', "[" * 9999])
def test_text_that_is_no_json_is_left_as_it_is(arguments: str) -> None:
    call = ToolCall("1", "trip", arguments)
    found = normalise(BOX, call)
    assert (found.call, found.rules) == (call, ())
    assert not found.is_valid


@pytest.mark.parametrize(
    "valid",
    [
        '{"either": "5"}',
        '{"either": 5}',
        '{"city": "5"}',
        '{"city": "null"}',
        '{"city": "{\\"a\\": 1}"}',
        '{ "city" : "<|\\"|>Paris<|\\"|>" }',
        '{"maybe": null}',
        '{"days": 3.0}',
        '{"days":3,"days":4}',
    ],
)
def test_a_valid_call_is_the_very_same(valid: str) -> None:
    call = ToolCall("1", "trip", valid)
    assert normalise(BOX, call) == Normalised(call)
    assert normalise(BOX, call).call is call


def test_a_broken_call_with_a_mended_name_still_knows_its_tool() -> None:
    found = normalise(BOX, ToolCall("1", "functions.pay", '{"sum": "much"}'))
    assert found.call == ToolCall("1", "pay", '{"sum": "much"}')
    assert found.violations == (Violation("pay", "sum", '"much" is not of type "number"'),)


# --- whatever the schema and whatever the model writes -----------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
leaves = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "maxLength": 3},
        {"type": "string", "format": "date"},
        {"type": "integer"},
        {"type": "integer", "minimum": 1, "maximum": 9},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "null"},
        {"enum": ["a", "1", 1, None, True]},
        {"const": "5"},
        {"type": ["string", "null"]},
        {"pattern": "^[a-c]{1,3}$", "type": "string"},
        {},
    ]
)


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["a", "b", "c", "d"])
    return st.builds(
        lambda properties, required, closed: {
            "type": "object",
            "properties": properties,
            "required": [name for name in properties if name in required],
            **({"additionalProperties": False} if closed else {}),
        },
        st.dictionaries(names, inner, max_size=3),
        st.sets(names),
        st.booleans(),
    )


def _inner(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        _objects(inner)
        | st.builds(lambda items: {"type": "array", "items": items, "maxItems": 3}, inner)
        | st.builds(lambda alternatives: {"anyOf": alternatives}, st.lists(inner, min_size=1, max_size=3))
    )


schemas = _objects(st.recursive(leaves, _inner, max_leaves=5))
relaxed = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None)


def _box(schema: dict[str, Any]) -> Toolbox:
    return compile_tools([declare("f", schema)])


@relaxed
@given(schemas, st.data())
def test_any_valid_call_passes_byte_for_byte(schema: dict[str, Any], data: st.DataObject) -> None:
    arguments = data.draw(from_schema(schema))
    assume(jsonschema.Draft202012Validator(schema).is_valid(arguments))
    text = json.dumps(arguments, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.sampled_from([None, 1])))
    assume("\\ud" not in text)
    call = ToolCall("1", "f", text)
    tools = _box(schema)
    if tools.check(call):  # a format, which that validator leaves unchecked
        assume("date" not in json.dumps(schema))
    assert normalise(tools, call) == Normalised(call)


def _spoil(value: Any, data: st.DataObject) -> Any:
    """Change something in a value, as models do and as they do not."""
    if data.draw(st.booleans()):
        return data.draw(st.sampled_from([json.dumps(value), None, f"{Q}{value}{Q}", [value]]) | json_values)
    if isinstance(value, list) and value:
        return [_spoil(value[0], data), *value[1:]]
    if not isinstance(value, dict) or not value:
        return value
    key = data.draw(st.sampled_from(sorted(value)))
    if data.draw(st.booleans()):
        return {**value, key: _spoil(value[key], data)}
    renamed = data.draw(st.sampled_from([f" {key}", f"{Q}{key}{Q}", "z"]))
    return {renamed if name == key else name: inner for name, inner in value.items()}


@relaxed
@given(schemas, st.data())
def test_nothing_invalid_leaves_as_valid(schema: dict[str, Any], data: st.DataObject) -> None:
    spoilt = _spoil(data.draw(from_schema(schema)), data)
    found = normalise(_box(schema), ToolCall("1", "f", json.dumps(spoilt)))
    if not found.is_valid:
        assert found.call.arguments == json.dumps(spoilt)
        return
    arguments = json.loads(found.call.arguments)
    assert isinstance(arguments, dict)
    assert jsonschema.Draft202012Validator(schema).is_valid(arguments)


@relaxed
@given(schemas, st.text(max_size=30) | json_values.map(json.dumps))
def test_no_arguments_break_it(schema: dict[str, Any], text: str) -> None:
    found = normalise(_box(schema), ToolCall("1", "f", text))
    if found.is_valid:
        assert jsonschema.Draft202012Validator(schema).is_valid(json.loads(found.call.arguments))
