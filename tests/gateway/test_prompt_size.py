"""A prompt that cannot fit does not wait: it is counted before it is queued, and only if it could be too long."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from driving import FAILED, LOADING, PLAIN, QUESTION, STREAMED, Client, FakeReadiness, client_of, make_gateway, outcomes
from fake_upstream import CHAT, FakeUpstream, say_nothing, scenario, stall, until
from hypothesis import given
from hypothesis import strategies as st

from gateway.prompt_size import IMAGE_TOKENS, TEMPLATE_TOKENS, may_exceed
from gateway.request import GenerationRequest, ImageSource

COUNT = "/v1/chat/completions/input_tokens"
CONTEXT = 2048  # the fake's
LONG: dict[str, Any] = {"messages": [{"role": "user", "content": "word " * 1000}]}
TOO_LONG = {
    "message": "This model's maximum context length is 2048 tokens. However, your prompt resulted in 2048 tokens; "
    "2047 fit.",
    "type": "invalid_request_error",
    "param": "messages",
    "code": "context_length_exceeded",
}


def counting(tokens: int, **more: Any) -> FakeUpstream:
    return FakeUpstream(control={COUNT: (200, {"input_tokens": tokens, "object": "response.input_tokens"})}, **more)


@pytest.mark.parametrize("extra", [{}, {"stream": True}])
@scenario
async def test_a_prompt_that_leaves_no_room_for_an_answer_is_refused(extra: dict[str, Any]) -> None:
    async with counting(CONTEXT).listening() as upstream:
        gateway = make_gateway(upstream)
        async with client_of(gateway) as client:
            response = await client.post(CHAT, json=LONG | extra)
        assert response.status_code == 400
        assert response.json()["error"] == TOO_LONG
        assert upstream.calls == []
        assert outcomes(gateway) == {"chat_completions invalid": 1}


@scenario
async def test_a_prompt_that_leaves_room_for_one_token_is_answered_with_what_max_tokens_asks_for() -> None:
    async with counting(CONTEXT - 1).listening() as upstream, client_of(make_gateway(upstream)) as client:
        assert (await client.post(CHAT, json=LONG | {"max_tokens": 5000})).status_code == 200
        assert upstream.calls[0].body["max_tokens"] == 5000
        asked = json.loads(upstream.asked_with[upstream.asked.index(COUNT)])
        assert asked["messages"] == LONG["messages"]


@scenario
async def test_more_messages_than_tokens_fit_are_not_even_counted() -> None:
    """llama-server would render them for minutes."""
    async with counting(1).listening() as upstream, client_of(make_gateway(upstream)) as client:
        response = await client.post(CHAT, json={"messages": [{"role": "user", "content": ""}] * CONTEXT})
        assert response.json()["error"] == TOO_LONG
        assert COUNT not in upstream.asked


@scenario
async def test_it_is_refused_while_all_slots_are_busy() -> None:
    async with counting(9000, slots=1, default=stall()).listening() as upstream:
        gateway = make_gateway(upstream)
        inside = Client(gateway, STREAMED)
        await upstream.arrived.get()
        waiting = Client(gateway, STREAMED)
        await until(lambda: gateway._generator._admission.waiting == 1)
        late = Client(gateway, LONG)
        assert await late.status() == 400
        assert b"resulted in 9000 tokens" in await late.rest()
        for client in (waiting, inside):
            await client.leave()


@scenario
async def test_who_would_be_turned_away_is_not_counted() -> None:
    async with counting(9000, slots=1, default=say_nothing).listening() as upstream:
        gateway = make_gateway(upstream, max_waiting=0)
        inside = Client(gateway, PLAIN)
        await upstream.arrived.get()
        async with client_of(gateway) as client:
            assert (await client.post(CHAT, json=LONG)).status_code == 429
        assert COUNT not in upstream.asked
        await inside.leave()


@scenario
async def test_a_prompt_of_few_bytes_is_not_asked_about() -> None:
    async with counting(9000).listening() as upstream, client_of(make_gateway(upstream)) as client:
        assert (await client.post(CHAT, json=PLAIN)).status_code == 200
        assert COUNT not in upstream.asked


@scenario
async def test_tools_count() -> None:
    function = {"name": "f", "description": "word " * 1000}
    body = PLAIN | {"tools": [{"type": "function", "function": function}]}
    async with counting(9000).listening() as upstream, client_of(make_gateway(upstream)) as client:
        assert (await client.post(CHAT, json=body)).status_code == 400
        assert upstream.calls == []


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((500, {"error": {"code": 500, "message": "oh", "type": "server_error"}}), id="it fails"),
        pytest.param(
            (400, {"error": {"code": 400, "message": "no", "type": "invalid_request_error"}}), id="it refuses"
        ),
        pytest.param((404, {"error": {"code": 404, "message": "File Not Found"}}), id="it has no such route"),
        pytest.param((200, b"<html>"), id="it is something else"),
    ],
)
@scenario
async def test_a_count_that_fails_fails_nothing_else(answer: tuple[int, Any]) -> None:
    async with FakeUpstream(control={COUNT: answer}).listening() as upstream:
        async with client_of(make_gateway(upstream)) as client:
            assert (await client.post(CHAT, json=LONG)).status_code == 200
        assert COUNT in upstream.asked


@pytest.mark.parametrize(("report", "state"), [(LOADING, "not ready"), (FAILED, "not running")])
@scenario
async def test_a_server_that_is_not_ready_is_not_asked(report: Any, state: str) -> None:
    async with counting(9000).listening() as upstream:
        async with client_of(make_gateway(upstream, FakeReadiness(report), ready_seconds=0.01)) as client:
            response = await client.post(CHAT, json=LONG)
        assert response.status_code == 503
        assert state in response.json()["error"]["message"]
        assert upstream.connections == 0


@scenario
async def test_a_client_that_leaves_while_its_prompt_is_counted_is_forgotten() -> None:
    asked = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if COUNT.encode() in head:
            asked.set()
            await reader.read()
            writer.close()
            return
        path = head.split(b" ")[1].decode()
        body = json.dumps(FakeUpstream().control[path][1]).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    upstream = FakeUpstream()
    upstream._serve = never  # type: ignore[method-assign]
    async with upstream.listening():
        gateway = make_gateway(upstream)
        client = Client(gateway, LONG)
        await asked.wait()
        await client.leave()
        assert outcomes(gateway) == {"chat_completions cancelled": 1}


# -- what could be too long


def image(url: str) -> GenerationRequest:
    part = {"type": "image_url", "image_url": {"url": url}}
    messages = [{"role": "user", "content": [part]}]
    return GenerationRequest(messages=messages, images=(ImageSource(part, "messages[0].content[0].image_url.url"),))


def test_an_image_counts_as_an_image_and_not_as_its_bytes() -> None:
    request = image("data:image/png;base64," + "A" * 1_000_000)
    assert not may_exceed(request, IMAGE_TOKENS + 2 * TEMPLATE_TOKENS)
    assert may_exceed(request, IMAGE_TOKENS)


def test_images_that_are_not_there_yet_are_not_counted() -> None:
    assert not may_exceed(image("https://example.com/cat.png"), 1)


def test_a_request_that_is_nested_too_deeply_is_left_to_fail_where_it_is_sent() -> None:
    schema: dict[str, Any] = {}
    for _ in range(100_000):
        schema = {"items": schema}
    request = GenerationRequest(messages=QUESTION, response_format=schema)
    assert not may_exceed(request, 1)
    while schema:  # piece by piece: to free it all at once takes as deep a stack
        schema = schema.pop("items", {})


@given(st.lists(st.text(max_size=200), max_size=5))
def test_what_is_not_asked_about_has_fewer_bytes_than_the_context_has_tokens(texts: list[str]) -> None:
    request = GenerationRequest(messages=[{"role": "user", "content": content} for content in texts])
    size = sum(len(content.encode()) for content in texts)
    for context in (1, TEMPLATE_TOKENS, TEMPLATE_TOKENS + size, 1 << 17):
        assert may_exceed(request, context) or size < context
