"""Messages through the whole gateway, against an upstream that says what it is told to, and with Anthropic's client."""

from __future__ import annotations

import contextlib
import json
from collections import deque
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import pytest
from anthropic_dialect import HI, check_body, events_of
from anthropic_dialect import MESSAGES as DIALECT
from driving import FAILED, KEY, LOADING, FakeReadiness, client_of, make_gateway, outcomes
from fake_upstream import (
    DONE,
    ENDING,
    FakeUpstream,
    answer,
    break_off,
    call_begins,
    call_goes_on,
    finish,
    refuse_with,
    scenario,
    text,
    thought,
    usage,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import httpx
    from fake_upstream import Call

    from gateway.application import Gateway

MESSAGES = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
COUNT_UPSTREAM = "/v1/chat/completions/input_tokens"
ASKED: Any = {"model": "any", "max_tokens": 10}
LEAST: dict[str, Any] = {"max_tokens": 1000, "messages": HI}
WEATHER: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
THINKING: Any = {"type": "adaptive"}
CALLING = (
    thought("Hm"),
    thought("."),
    text("Let me see."),
    call_begins(0, "c1", "weather"),
    call_goes_on(0, '{"city":"Paris"}'),
    finish("tool_calls"),
    usage(),
    DONE,
)


@contextlib.asynccontextmanager
async def serving(
    *plan: Callable[[Call], Awaitable[None]], **upstream: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Gateway, FakeUpstream]]:
    """Serve from an upstream that behaves as planned."""
    async with FakeUpstream(plan=deque(plan), **upstream).listening() as fake:
        gateway = make_gateway(fake)
        async with client_of(gateway, {"x-api-key": KEY, "anthropic-version": "2023-06-01"}) as client:
            yield client, gateway, fake


def sdk(transport: httpx2.AsyncBaseTransport) -> anthropic.AsyncAnthropic:
    """Return Anthropic's client."""
    http = httpx2.AsyncClient(transport=transport)
    return anthropic.AsyncAnthropic(base_url="http://gateway", api_key=KEY, http_client=http, max_retries=0)


def kinds(stream: list[Any]) -> list[str]:
    return [event["type"] for event in stream]


@scenario
async def test_a_streamed_answer() -> None:
    async with serving(answer(text("Hel"), text("lo"), *ENDING)) as (client, gateway, _):
        response = await client.post(f"{MESSAGES}?beta=true", json=LEAST | {"stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    stream = events_of(response.content)
    assert kinds(stream) == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert stream[0]["message"]["model"] == "fake-model"
    assert stream[-2]["usage"]["input_tokens"] == 2
    assert stream[-2]["usage"]["cache_read_input_tokens"] == 3
    assert outcomes(gateway) == {"messages ok": 1}


@scenario
async def test_an_answer_in_one_piece() -> None:
    async with serving(answer(text("Hel"), text("lo"), finish("length"), usage(), DONE)) as (client, _, upstream):
        body = (await client.post(MESSAGES, json=LEAST | {"system": "Be kind."})).json()
    check_body(body)
    assert body["content"] == [{"type": "text", "text": "Hello"}]
    assert body["stop_reason"] == "max_tokens"
    sent = upstream.calls[0].body
    assert sent["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    assert sent["max_tokens"] == 1000
    assert sent["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize("stream", [False, True])
@scenario
async def test_the_author_is_the_model_that_was_asked_for(stream: bool) -> None:
    # Claude Code gives signed thoughts back to nobody else
    async with serving() as (client, _, _):
        response = await client.post(MESSAGES, json=LEAST | {"model": "gemma-4", "stream": stream})
    message = events_of(response.content)[0]["message"] if stream else response.json()
    assert message["model"] == "gemma-4"


@pytest.mark.parametrize("display", ["summarized", "omitted"])
@scenario
async def test_a_call_goes_back_with_the_thought_that_led_to_it(display: str) -> None:
    done = answer(text("Sunny."), *ENDING)
    async with serving(answer(*CALLING), done) as (_, gateway, upstream), sdk(httpx2.ASGITransport(gateway)) as client:
        thinking: Any = {**THINKING, "display": display}
        asked: Any = {"model": "any", "max_tokens": 4000, "tools": [WEATHER], "thinking": thinking}
        async with client.messages.stream(messages=HI, **asked) as stream:
            first = await stream.get_final_message()
        result = {"type": "tool_result", "tool_use_id": first.content[-1].id, "content": "sun"}  # type: ignore[union-attr]
        history = [*HI, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
        second = await client.messages.create(messages=history, **asked)
    assert first.stop_reason == "tool_use"
    shown, said, call = first.content
    assert shown.type == "thinking"
    assert shown.thinking == ("Hm." if display == "summarized" else "")
    assert (said.type, call.type) == ("text", "tool_use")
    assert [block.text for block in second.content if block.type == "text"] == ["Sunny."]
    sent = upstream.calls[1].body["messages"]
    called = sent[1].pop("tool_calls")
    assert sent[1] == {"role": "assistant", "content": "Let me see.", "reasoning_content": "Hm."}
    assert called[0]["function"] == {"name": "weather", "arguments": '{"city":"Paris"}'}
    assert called[0]["id"].startswith("toolu_")
    assert sent[2] == {"role": "tool", "content": "sun", "tool_call_id": called[0]["id"]}


@scenario
async def test_the_client_reads_past_keep_alives() -> None:
    async with serving() as (client, _, __):
        stream = (await client.post(MESSAGES, json=LEAST | {"stream": True})).content
    ping = DIALECT.keep_alive
    kept_alive = ping * 2 + stream.replace(b"\n\n", b"\n\n" + ping)
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=kept_alive)
    )
    async with sdk(transport) as anthropic_client, anthropic_client.messages.stream(messages=HI, **ASKED) as read:
        final = await read.get_final_message()
    assert [block.text for block in final.content if block.type == "text"] == ["Hello world"]


@scenario
async def test_an_answer_that_breaks_off_ends_with_an_error_event() -> None:
    async with serving(break_off(text("Hel"))) as (client, gateway, _):
        response = await client.post(MESSAGES, json=LEAST | {"stream": True})
    *begun, last = response.content.decode().split("\n\n")[:-1]
    assert begun
    name, data = last.split("\n")
    assert name == "event: error"
    error = json.loads(data.removeprefix("data: "))
    assert (error["type"], error["error"]["type"]) == ("error", "api_error")
    assert outcomes(gateway) == {"messages upstream_error": 1}


@pytest.mark.parametrize("path", [MESSAGES, COUNT])
@scenario
async def test_errors_have_anthropics_shape_from_the_gate_on(path: str) -> None:
    async with serving() as (client, _, __):
        answers = [
            await client.post(path, json=LEAST | {"foo": 1}),
            await client.post(path, content=b"{"),
            await client.get(path),
            await client.post(path, json=LEAST, headers={"x-api-key": "sk-wrong"}),
            await client.post(path, json=LEAST | {"thread": {"type": "create"}}),
        ]
    assert [(one.status_code, one.json()["type"], one.json()["error"]["type"]) for one in answers] == [
        (400, "error", "invalid_request_error"),
        (400, "error", "invalid_request_error"),
        (405, "error", "invalid_request_error"),
        (401, "error", "authentication_error"),
        (400, "error", "invalid_request_error"),
    ]
    assert answers[0].json()["error"] == {
        "type": "invalid_request_error",
        "message": "Invalid 'foo': Unknown parameter.",
        "param": "foo",
    }
    assert answers[4].json()["error"]["details"] == {"error_code": "thread_unsupported_request"}


# -- counting


@scenario
async def test_the_server_counts_what_it_would_be_asked() -> None:
    async with serving(control={COUNT_UPSTREAM: (200, {"input_tokens": 31})}) as (_, gateway, upstream):
        async with sdk(httpx2.ASGITransport(gateway)) as client:
            counted = await client.messages.count_tokens(
                model="any", messages=HI, system="Be kind.", tools=[WEATHER], thinking=THINKING
            )
        sent = json.loads(upstream.asked_with[upstream.asked.index(COUNT_UPSTREAM)])
    assert counted.input_tokens == 31
    assert sent["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    assert sent["tools"][0]["function"]["name"] == "weather"
    assert sent["chat_template_kwargs"] == {"enable_thinking": True}
    assert upstream.calls == []
    assert outcomes(gateway) == {"count_tokens ok": 1}


@scenario
async def test_what_the_server_refuses_to_count_is_refused() -> None:
    refused = (400, {"error": {"code": 400, "message": "No.", "type": "invalid_request_error"}})
    async with serving(control={COUNT_UPSTREAM: refused}) as (client, gateway, _):
        response = await client.post(COUNT, json={"messages": HI})
    assert (response.status_code, response.json()["error"]["message"]) == (400, "No.")
    assert outcomes(gateway) == {"count_tokens invalid": 1}


@pytest.mark.parametrize("report", [LOADING, FAILED])
@scenario
async def test_nothing_is_counted_without_a_server(report: Any) -> None:
    async with FakeUpstream().listening() as upstream:
        gateway = make_gateway(upstream, FakeReadiness(report), ready_seconds=0)
        async with client_of(gateway) as client:
            response = await client.post(COUNT, json={"messages": HI})
    assert response.status_code == 503
    assert response.json()["error"]["type"] == "overloaded_error"
    assert response.headers["retry-after"] == str(report.retry_after)
    assert upstream.asked == []


@scenario
async def test_a_refusal_of_the_servers_has_anthropics_shape() -> None:
    too_long = refuse_with(400, "exceed_context_size_error", "request (9 tokens) exceeds the context (8 tokens)")
    async with serving(too_long) as (client, _, __):
        response = await client.post(MESSAGES, json=LEAST)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("prompt is too long: ")
