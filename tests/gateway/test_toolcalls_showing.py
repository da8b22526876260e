from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.toolcalls.schema_limits import MOST_BYTES
from gateway.toolcalls.showing import MOST_ADDED, MOST_ADDED_TO_TOOL, MOST_DEPTH, show


def declared(schema: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": schema}}


def shown(schema: Any) -> Any:
    (tool,) = json.loads(bytes(show([declared(schema)])))
    assert (tool["type"], tool["function"]["name"]) == ("function", "f")
    return tool["function"]["parameters"]


def shown_property(schema: Any, **defs: Any) -> Any:
    """Return how a property is shown whose schema may refer to others."""
    return shown({"type": "object", "properties": {"a": schema}, "$defs": defs})["properties"]["a"]


def to(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def an_object(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def optional(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def depth(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth, children), default=0)


TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
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
        {"properties": {"a": {"type": "string", "enum": ["x"], "description": "$ref"}}, "$defs": {"b": NUMBER}},
        {"properties": {"a": {"type": "array", "items": {"oneOf": [TEXT, NUMBER]}}}},  # items are shown as they are
        {"properties": {"a": {"items": {"oneOf": [an_object(a=optional(TEXT)), an_object(a={"const": "x"})]}}}},
        {"properties": {"a": {"items": {"items": an_object(a=optional(TEXT)), "additionalProperties": {"const": 1}}}}},
        {"properties": {"a": {"type": "string", "anyOf": [{"format": "date"}, {"const": ""}]}}},
        {
            "properties": {"a": {"anyOf": [TEXT, {}]}, "b": {"oneOf": []}, "c": {"enum": []}, "d": True}
        },  # there is no type to be told
        {"properties": {"a": {"type": "object", "allOf": [{"if": {}, "then": {}}, {"if": {}, "else": {}}]}}},
        {"properties": {"a": {"$ref": "#anchor"}, "b": {"$ref": "https://example.com/b"}}},
        {"properties": {"a": {"type": ["string", "integer"], "enum": ["x", 1]}}},
    ],
)
def test_all_else_stays_as_it_is(schema: Any) -> None:
    assert bytes(show([declared(schema)])) == json.dumps([declared(schema)], separators=(",", ":")).encode()


def test_a_tool_without_a_schema_stays_one() -> None:
    tools = [
        {"type": "function", "function": {"name": "f"}},
        {"type": "function", "function": {"name": "g", "parameters": {"items": SEVERAL}}},
    ]
    assert json.loads(bytes(show(tools)))[0] == tools[0]


# --- one type -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (optional(NUMBER), {"type": "integer", "nullable": True}),
        ({"oneOf": [{"type": "null"}, NUMBER]}, {"type": "integer", "nullable": True}),
        ({"anyOf": [NUMBER]}, NUMBER),
        ({"anyOf": [{"type": "null"}]}, {"type": "null"}),
        ({**optional(optional(TEXT)), "default": None}, {"type": "string", "nullable": True, "default": None}),
        (
            {**optional({"type": "array", "items": NUMBER, "description": "inner"}), "description": "outer"},
            {"type": "array", "items": NUMBER, "description": "outer", "nullable": True},
        ),
        ({"anyOf": [NUMBER, TEXT]}, {"type": ["integer", "string"]}),
        ({"anyOf": [NUMBER, TEXT, {"type": "null"}]}, {"type": ["integer", "string"], "nullable": True}),
        ({"anyOf": [SEVERAL, NUMBER]}, {"type": ["string", "integer"], "nullable": True}),
        ({"anyOf": [TEXT, {"type": "array", "items": TEXT}]}, {"type": ["string", "array"]}),
        ({"anyOf": [{"const": "x"}, {"const": "y"}, {"const": "x"}]}, {"type": "string", "enum": ["x", "y"]}),
        ({"anyOf": [{"const": "x"}, TEXT]}, TEXT),
        (
            {"anyOf": [{"type": "array", "items": TEXT}, {"type": "array", "items": NUMBER}]},
            {"type": "array", "items": {"anyOf": [TEXT, NUMBER]}},
        ),
        (
            {"type": "array", "items": an_object(a=optional(TEXT))},
            {"type": "array", "items": an_object(a={"type": "string", "nullable": True})},
        ),
        ({"anyOf": [{"type": "array"}, {"type": "array", "items": NUMBER}]}, {"type": "array"}),
        (
            {
                "oneOf": [
                    an_object("kind", "name", kind={"const": "cat"}, name=TEXT, lives=NUMBER),
                    an_object("kind", kind={"const": "dog"}, name=TEXT, lives=TEXT),
                ]
            },
            an_object(
                "kind",
                kind={"type": "string", "enum": ["cat", "dog"]},
                name=TEXT,
                lives={"type": ["integer", "string"]},
            ),
        ),
        ({"const": "x", "type": "string"}, {"type": "string", "enum": ["x"]}),
        ({"const": 5}, {"type": "integer", "enum": [5]}),
        ({"const": None}, {"type": "null", "enum": [None]}),
        ({"enum": ["x", "y"]}, {"type": "string", "enum": ["x", "y"]}),
        ({"enum": ["x", None]}, {"type": "string", "enum": ["x"], "nullable": True}),
        (
            {"enum": ["x", 1, 1.5, True]},
            {"type": ["string", "integer", "number", "boolean"], "enum": ["x", 1, 1.5, True]},
        ),
        # strict tools are written so; several types alone are shown, but no detail beside them
        ({**SEVERAL, "enum": ["x", None]}, {"type": "string", "enum": ["x"], "nullable": True}),
        ({"type": ["array", "null"], "items": TEXT}, {"type": "array", "items": TEXT, "nullable": True}),
        ({"allOf": [TEXT], "description": "outer"}, {"type": "string", "description": "outer"}),
        (
            {"allOf": [an_object("x", x=TEXT), an_object("y", x=NUMBER, y=TEXT)]},
            an_object("x", "y", x=TEXT, y=TEXT),
        ),
        (
            {"type": "object", "additionalProperties": optional(NUMBER)},
            {"type": "object", "additionalProperties": {"type": "integer", "nullable": True}},
        ),
    ],
)
def test_a_property_is_of_the_type_that_comes_nearest(schema: Any, expected: Any) -> None:
    assert shown_property(schema) == expected


def test_arguments_that_are_a_choice_are_shown_with_the_properties_of_all() -> None:
    schema = {"anyOf": [to("A"), to("B")], "$defs": {"A": an_object("x", x=TEXT), "B": an_object(y=NUMBER)}}
    assert shown(schema) == {**an_object(x=TEXT, y=NUMBER), "$defs": schema["$defs"]}


# --- references ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (to("Leg"), an_object("city", city=TEXT, days={**NUMBER, "nullable": True}) | {"description": "One leg."}),
        (
            {**optional(to("Unit")), "description": "outer"},
            {"type": "string", "enum": ["km"], "nullable": True, "description": "outer"},
        ),
        ({"allOf": [to("Unit")], "description": "outer"}, {"type": "string", "enum": ["km"], "description": "outer"}),
        ({"type": "array", "items": to("Unit")}, {"type": "array", "items": {"type": "string", "enum": ["km"]}}),
        (to("To"), {"type": "string", "enum": ["km"], "description": "nearest"}),
        ({"$ref": "#/properties/a/default", "default": TEXT}, {"type": "string", "default": TEXT}),
        (to("Nothing"), {}),
        ({"$ref": "#/$defs/" + "0" * 5000}, {"$ref": "#/$defs/" + "0" * 5000}),
    ],
)
def test_a_reference_is_replaced_by_what_it_leads_to(schema: Any, expected: Any) -> None:
    leg = an_object("city", city=TEXT, days=optional(NUMBER)) | {"description": "One leg."}
    unit = {"enum": ["km"], "type": "string", "description": "inner"}
    found = shown_property(schema, Leg=leg, Unit=unit, To={**to("Unit"), "description": "nearest"})
    if "description" not in expected:
        found.get("items", found).pop("description", None)
    assert found == expected


def test_what_leads_back_is_shown_once_and_then_by_its_type_alone() -> None:
    node = an_object(value=NUMBER, next=optional(to("Node")), children={"type": "array", "items": to("Node")})
    bare = {"type": "object", "properties": {}}
    once = an_object(value=NUMBER, next={**bare, "nullable": True}, children={"type": "array", "items": bare})
    assert shown({**to("Node"), "$defs": {"Node": node}}) == {**once, "$defs": {"Node": node}}
    assert shown_property(to("Node"), Node=node) == once
    assert shown(an_object(self={"$ref": "#"})) == an_object(self=bare)


@pytest.mark.parametrize("schema", [to("x"), optional(to("x")), {"allOf": [to("x"), to("y")]}])
def test_references_in_a_circle_lead_nowhere(schema: Any) -> None:
    assert "$ref" not in json.dumps(shown_property(schema, x=to("y"), y=to("x")))


def doubling(levels: int) -> dict[str, Any]:
    """Return a short schema that would be of two to the power of `levels` parts if all of it was written out."""
    defs = {f"d{i}": an_object(a=to(f"d{i + 1}"), b=to(f"d{i + 1}")) for i in range(levels)}
    return an_object(a=to("d0")) | {"$defs": defs | {f"d{levels}": TEXT}}


@pytest.mark.parametrize(
    "schema",
    [
        doubling(20),
        doubling(1000),
        an_object(a=to("d0"))
        | {"$defs": {f"d{i}": an_object(**{f"p{j}": to(f"d{j}") for j in range(20)}) for i in range(20)}},
        an_object(a=to("d0")) | {"$defs": {f"d{i}": {"allOf": [to(f"d{i + 1}"), to(f"d{i + 1}")]} for i in range(99)}},
        an_object(a=to("d0")) | {"$defs": {f"d{i}": to(f"d{i + 1}") for i in range(5000)}},
        an_object(**{f"p{i}": to("long") for i in range(3000)}) | {"$defs": {"long": {"description": "z" * 100_000}}},
        an_object(a={"allOf": [to("nothing")] * 5000}) | {"$defs": {"nothing": {}}},
    ],
    ids=["doubling", "doubling for long", "all of all", "all of", "a chain", "one for all", "nothing"],
)
def test_references_add_so_much_and_no_more(schema: Any) -> None:
    size = len(json.dumps(schema))
    assert size <= MOST_BYTES
    assert len(json.dumps(shown(schema))) < size + 2 * MOST_ADDED_TO_TOOL  # as Python writes it, with spaces


def test_references_add_so_much_to_all_tools_of_a_request_and_no_more() -> None:
    tools = [declared(doubling(20))] * 30
    size = len(json.dumps(tools))
    assert len(json.dumps(json.loads(bytes(show(tools))))) < size + 2 * MOST_ADDED


def test_no_reference_is_followed_far_down() -> None:
    schema: dict[str, Any] = TEXT
    for _ in range(28):  # 64 levels of JSON are allowed
        schema = an_object(a=schema)
    chain = {f"d{i}": an_object(a=an_object(a=an_object(a=to(f"d{i + 1}")))) for i in range(50)}
    assert depth(shown_property(to("d0"), **chain, d50=TEXT)) < 2 * MOST_DEPTH + 20
    near = an_object(a=an_object(a=to("deep")))
    assert depth(shown_property(to("near"), near=near, deep=schema)) == depth(schema) + 4


WORDS = st.sampled_from(
    ["type", "properties", "items", "anyOf", "allOf", "$ref", "const", "enum", "required", "nullable"]
)
LEAVES = st.sampled_from(
    [None, True, 1, "object", "string", "null", "array", "#", "#/properties/a", "#/$defs/a", "#/anyOf/0"]
)
ANYTHING = st.recursive(
    LEAVES,
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(WORDS | st.sampled_from(["a", "$defs"]), each, max_size=4)
    ),
    max_leaves=25,
)


@given(st.dictionaries(WORDS | st.just("$defs"), ANYTHING | st.dictionaries(st.just("a"), ANYTHING)))
def test_whatever_a_reference_leads_to_can_be_shown(schema: Any) -> None:
    """References may lead into what is no schema, and is not checked."""
    first = bytes(show([declared(schema)]))
    assert first == bytes(show([declared(schema)]))
