from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.toolcalls.gemma_syntax import NotACall, WrittenCall, parse_call, write_call

Q = '<|"|>'

READ: list[tuple[str, str, dict[str, Any]]] = [
    ("call:now{}", "now", {}),
    ("call:now{ }", "now", {}),
    (f'call:f{{a:{Q}x, y:{{}} \n"z"{Q},n:1}}', "f", {"a": 'x, y:{} \n"z"', "n": 1}),
    ("call:f{a:-1.5e3,b:true,c:false,d:null,e:[]}", "f", {"a": -1500.0, "b": True, "c": False, "d": None, "e": []}),
    (f"call:f{{a:[1,{Q}x{Q},[true],{{k:{{}}}}]}}", "f", {"a": [1, "x", [True], {"k": {}}]}),
    (f"call:ns.f-1{{ a : {Q}{Q} ,\n b: [ 1 , 2 ] }}", "ns.f-1", {"a": "", "b": [1, 2]}),
    (f"call:f{{{Q}a{Q}:1}}", "f", {"a": 1}),
    ('call:f{"a b":"x\\n\\u00e9"}', "f", {"a b": "x\né"}),
    ("call:f{two words:1}", "f", {"two words": 1}),
]


@pytest.mark.parametrize(("text", "name", "arguments"), READ)
def test_a_call_is_read(text: str, name: str, arguments: dict[str, Any]) -> None:
    assert parse_call(f"so: {text} and on", 4) == WrittenCall(name, arguments, 4 + len(text))


@pytest.mark.parametrize(
    "text",
    [
        "call:f{a:Paris}",
        "call:f{a:01}",
        "call:f{a:1.}",
        "call:f{a:1e999}",
        "call:f{a:1 b:2} and then some more",
        "call:f{a:{1}} and then some more",
        "call:f{:1} and then some more text",
        "call:f [1] and then some more text",
        "call: f{}",
        "Call:f{}",
        "call:f{a:" + "[" * 100 + "]" * 100 + "}",
    ],
)
def test_what_breaks_the_syntax_is_no_call(text: str) -> None:
    with pytest.raises(NotACall):
        parse_call(text)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text().filter(lambda text: '<|"|>' not in text),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.from_regex(r"[a-zA-Z_][\w-]*", fullmatch=True), inner, max_size=4)
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.from_regex(r"[a-zA-Z_][\w-]*", fullmatch=True), json_values, max_size=5)


@given(objects)
def test_what_is_written_is_read_again(arguments: dict[str, Any]) -> None:
    text = write_call("f", arguments)
    assert parse_call(text) == WrittenCall("f", arguments, len(text))


@given(objects, st.data())
def test_a_call_that_is_cut_off_could_still_become_one(arguments: dict[str, Any], data: st.DataObject) -> None:
    text = write_call("f", arguments)
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(NotACall) as caught:
        parse_call(text[:cut])
    assert caught.value.unfinished


@given(st.text(alphabet='call:f{}[]<|">,-1.e \ntru"', max_size=40))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        found = parse_call(f"call:f{text}")
    except NotACall:
        return
    assert found.end <= len(text) + 6
