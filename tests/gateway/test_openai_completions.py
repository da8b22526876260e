"""The dialect of `/v1/completions`: golden requests and answers, and its way through the gateway."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from driving import client_of, events_of, make_gateway, outcomes
from fake_upstream import ENDING, ROLE, FakeUpstream, answer, chunk, error_event, refuse_with, scenario, text, thought
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion

from gateway import events
from gateway.dialects.base import AnswerHead
from gateway.dialects.complete import CompleteAnswer
from gateway.dialects.openai_completions import Completions
from gateway.dialects.openai_completions_request import CompletionRequest
from gateway.errors import InvalidRequest, PromptTooLong
from gateway.request import GenerationRequest
from gateway.thinking import OFF

if TYPE_CHECKING:
    from collections.abc import Sequence

COMPLETIONS = "/v1/completions"
HEAD = AnswerHead("17", 1795368872, "some-model", "b1")
SHARED = {
    "id": "cmpl-17",
    "object": "text_completion",
    "created": 1795368872,
    "model": "some-model",
    "system_fingerprint": "b1",
}
COUNTS = {
    "prompt_tokens": 5,
    "completion_tokens": 2,
    "total_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
USAGE = events.Usage(5, 2, 3)
HELLO = events.TokenLogprob(
    token="Hello", logprob=-0.25, top_logprobs=[events.Alternative("Hello", -0.25), events.Alternative("Hi", -1.5)]
)
WORLD = events.TokenLogprob(token=" world", logprob=-0.5, top_logprobs=[events.Alternative(" world", -0.5)])


def parse(**body: Any) -> Any:
    return Completions().parse(json.dumps(body).encode())


# -- the request


def test_a_prompt_becomes_one_user_message_without_thought() -> None:
    parsed = parse(prompt="Once upon a time")
    assert parsed.generation == GenerationRequest(
        messages=[{"role": "user", "content": "Once upon a time"}], thinking=OFF, max_tokens=16
    )
    assert (parsed.stream, parsed.choices, parsed.include_usage) == (False, 1, False)


def test_every_field_that_is_honoured_arrives() -> None:
    parsed = parse(
        model="whatever",
        prompt=["Once"],
        max_tokens=100,
        temperature=0.5,
        top_p=0.9,
        n=3,
        best_of=3,
        stop=["\n", "END"],
        seed=-1,
        stream=True,
        stream_options={"include_usage": True},
        presence_penalty=0.1,
        frequency_penalty=-0.1,
        logit_bias={"5": -100},
        logprobs=2,
        echo=False,
        suffix="",
        user="somebody",
    )
    assert parsed.generation == GenerationRequest(
        messages=[{"role": "user", "content": "Once"}],
        thinking=OFF,
        max_tokens=100,
        stop=("\n", "END"),
        logprobs=2,
        sampling={
            "temperature": 0.5,
            "top_p": 0.9,
            "presence_penalty": 0.1,
            "frequency_penalty": -0.1,
            "logit_bias": {"5": -100},
            "seed": 2**32 - 1,
        },
    )
    assert (parsed.stream, parsed.choices, parsed.include_usage) == (True, 3, True)


@pytest.mark.parametrize(("given", "meant"), [("", ()), ([""], ()), (["", "END"], ("END",))])
def test_an_empty_stop_ends_nothing(given: str | list[str], meant: tuple[str, ...]) -> None:
    assert parse(prompt="a", stop=given).generation.stop == meant


def test_nulls_are_defaults() -> None:
    fields = CompletionRequest.__struct_fields__
    assert parse(prompt="a", **{name: None for name in fields if name not in {"prompt", "model"}}) == parse(prompt="a")


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({}, "prompt", "Missing required parameter"),
        ({"prompt": 5}, "prompt", "Expected `str | array`"),
        ({"prompt": None}, "prompt", "Expected `str | array`"),
        ({"prompt": [1, 2, 3]}, "prompt", "takes text, not token numbers"),
        ({"prompt": [[1, 2, 3]]}, "prompt", "takes text, not token numbers"),
        ({"prompt": ["a", "b"]}, "prompt", "takes one prompt a request, not 2"),
        ({"prompt": []}, "prompt", "takes one prompt a request, not 0"),
        ({"prompt": "a", "echo": True}, "echo", "returns the completion only"),
        ({"prompt": "a", "suffix": "b"}, "suffix", "does not insert text"),
        ({"prompt": "a", "best_of": 2}, "best_of", "returns all that it generates"),
        ({"prompt": "a", "n": 2, "best_of": 3}, "best_of", "returns all that it generates"),
        ({"prompt": "a", "n": 9}, "n", "<= 8"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens", ">= 1"),
        ({"prompt": "a", "logprobs": 6}, "logprobs", "<= 5"),
        ({"prompt": "a", "temperature": 3}, "temperature", "<= 2"),
        ({"prompt": "a", "grammar": 'root ::= "a"'}, "grammar", "Unknown parameter"),
        ({"prompt": "a", "grammar_triggers": []}, "grammar_triggers", "Unknown parameter"),
        ({"prompt": "a", "id_slot": 1}, "id_slot", "Unknown parameter"),
        ({"prompt": "a", "messages": []}, "messages", "Unknown parameter"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(body: dict[str, Any], param: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        parse(**body)
    assert caught.value.param == param
    assert Completions().error_body(caught.value)["error"]["param"] == param


def test_a_prompt_that_does_not_fit_is_the_prompts_fault() -> None:
    error = Completions().error_body(PromptTooLong(3000, 2048))["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "prompt")


# -- the answer


def complete(*batch: events.Event) -> CompleteAnswer:
    collected = CompleteAnswer()
    collected.add([events.PromptRead(5, 3), *batch, USAGE])
    return collected


def test_an_answer_in_one_piece() -> None:
    answers = [
        complete(events.TextDelta("Hello"), events.TextDelta(" world"), events.Finish("stop", "END")),
        complete(events.ReasoningDelta("Hm"), events.TextDelta("Hi"), events.Finish("length")),
    ]
    written = json.loads(parse(prompt="a", n=2).body(HEAD, answers))
    assert written == {
        **SHARED,
        "choices": [
            {"text": "Hello world", "index": 0, "logprobs": None, "finish_reason": "stop"},
            {"text": "Hi", "index": 1, "logprobs": None, "finish_reason": "length"},
        ],
        "usage": COUNTS | {"completion_tokens": 4, "total_tokens": 9},
    }
    Completion.model_validate(written, strict=True)


@pytest.mark.parametrize(
    ("asked", "top"),
    [(2, [{"Hello": -0.25, "Hi": -1.5}, {" world": -0.5}]), (1, [{"Hello": -0.25}, {" world": -0.5}]), (0, None)],
)
def test_log_probabilities(asked: int, top: Any) -> None:
    whole = complete(events.TextDelta("Hello world", [HELLO, WORLD]), events.Finish("stop"))
    written = json.loads(parse(prompt="a", logprobs=asked).body(HEAD, [whole]))
    assert written["choices"][0]["logprobs"] == {
        "tokens": ["Hello", " world"],
        "token_logprobs": [-0.25, -0.5],
        "top_logprobs": top,
        "text_offset": [0, 5],
    }
    Completion.model_validate(written, strict=True)


def test_a_stream() -> None:
    renderer = parse(prompt="a", logprobs=1, stream_options={"include_usage": True}).stream_renderer(HEAD)
    written = renderer.render([events.PromptRead(5, 3)])
    assert written == b""
    written += renderer.render([events.TextDelta("Hello", [HELLO])])
    written += renderer.render([events.TextDelta(" world", [WORLD]), events.Finish("stop"), USAGE])
    written += renderer.end()

    def of(token: str, value: float, offset: int) -> dict[str, Any]:
        return {
            "tokens": [token],
            "token_logprobs": [value],
            "top_logprobs": [{token: value}],
            "text_offset": [offset],
        }

    hello, world, finish, usage, done = events_of(written)
    assert hello == {
        **SHARED,
        "choices": [{"text": "Hello", "index": 0, "logprobs": of("Hello", -0.25, 0), "finish_reason": None}],
        "usage": None,
    }
    assert world["choices"] == [
        {"text": " world", "index": 0, "logprobs": of(" world", -0.5, 5), "finish_reason": None}
    ]
    assert finish["choices"] == [{"text": "", "index": 0, "logprobs": None, "finish_reason": "stop"}]
    assert usage == {**SHARED, "choices": [], "usage": COUNTS}
    assert done == "[DONE]"


def test_a_stream_that_breaks_off_has_no_end_mark() -> None:
    renderer = parse(prompt="a").stream_renderer(HEAD)
    error = PromptTooLong(3000, 2048)
    for written in (renderer.error(error), Completions().stream_error(error)):
        (event,) = events_of(written)
        assert event["error"]["code"] == "context_length_exceeded"


PIECES = st.lists(st.text(min_size=1), max_size=8)


@given(PIECES, PIECES, st.data())
def test_a_stream_says_the_same_however_it_is_cut_and_mixed(first: list[str], second: list[str], data: Any) -> None:
    def events_for(pieces: Sequence[str]) -> list[events.Event]:
        return [events.PromptRead(5, 3), *map(events.TextDelta, pieces), events.Finish("stop"), USAGE]

    queues = {0: events_for(first), 1: events_for(second)}
    renderer = parse(prompt="a", n=2).stream_renderer(HEAD)
    written = b""
    while any(queues.values()):
        choice = data.draw(st.sampled_from([choice for choice, queue in queues.items() if queue]))
        count = data.draw(st.integers(1, len(queues[choice])))
        written += renderer.render(queues[choice][:count], choice)
        queues[choice] = queues[choice][count:]
    *chunks, done = events_of(written + renderer.end())
    for choice, pieces in ((0, first), (1, second)):
        mine = [event["choices"][0] for event in chunks if event["choices"][0]["index"] == choice]
        assert "".join(one["text"] for one in mine) == "".join(pieces)
        assert [one["finish_reason"] for one in mine] == [None] * len(pieces) + ["stop"]
    assert done == "[DONE]"
    for event in chunks:
        Completion.model_validate(event | {"choices": [event["choices"][0] | {"finish_reason": "stop"}]}, strict=True)


# -- through the gateway


@scenario
async def test_it_is_answered_through_the_chat_endpoint() -> None:
    async with FakeUpstream(default=answer(ROLE, thought("Hm"), text("Hello"), *ENDING)).listening() as upstream:
        gateway = make_gateway(upstream)
        async with client_of(gateway) as client:
            response = await client.post(COMPLETIONS, json={"prompt": "Say hello", "seed": 7})
        assert response.status_code == 200
        body = response.json()
        assert body["id"].startswith("cmpl-")
        assert body["choices"] == [{"text": "Hello", "index": 0, "logprobs": None, "finish_reason": "stop"}]
        sent = upstream.calls[0].body
        assert (sent["messages"], sent["max_tokens"], sent["seed"], sent["reasoning_budget_tokens"]) == (
            [{"role": "user", "content": "Say hello"}],
            16,
            7,
            0,
        )
        assert outcomes(gateway) == {"completions ok": 1}


@scenario
async def test_it_streams() -> None:
    async with FakeUpstream().listening() as upstream, client_of(make_gateway(upstream)) as client:
        response = await client.post(COMPLETIONS, json={"prompt": "Say hello", "stream": True})
        *chunks, done = events_of(response.content)
        assert [event["choices"][0]["text"] for event in chunks] == ["Hello", " world", ""]
        assert done == "[DONE]"


@scenario
async def test_log_probabilities_come_from_the_server() -> None:
    token = {"token": "Hello", "logprob": -0.25, "bytes": None, "top_logprobs": [{"token": "Hi", "logprob": -1.5}]}
    said = chunk({"content": "Hello"}, logprobs={"content": [token]})
    async with (
        FakeUpstream(default=answer(ROLE, said, *ENDING)).listening() as upstream,
        client_of(make_gateway(upstream)) as client,
    ):
        response = await client.post(COMPLETIONS, json={"prompt": "Say hello", "logprobs": 1})
        assert upstream.calls[0].body["top_logprobs"] == 1
    assert response.json()["choices"][0]["logprobs"] == {
        "tokens": ["Hello"],
        "token_logprobs": [-0.25],
        "top_logprobs": [{"Hi": -1.5}],
        "text_offset": [0],
    }


@pytest.mark.parametrize("stream", [False, True])
@scenario
async def test_failures_have_openais_shape(stream: bool) -> None:
    too_long = refuse_with(400, "exceed_context_size_error", "too long")
    body = {"prompt": "Say hello", "stream": stream}
    async with FakeUpstream().listening() as upstream, client_of(make_gateway(upstream)) as client:
        upstream.plan.append(too_long)
        response = await client.post(COMPLETIONS, json=body)
        assert (response.status_code, response.json()["error"]["param"]) == (400, "prompt")
        upstream.default = answer(ROLE, error_event())
        assert (await client.post(COMPLETIONS, json=body)).status_code == 502
        assert (await client.get(COMPLETIONS)).status_code == 405
