from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_toolcalls_normalise import schemas

from gateway.toolcalls.grammar_schema import BARE, TIGHT, WIDE, Bounds, grammar_schema

SMALL = Bounds(characters=9, items=2, depth=1)
TEXT = grammar_schema({"properties": {"a": {"type": "string"}}}, SMALL)["properties"]["a"]
NUMBER = {"type": "number"}
INTEGER = {"type": "integer"}
EMPTY = {"type": "array", "items": {"type": "null"}, "maxItems": 0}


def written(schema: Any, bounds: Bounds = SMALL, *, definitions: Any = None) -> Any:
    """What becomes of a property's schema."""
    root = {"type": "object", "properties": {"a": schema}, "required": ["a"], "$defs": definitions or {}}
    found = grammar_schema(root, bounds)
    if "properties" not in found:
        return None
    assert found == {"type": "object", "properties": {"a": found["properties"]["a"]}, "required": ["a"]}
    return found["properties"]["a"]


NODE = {"type": "object", "properties": {"v": INTEGER, "next": {"$ref": "#/$defs/node"}}, "required": ["v"]}
LEAF = {"type": "object", "properties": {"v": INTEGER}, "required": ["v"]}

WRITTEN: list[tuple[Any, Any]] = [
    ({"type": "integer", "description": "how many", "default": 3}, INTEGER),
    ({"type": "integer", "minimum": 1}, {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}),
    ({"type": "integer", "exclusiveMinimum": 1, "maximum": 3.5}, {"type": "integer", "minimum": 2, "maximum": 3}),
    ({"type": "integer", "multipleOf": 5, "minimum": 3, "maximum": 16}, {"enum": [5, 10, 15]}),
    ({"type": "integer", "minimum": 2, "maximum": 1}, None),
    ({"type": "number", "minimum": 0, "maximum": 1}, NUMBER),
    ({"type": ["integer", "number"]}, NUMBER),
    ({"type": ["integer", "null"]}, {"anyOf": [INTEGER, {"type": "null"}]}),
    ({"const": {"x": 1}}, {"enum": [{"x": 1}]}),
    ({"type": "string", "enum": ["a", None, 1]}, {"enum": ["a"]}),
    ({"enum": []}, None),
    ({"type": "string"}, TEXT),
    ({"type": "string", "maxLength": 0}, {"enum": [""]}),
    ({"type": "string", "minLength": 3, "maxLength": 2}, None),
    ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
    ({"type": "string", "format": "int64"}, TEXT),
    ({"type": "string", "pattern": "^[a-z]+$", "maxLength": 4}, {"type": "string", "pattern": "^[a-z][a-z]{0,3}$"}),
    ({"type": "string", "pattern": r"^(a)\1$"}, TEXT),
    ({"type": "array", "items": INTEGER}, {"type": "array", "items": INTEGER, "minItems": 0, "maxItems": 2}),
    (
        {"type": "array", "items": INTEGER, "minItems": 3},
        {"type": "array", "items": INTEGER, "minItems": 3, "maxItems": 5},
    ),
    (
        {"type": "array", "items": INTEGER, "maxItems": 1},
        {"type": "array", "items": INTEGER, "minItems": 0, "maxItems": 1},
    ),
    ({"type": "array", "items": False}, EMPTY),
    ({"type": "array", "items": False, "minItems": 1}, None),
    ({"type": "array", "prefixItems": [INTEGER, NUMBER]}, {"type": "array", "prefixItems": [INTEGER, NUMBER]}),
    (
        {"type": "array", "prefixItems": [INTEGER], "items": NUMBER, "minItems": 2},
        {"type": "array", "prefixItems": [INTEGER, NUMBER]},
    ),
    ({"type": "array", "prefixItems": [INTEGER, False]}, {"type": "array", "prefixItems": [INTEGER]}),
    ({"anyOf": [INTEGER, {"anyOf": [{"type": "null"}, INTEGER]}]}, {"anyOf": [INTEGER, {"type": "null"}]}),
    (
        {"oneOf": [{"type": "integer", "minimum": 2}, False], "maximum": 3},
        {"type": "integer", "minimum": 2, "maximum": 3},
    ),
    (
        {"allOf": [{"minimum": 1}, {"maximum": 3}, {"type": "number"}, INTEGER]},
        {"type": "integer", "minimum": 1, "maximum": 3},
    ),
    ({"allOf": [{"type": "string"}, INTEGER]}, None),
    ({"type": "string", "nullable": True}, TEXT),
    ({"type": "object", "properties": {}}, {"type": "object", "properties": {}}),
    (
        {"properties": {"x": INTEGER}, "required": ["x", "y"], "additionalProperties": NUMBER},
        {
            "type": "object",
            "properties": {"x": INTEGER, "y": NUMBER},
            "required": ["x", "y"],
            "additionalProperties": NUMBER,
        },
    ),
    ({"properties": {"x": False}, "type": "object"}, {"type": "object", "properties": {}}),
    ({"properties": {"x": False}, "required": ["x"]}, None),
    (
        {"properties": {"x": INTEGER, "y": NUMBER}, "anyOf": [{"required": ["x"]}, {"required": ["y"]}]},
        {
            "anyOf": [
                {"type": "object", "properties": {"x": INTEGER, "y": NUMBER}, "required": ["x"]},
                {"type": "object", "properties": {"x": INTEGER, "y": NUMBER}, "required": ["y"]},
            ]
        },
    ),
    (
        {"type": "object", "properties": {"x": INTEGER, "y": NUMBER}, "minProperties": 1},
        {
            "anyOf": [
                {"type": "object", "properties": {"x": INTEGER, "y": NUMBER}, "required": ["x"]},
                {"type": "object", "properties": {"x": INTEGER, "y": NUMBER}, "required": ["y"]},
            ]
        },
    ),
    (
        {"type": "object", "propertyNames": {"enum": ["x", "y"]}, "additionalProperties": INTEGER},
        {"type": "object", "properties": {"x": INTEGER, "y": INTEGER}},
    ),
    (
        {"type": "object", "patternProperties": {"^x": INTEGER}, "additionalProperties": False},
        {"type": "object", "properties": {}, "additionalProperties": INTEGER},
    ),
    (
        {"type": "object", "properties": {"we]ird": INTEGER}, "additionalProperties": INTEGER},
        {"type": "object", "properties": {"we]ird": INTEGER}},
    ),
    (
        {
            "if": {"properties": {"k": {"const": 1}}},
            "then": {"required": ["x"]},
            "properties": {"x": INTEGER, "k": INTEGER},
        },
        {
            "anyOf": [
                {"type": "object", "properties": {"x": INTEGER, "k": {"enum": [1]}}, "required": ["x"]},
                {"type": "object", "properties": {"x": INTEGER, "k": INTEGER}},
            ]
        },
    ),
]


@pytest.mark.parametrize(("schema", "result"), WRITTEN)
def test_a_schema_is_written_out(schema: Any, result: Any) -> None:
    assert written(schema) == result


def test_references_are_followed_and_recursion_is_cut() -> None:
    assert written({"$ref": "#/$defs/node"}, definitions={"node": NODE}) == {
        "type": "object",
        "properties": {"v": INTEGER, "next": LEAF},
        "required": ["v"],
    }
    lists = {"type": "array", "items": {"$ref": "#/$defs/lists"}}
    assert written({"$ref": "#/$defs/lists"}, replace(SMALL, depth=0), definitions={"lists": lists}) == EMPTY
    endless = {"type": "object", "properties": {"x": {"$ref": "#/$defs/e"}}, "required": ["x"]}
    assert written({"$ref": "#/$defs/e"}, definitions={"e": endless}) is None


@pytest.mark.parametrize(
    ("reference", "definitions"),
    [
        ("#/$defs/a~1b", {"a/b": INTEGER}),
        ("#/$defs/a%20b", {"a b": INTEGER}),
        ("#here", {"x": {"$anchor": "here", **INTEGER}}),
        ("https://x.y/z", {"x": {"$id": "https://x.y/z", **INTEGER}}),
        ("#/$defs/list/1", {"list": [NUMBER, INTEGER]}),
    ],
)
def test_a_reference_may_be_written_in_many_ways(reference: str, definitions: Any) -> None:
    assert written({"$ref": reference}, definitions=definitions) == INTEGER


@pytest.mark.parametrize("index", ["7", "-1", "²", "0" * 5000], ids=["beyond", "negative", "another script's", "long"])
def test_what_a_reference_does_not_find_may_be_anything(index: str) -> None:
    assert written({"$ref": f"#/$defs/list/{index}"}, definitions={"list": [INTEGER]}) == written({})


def test_a_schema_that_grows_without_end_is_cut_earlier() -> None:
    wide = {"type": "object", "properties": {f"p{i}": {"$ref": "#"} for i in range(40)}}
    assert len(json.dumps(grammar_schema(wide, WIDE))) < 100_000
    tangled = {"anyOf": [{"$ref": "#"}] * 30 + [{"type": "object", "properties": {"x": INTEGER}}]}
    assert grammar_schema(tangled, WIDE)["type"] == "object"


def test_a_schema_that_nothing_meets_is_that_of_any_object() -> None:
    assert grammar_schema({"type": "object", "properties": {"x": False}, "required": ["x"]}) == {"type": "object"}


def test_older_drafts_say_the_same_in_other_words() -> None:
    assert written({"type": "integer", "minimum": 1, "exclusiveMinimum": True, "maximum": 3}) == {
        "type": "integer",
        "minimum": 2,
        "maximum": 3,
    }
    assert written({"type": "array", "items": [INTEGER, NUMBER]}) == {"type": "array", "prefixItems": [INTEGER, NUMBER]}


def test_bare_bounds_leave_out_every_property_that_may_be() -> None:
    two: dict[str, Any] = {"type": "object", "properties": {"a": INTEGER, "b": INTEGER}}
    one = {"type": "object", "properties": {"a": INTEGER}, "required": ["a"]}
    assert written({**two, "required": ["a"]}, BARE) == one
    assert written(two, BARE) == {"type": "object", "properties": {}}
    assert written({**two, "minProperties": 1}, BARE) == one


def test_tight_bounds_leave_out_what_is_not_asked_for() -> None:
    assert written({"type": "number", "minimum": 0, "maximum": 1}, TIGHT) == {
        "type": "integer",
        "minimum": 0,
        "maximum": 1,
    }
    assert written({"type": "number", "minimum": 0.2, "maximum": 0.4}, TIGHT) == {"enum": [pytest.approx(0.3)]}
    assert written({"type": "object", "additionalProperties": INTEGER}, TIGHT) == {"type": "object", "properties": {}}
    assert written({"type": "integer", "multipleOf": 7}, TIGHT) == {"enum": [0, 7, 14, 21, 28, 35, 42, 49, 56]}


# --- for any schema -----------------------------------------------------------------------------------------------


def instances(found: dict[str, Any]) -> st.SearchStrategy[Any]:  # noqa: PLR0911  # one for each kind
    """What a grammar of the schema could write: nothing that it does not name."""
    if "anyOf" in found:
        return st.one_of([instances(one) for one in found["anyOf"]])
    if "enum" in found:
        return st.sampled_from(found["enum"])
    match found["type"]:
        case "object":
            inner = {name: instances(one) for name, one in found.get("properties", {}).items()}
            required = {name: inner[name] for name in found.get("required", ())}
            return st.fixed_dictionaries(
                required, optional={name: inner[name] for name in inner if name not in required}
            )
        case "array" if "prefixItems" in found:
            return st.tuples(*map(instances, found["prefixItems"])).map(list)
        case "array":
            return st.lists(instances(found["items"]), min_size=found.get("minItems", 0), max_size=found["maxItems"])
        case "string" if "format" in found:
            return st.dates().map(str)
        case "string":
            pattern = found["pattern"].replace("$", r"\Z")
            return st.from_regex(pattern, fullmatch=True).map(lambda text: json.loads(f'"{text}"', strict=False))
        case "integer":
            return st.integers(found.get("minimum"), found.get("maximum"))
        case "number":
            return st.floats(allow_nan=False, allow_infinity=False)
    return st.booleans() if found["type"] == "boolean" else st.none()


relaxed = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60)


@relaxed
@given(schemas, st.sampled_from([SMALL, replace(TIGHT, characters=9), replace(BARE, characters=9)]), st.data())
def test_what_the_grammar_writes_is_valid(schema: dict[str, Any], bounds: Bounds, data: st.DataObject) -> None:
    found = grammar_schema(schema, bounds)
    if found == {"type": "object"}:
        return  # nothing meets the schema
    arguments = data.draw(instances(found))
    assert jsonschema.Draft202012Validator(schema).is_valid(arguments), found


def kinds(schema: Any) -> set[str]:
    """The keywords in use."""
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        found |= node.keys()
        waiting += [*node.get("properties", {}).values(), *node.get("anyOf", ()), *node.get("prefixItems", ())]
        waiting += [node[key] for key in ("items", "additionalProperties") if key in node]
    return found


@relaxed
@given(schemas)
def test_the_result_knows_few_keywords(schema: dict[str, Any]) -> None:
    assert kinds(grammar_schema(schema)) <= {
        *("anyOf", "enum", "type", "properties", "required", "additionalProperties", "items", "prefixItems"),
        *("minItems", "maxItems", "pattern", "format", "minimum", "maximum"),
    }
