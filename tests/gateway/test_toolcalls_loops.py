"""The same calls again and again, and calls that may not be made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from driving import client_of, make_gateway
from fake_upstream import FakeUpstream, scenario

from gateway.barring import bar_calls
from gateway.errors import InvalidRequest
from gateway.request import GenerationRequest, ToolChoice
from gateway.toolcalls.loops import bound_identical_calls, count_identical_calls
from gateway.toolcalls.toolbox import compile_tools

if TYPE_CHECKING:
    from collections.abc import Callable

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


# -- in each dialect


def chat_body(rounds: int) -> Json:
    messages = [HI, *[message for _ in range(rounds) for message in turn("{}")]]
    return {"messages": messages, "tools": TOOLS}


def responses_body(rounds: int) -> Json:
    call = {"type": "function_call", "call_id": "0", "name": "look", "arguments": "{}"}
    items = [call, {"type": "function_call_output", "call_id": "0", "output": "red"}] * rounds
    tool = {"type": "function", "name": "look", "parameters": {"type": "object"}}
    return {"input": [{"role": "user", "content": "Hi"}, *items], "tools": [tool]}


def messages_body(rounds: int) -> Json:
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "0", "name": "look", "input": {}}]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "0", "content": "red"}]}
    tool = {"name": "look", "input_schema": {"type": "object"}}
    return {"messages": [HI, *[call, result] * rounds], "tools": [tool], "max_tokens": 100}


@pytest.mark.parametrize(
    ("path", "body_of"),
    [("/v1/chat/completions", chat_body), ("/v1/responses", responses_body), ("/v1/messages", messages_body)],
)
@pytest.mark.parametrize("is_gemma", [True, False])
@scenario
async def test_the_third_same_call_is_the_last(path: str, body_of: Callable[[int], Json], is_gemma: bool) -> None:
    async with FakeUpstream().listening() as upstream:
        upstream.control["/props"][1]["chat_template"] = "<|tool_call>" if is_gemma else "<tool_call>"
        async with client_of(make_gateway(upstream, most_identical_calls=3)) as client:
            for rounds in (2, 3):
                assert (await client.post(path, json=body_of(rounds))).status_code == 200
        before, after = [call.body for call in upstream.calls]
        assert (before["tool_choice"], after["tool_choice"]) == ("auto", "none")
        assert before["tools"] == after["tools"], "or the prompt would not be in the cache"
        assert "logit_bias" not in before
        assert after.get("logit_bias") == ({"<|tool_call>": -100} if is_gemma else None)
