"""The same calls again and again, and calls that may not be made."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import InvalidRequest
from gateway.request import GenerationRequest, ToolChoice
from gateway.toolcalls.barring import bar_calls
from gateway.toolcalls.loops import bound_identical_calls, count_identical_calls
from gateway.toolcalls.toolbox import compile_tools

Json = dict[str, Any]
HI: Json = {"role": "user", "content": "Hi"}
TOOLS: list[Json] = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
MANY = 100


def turn(*arguments: str, name: str = "look", said: str = "", seen: str = "red") -> list[Json]:
    calls = [
        {"id": str(i), "type": "function", "function": {"name": name, "arguments": text}}
        for i, text in enumerate(arguments)
    ]
    results = [{"role": "tool", "content": seen, "tool_call_id": one["id"]} for one in calls]
    return [{"role": "assistant", "content": said, "tool_calls": calls}, *results]


def request(messages: list[Json], choice: ToolChoice = ToolChoice()) -> GenerationRequest:  # noqa: B008 -- it is frozen
    return GenerationRequest(
        messages=messages, tools=TOOLS, tool_choice=choice, toolbox=compile_tools(TOOLS, choice), sampling={"seed": 1}
    )


LOOP = [HI, *turn('{"a":1}'), *turn('{"a": 1}', said="Again", seen="blue"), *turn('{"a":1}')]


@pytest.mark.parametrize(
    ("messages", "count"),
    [
        ([HI], 0),
        ([HI, *turn("{}")], 1),
        (LOOP, 3),
        ([HI, *turn('{"a":1,"b":{"c":2,"d":3}}'), *turn('{ "b": {"d":3,"c":2}, "a":1 }')], 2),
        ([HI, *turn("{}", '{"a":1}'), *turn("{}", '{"a":1}')], 2),
        ([HI, *turn('{"a":1}', "{}"), *turn("{}", '{"a":1}')], 1),
        ([HI, *turn("{}", "{}"), *turn("{}")], 1),
        ([HI, *turn('{"a":1}'), *turn('{"a":2}'), *turn('{"a":2}')], 2),
        ([HI, *turn('{"a":1}'), *turn('{"a":true}')], 1),
        ([HI, *turn("{}", name="listen"), *turn("{}")], 1),
        ([*LOOP, HI], 0),
        ([*LOOP, {"role": "assistant", "content": "Red."}], 0),
        ([*LOOP, HI, *turn('{"a":1}')], 1),
        ([*LOOP, *turn('{"a":1}')[:1]], 0),
    ],
)
def test_turns_with_the_same_calls_are_counted_from_the_last_one_on(messages: list[Json], count: int) -> None:
    assert count_identical_calls(messages, MANY) == count
    assert count_identical_calls(messages, 2) == min(count, 2)


@pytest.mark.parametrize("most", [0, 4])
def test_what_is_within_the_bound_stays_as_it_is(most: int) -> None:
    given = request(LOOP)
    assert bound_identical_calls(given, most) is given


def test_at_the_bound_the_model_is_to_answer_in_words() -> None:
    bounded = bound_identical_calls(request(LOOP), 3)
    assert bounded == request(LOOP, ToolChoice("none"))
    assert bounded.toolbox is not None
    assert not bounded.toolbox.tools


def test_at_the_bound_a_call_that_is_required_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="3 times in a row") as caught:
        bound_identical_calls(request(LOOP, ToolChoice("required")), 3)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "identical_tool_calls", "tool_choice")


def test_where_no_call_may_be_made_its_first_token_is_barred() -> None:
    given = request([HI], ToolChoice("none"))
    assert bar_calls(given).sampling == {"seed": 1, "logit_bias": {"<|tool_call>": -100}}
    assert given.sampling == {"seed": 1}


def test_the_clients_own_biases_stay() -> None:
    given = GenerationRequest(
        messages=[HI], tools=TOOLS, tool_choice=ToolChoice("none"), sampling={"logit_bias": {"7": 1}}
    )
    assert bar_calls(given).sampling == {"logit_bias": {"7": 1, "<|tool_call>": -100}}


@pytest.mark.parametrize(
    "given", [request([HI]), GenerationRequest(messages=[HI], tool_choice=ToolChoice("none"))], ids=["auto", "no tools"]
)
def test_otherwise_nothing_is_barred(given: GenerationRequest) -> None:
    assert bar_calls(given) is given
