"""Histories of tool calls: what clients break is mended, and what is right stays as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.thoughts.memory import ThoughtMemory
from gateway.toolcalls.history import LOST_CALL, NO_RESULT, mend_arguments, mend_history

Json = dict[str, Any]
HI: Json = {"role": "user", "content": "Hi"}
IMAGE: Json = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def call(call_id: str | None, arguments: Any = "{}") -> Json:
    return {"id": call_id, "type": "function", "function": {"name": "look", "arguments": arguments}}


def calling(*ids: str | None) -> Json:
    return {"role": "assistant", "content": "", "tool_calls": [call(call_id) for call_id in ids]}


def result(call_id: str | None, content: Any = "seen") -> Json:
    return {"role": "tool", "content": content, "tool_call_id": call_id}


def lost(content: str) -> Json:
    return {"role": "user", "content": LOST_CALL + content}


# -- arguments


@pytest.mark.parametrize(
    ("given", "mended"),
    [
        ('{"city": "Paris"}', '{"city": "Paris"}'),
        (' {"a":1,"a":2.50} ', ' {"a":1,"a":2.50} '),
        ("", "{}"),
        (" \n", "{}"),
        (None, "{}"),
        ("null", "{}"),
        ('""', "{}"),
        ({"city": "Grüße"}, '{"city":"Grüße"}'),
        ('"{\\"city\\": \\"Paris\\"}"', '{"city": "Paris"}'),
        (json.dumps(json.dumps(json.dumps({"n": 1}))), '{"n": 1}'),
        ("Paris", '{"arguments":"Paris"}'),
        ('"Paris"', '{"arguments":"Paris"}'),
        ('{"city": "Par', '{"arguments":"{\\"city\\": \\"Par"}'),
        ("{} {}", '{"arguments":"{} {}"}'),
        ("[1, 12345678901234567890123]", '{"arguments":[1, 12345678901234567890123]}'),
        ("1.50", '{"arguments":1.50}'),
        ('{"a": 1e999}', '{"arguments":"{\\"a\\": 1e999}"}'),
    ],
)
def test_arguments_become_an_object_without_a_loss(given: Any, mended: str) -> None:
    assert mend_arguments(given) == mended


def test_arguments_that_are_nested_too_deeply_are_kept_as_text() -> None:
    text = '{"a":' * 100_000 + "1" + "}" * 100_000
    assert json.loads(mend_arguments(text)) == {"arguments": text}


@given(st.one_of(st.none(), st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps)))
def test_whatever_arguments_are_they_become_an_object_once(given: str | None) -> None:
    mended = mend_arguments(given)
    assert isinstance(json.loads(mended), dict)
    assert mend_arguments(mended) == mended


# -- pairs


@pytest.mark.parametrize(
    ("given", "mended"),
    [
        pytest.param(
            [HI, calling("a", "b"), result("b", "2"), result("a", "1")],
            [HI, calling("a", "b"), result("a", "1"), result("b", "2")],
            id="results in another order",
        ),
        pytest.param(
            [calling("a", "b"), result("a", "1"), HI, result("b", "2"), HI],
            [calling("a", "b"), result("a", "1"), result("b", "2"), HI, HI],
            id="the user speaks between the results",
        ),
        pytest.param(
            [calling("a"), calling("b"), result("a", "1"), result("b", "2")],
            [calling("a"), result("a", "1"), calling("b"), result("b", "2")],
            id="one turn's calls in two messages",
        ),
        pytest.param(
            [calling("a", "b"), result("b", "2"), HI],
            [calling("a", "b"), result("a", NO_RESULT), result("b", "2"), HI],
            id="no result",
        ),
        pytest.param([HI, calling("a")], [HI, calling("a"), result("a", NO_RESULT)], id="no result at the end"),
        pytest.param(
            [result("z", "0"), calling("a"), result("a", "1"), HI],
            [lost("0"), calling("a"), result("a", "1"), HI],
            id="the call was cut off",
        ),
        pytest.param(
            [calling("a", "b"), result("a", "1"), result("a", "again"), result("b", "2")],
            [calling("a", "b"), result("a", "1"), result("b", "2"), lost("again")],
            id="two results of one call",
        ),
        pytest.param(
            [result("a", "1"), calling("a")],
            [lost("1"), calling("a"), result("a", NO_RESULT)],
            id="a result before its call is another call's",
        ),
        pytest.param(
            [calling("a", "a"), result("a", "1"), result("a", "2")],
            [calling("a", "a-0-1"), result("a", "1"), result("a-0-1", "2")],
            id="one id twice in a message",
        ),
        pytest.param(
            [calling("a", "a", "a-0-1"), result("a", "1"), result("a", "2"), result("a-0-1", "3")],
            [calling("a", "a-0-1-", "a-0-1"), result("a", "1"), result("a-0-1-", "2"), result("a-0-1", "3")],
            id="a made-up id is there already",
        ),
        pytest.param(
            [calling("a"), HI, calling("a"), result("a", "2")],
            [calling("a"), result("a", NO_RESULT), HI, calling("a"), result("a", "2")],
            id="one id in two turns: the later one",
        ),
        pytest.param(
            [calling("a"), calling("a"), result("a", "1"), result("a", "2")],
            [calling("a"), result("a", "1"), calling("a"), result("a", "2")],
            id="one id in two messages of a turn: in order",
        ),
        pytest.param(
            [HI, calling(None, "", "c"), result(None, "1"), result("", "2"), result("c", "3")],
            [
                HI,
                calling("call-1-0", "call-1-1", "c"),
                result("call-1-0", "1"),
                result("call-1-1", "2"),
                result("c", "3"),
            ],
            id="no ids",
        ),
        pytest.param(
            [calling("a", "b"), result(None, "2"), result("a", "1")],
            [calling("a", "b"), result("a", "1"), result("b", "2")],
            id="results without ids take what is left",
        ),
        pytest.param(
            [calling(None, "b"), result("x", "1"), result("b", "2")],
            [calling("x", "b"), result("x", "1"), result("b", "2")],
            id="a call without an id takes its result's",
        ),
    ],
)
def test_calls_and_results_are_paired(given: list[Json], mended: list[Json]) -> None:
    assert mend_history(given) == mended


def test_a_lost_result_keeps_its_images() -> None:
    (message,) = mend_history([result("a", [{"type": "text", "text": "Look"}, IMAGE])])
    assert message["content"][1:] == [{"type": "text", "text": "Look"}, IMAGE]
    assert message["content"][2] is IMAGE, "it is resolved in place"


def test_a_message_keeps_what_is_not_mended() -> None:
    broken = {"role": "assistant", "content": "So", "reasoning_content": "Hm.", "tool_calls": [call("a", "")]}
    assert mend_history([broken, result("a")]) == [{**broken, "tool_calls": [call("a")]}, result("a")]


def test_a_long_broken_history_takes_no_more_than_its_length() -> None:
    """Each result would be looked for among all calls, were they not found by their ids."""
    count = 20_000
    broken = [calling(*["a"] * count), *[result("a")] * count, *[result(None)] * count]
    mended = mend_history(broken)
    assert len({one["id"] for one in mended[0]["tool_calls"]}) == count
    assert [one["role"] for one in mended[1:]] == ["tool"] * count + ["user"] * count


def test_the_thoughts_behind_mended_calls_are_still_known() -> None:
    memory = ThoughtMemory()
    memory.remember("me", "a", "Hm.")
    mended = mend_history([calling("call_a", "call_a"), HI, result("call_a"), calling(None), result(None)])
    thoughts = [message.get("reasoning_content") for message in memory.recall("me", mended) if "tool_calls" in message]
    assert thoughts == ["Hm.", None]


# -- properties

IDS = st.sampled_from([None, "", "a", "b", "c", "a-0-1", "call-0-0"])
CALLINGS = st.builds(
    lambda calls: {"role": "assistant", "content": "", "tool_calls": calls},
    st.lists(st.builds(call, IDS, st.sampled_from(["{}", "", "[1]", '{"n": 1}'])), min_size=1, max_size=3),
)
BROKEN = st.lists(
    st.one_of(
        st.just(HI), st.just({"role": "assistant", "content": "Ho"}), CALLINGS, st.builds(result, IDS, st.text())
    ),
    max_size=12,
)


@st.composite
def right_histories(draw: st.DrawFn) -> list[Json]:
    """Draw turns that are whole: each one's calls have ids of their own, and their results follow in order."""
    messages: list[Json] = []
    for ids in draw(st.lists(st.lists(st.text(min_size=1), unique=True, max_size=3), max_size=5)):
        if not ids:
            messages.append(draw(st.sampled_from([HI, {"role": "assistant", "content": "Ho"}])))
            continue
        arguments = draw(st.dictionaries(st.text(), st.integers() | st.text()))
        calls = [call(call_id, json.dumps(arguments)) for call_id in ids]
        messages.append({"role": "assistant", "content": draw(st.text()), "tool_calls": calls})
        messages += [result(call_id, draw(st.text())) for call_id in ids]
    return messages


@given(right_histories())
def test_a_right_history_stays_the_very_same(messages: list[Json]) -> None:
    before = json.dumps(messages)
    mended = mend_history(messages)
    assert json.dumps(messages) == before
    assert len(mended) == len(messages)
    assert all(one is other for one, other in zip(mended, messages, strict=True))


@given(BROKEN)
def test_after_mending_each_call_has_one_result_behind_it(messages: list[Json]) -> None:
    waiting: list[str] = []
    for message in mend_history(messages):
        if message["role"] == "tool":
            assert waiting.pop(0) == message["tool_call_id"]
            continue
        assert not waiting
        calls = message.get("tool_calls", [])
        waiting = [one["id"] for one in calls]
        assert all(waiting)
        assert len({*waiting}) == len(waiting)
        assert all(isinstance(json.loads(one["function"]["arguments"]), dict) for one in calls)
    assert not waiting


@given(BROKEN)
def test_nothing_is_mended_twice_and_nothing_that_was_said_is_lost(messages: list[Json]) -> None:
    before = json.dumps(messages)
    mended = mend_history(messages)
    assert mend_history(mended) == mended
    assert json.dumps(messages) == before
    said = [one["content"].removeprefix(LOST_CALL) for one in mended if one["content"] != NO_RESULT]
    assert sorted(said) == sorted(message["content"] for message in messages)
    assert [one for one in mended if one["role"] == "assistant" and "tool_calls" not in one] == [
        message for message in messages if message["role"] == "assistant" and "tool_calls" not in message
    ]


@given(BROKEN, BROKEN)
def test_what_was_mended_stays_so_while_the_conversation_goes_on(before: list[Json], after: list[Json]) -> None:
    """Or the prompt's beginning would not be found in the cache: only results that come late may change it."""
    later = [message for message in after if message["role"] != "tool"]
    mended = mend_history(before)
    assert mend_history([*before, *later])[: len(mended)] == mended
