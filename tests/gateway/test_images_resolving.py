"""Requests with images, in each dialect, through the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from driving import LOADING, READY, FakeReadiness, client_of, outcomes
from fake_upstream import CHAT, FakeUpstream, scenario
from image_hosts import HOST, OTHER_HOST, PUBLIC, Connections, Names, fetcher
from pictures import bmp, data_url, gif, jpeg, png

from gateway.application import Gateway, GatewayConfig
from gateway.auth.keys import KeyRing
from gateway.generation import Limits
from gateway.images.policy import ImagePolicy
from gateway.request import GenerationRequest
from gateway.upstream.wire import encode_request

KEY = "sk-test-4d1f0c-secret"
URL = f"https://{HOST}/cat.png"
PAGES = {URL: png(), f"https://{OTHER_HOST}/dog.jpg": jpeg(), f"https://{HOST}/big.bmp": bmp((100, 100))}
BLIND = {"/props": (200, {"total_slots": 4, "default_generation_settings": {"n_ctx": 2048}})}


async def serve_pages(request: httpx.Request) -> httpx.Response:
    data = PAGES[f"https://{request.headers['host']}{request.url.raw_path.decode()}"]
    return httpx.Response(200, stream=httpx.ByteStream(data))


class Service:
    """A gateway before a fake upstream, and what its images' connections are."""

    def __init__(self, upstream: FakeUpstream, readiness: FakeReadiness | None = None, **policy: Any) -> None:
        self.connections = Connections(serve_pages)
        names = Names({HOST: [[PUBLIC]], OTHER_HOST: [[PUBLIC]], "private.example": [["10.0.0.1"]]})
        images = ImagePolicy(**policy)
        config = GatewayConfig(keys=KeyRing({"tester": KEY}), limits=Limits(5.0, 5.0), images=images)
        known = readiness or FakeReadiness()
        self.gateway = Gateway(config, upstream.target, known, fetcher(names, self.connections, images))

    async def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        async with client_of(self.gateway) as client:
            return await client.post(path, json=body)

    async def chat(self, *urls: str, **fields: Any) -> httpx.Response:
        return await self.post(CHAT, chat_body(*urls) | fields)


def chat_body(*urls: str) -> dict[str, Any]:
    content = [{"type": "text", "text": "Hi"}, *[{"type": "image_url", "image_url": {"url": url}} for url in urls]]
    return {"messages": [{"role": "user", "content": content}]}


def responses_body(*urls: str) -> dict[str, Any]:
    content = [{"type": "input_text", "text": "Hi"}, *[{"type": "input_image", "image_url": url} for url in urls]]
    return {"input": [{"role": "user", "content": content}]}


def messages_body(*urls: str) -> dict[str, Any]:
    images = [{"type": "image", "source": {"type": "url", "url": url}} for url in urls]
    return {"max_tokens": 100, "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, *images]}]}


DIALECTS = [
    pytest.param(CHAT, chat_body, "messages[0].content[1].image_url.url", id="chat"),
    pytest.param("/v1/responses", responses_body, "input[0].content[1].image_url", id="responses"),
    pytest.param("/v1/messages", messages_body, "messages[0].content[1].source.url", id="messages"),
]

Body = Callable[..., dict[str, Any]]


def urls_sent(upstream: FakeUpstream) -> list[str]:
    """Return the images' URLs as the upstream got them."""
    parts = [part for message in upstream.calls[-1].body["messages"] for part in message["content"]]
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


@pytest.mark.parametrize(("path", "body", "where"), DIALECTS)
@scenario
async def test_the_upstream_gets_data_urls_of_what_was_found(path: str, body: Body, where: str) -> None:
    del where
    async with FakeUpstream().listening() as upstream:
        service = Service(upstream)
        given = [URL, f"https://{OTHER_HOST}/dog.jpg", URL, data_url(gif(), "image/png")]
        answer = await service.post(path, body(*given))
        assert answer.status_code == 200
        found = [data_url(png()), data_url(jpeg(), "image/jpeg"), data_url(png()), data_url(gif(), "image/gif")]
        assert urls_sent(upstream) == found
        assert len(service.connections.requests) == 2  # what is there twice is fetched once


@scenario
async def test_nothing_is_fetched_for_a_request_that_is_not_let_in() -> None:
    async with FakeUpstream().listening() as upstream:
        service = Service(upstream)
        await service.gateway.drain(0)
        assert (await service.chat(URL)).status_code == 503
    assert service.connections.requests == []


@pytest.mark.parametrize(("path", "body", "where"), DIALECTS)
@scenario
async def test_a_refused_image_is_an_error_that_names_its_field_in_the_dialect(
    path: str, body: Body, where: str
) -> None:
    async with FakeUpstream().listening() as upstream:
        service = Service(upstream)
        answer = await service.post(path, body("https://private.example/?token=1"))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == where
    assert error["message"] == f"Invalid '{where}': its host is not a public one that can be found."
    assert error.get("code", "invalid_image_url") == "invalid_image_url"
    assert service.connections.requests == []
    assert upstream.calls == []
    assert list(outcomes(service.gateway).values()) == [1]


@pytest.mark.parametrize(("path", "body", "where"), DIALECTS)
@scenario
async def test_a_model_without_eyes_is_not_shown_any_and_nothing_is_fetched(path: str, body: Body, where: str) -> None:
    async with FakeUpstream(control=dict(BLIND)).listening() as upstream:
        service = Service(upstream)
        for url in (URL, data_url(png())):
            answer = await service.post(path, body(url))
            assert answer.status_code == 400
            said = f"Invalid '{where}': fake-model is served without an image projector; it reads text only."
            assert answer.json()["error"]["message"] == said
        assert service.connections.requests == []
        assert upstream.calls == []


@scenario
async def test_one_that_starts_while_images_are_fetched_is_asked_again() -> None:
    async with FakeUpstream(control=dict(BLIND)).listening() as upstream:
        readiness = FakeReadiness(LOADING)
        service = Service(upstream, readiness)
        asking = asyncio.create_task(service.chat(URL))
        while not readiness.waiting:  # noqa: ASYNC110 -- the loop is only let turn
            await asyncio.sleep(0)
        readiness.move(READY)
        assert (await asking).json()["error"]["code"] == "images_not_supported"
        assert upstream.calls == []


@scenario
async def test_a_token_count_takes_the_same_way() -> None:
    path = "/v1/messages/count_tokens"
    count = {"/v1/chat/completions/input_tokens": (200, {"input_tokens": 300})}
    async with FakeUpstream(control=dict(count)).listening() as upstream:
        service = Service(upstream)
        body = messages_body(URL)
        del body["max_tokens"]
        assert (await service.post(path, body)).json() == {"input_tokens": 300}
        assert data_url(png()).encode() in upstream.asked_with[-1]
        assert URL.encode() not in upstream.asked_with[-1]
        body = messages_body("http://169.254.169.254/latest/meta-data/")
        del body["max_tokens"]
        assert (await service.post(path, body)).status_code == 400


@pytest.mark.parametrize(
    ("policy", "urls", "which", "code"),
    [
        ({"max_count": 2}, [URL, URL, URL], 2, "too_many_images"),
        ({"max_count": 0}, [URL], 0, "too_many_images"),
        ({"urls": "none"}, [URL], 0, "invalid_image_url"),
        ({"max_bytes": 100}, [URL, f"https://{HOST}/big.bmp"], 1, "image_too_large"),
        ({"max_bytes": 100}, [data_url(png()), data_url(bmp((10, 10)))], 1, "image_too_large"),
        ({"max_total_bytes": len(png())}, [data_url(png()), data_url(bmp((40, 40)))], 1, "image_too_large"),
        ({"max_total_bytes": 100}, [f"https://{HOST}/big.bmp"], 0, "image_too_large"),
        ({"max_pixels": 100}, [data_url(png()), data_url(png((10, 11)))], 1, "image_too_large"),
        ({"max_total_pixels": 20}, [data_url(png((1, 1))), data_url(png((5, 5)))], 1, "image_too_large"),
        ({}, [data_url(b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp")], 0, "unsupported_image_media_type"),
        ({}, [data_url(png())[:-9]], 0, "invalid_base64_image"),
        ({}, [data_url(png()[:-20])], 0, "image_parse_error"),
        ({}, [URL, "file:///etc/passwd"], 1, "invalid_image_url"),
        ({}, ["iVBORw0KGgo="], 0, "invalid_image_url"),
    ],
)
@scenario
async def test_each_limit_has_a_code_and_names_the_image_that_exceeds_it(
    policy: dict[str, Any], urls: list[str], which: int, code: str
) -> None:
    async with FakeUpstream().listening() as upstream:
        service = Service(upstream, **policy)
        answer = await service.chat(*urls)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["code"], error["param"]) == (code, f"messages[0].content[{1 + which}].image_url.url")
    assert upstream.calls == []


@pytest.mark.parametrize("url", [URL, "", "data:audio/wav;base64,", "iVBORw0KGgo="])
def test_what_was_not_resolved_is_not_even_encoded_for_the_upstream(url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    with pytest.raises(RuntimeError, match="not resolved"):
        encode_request(GenerationRequest(messages=[{"role": "user", "content": [part]}]))


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
@scenario
async def test_no_turn_of_a_chat_hides_an_image(role: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "see", "arguments": "{}"}}
    turn = chat_body(URL)["messages"][0] | {"role": role} | ({"tool_call_id": "1"} if role == "tool" else {})
    before = [{"role": "assistant", "tool_calls": [call]}] if role == "tool" else []
    async with FakeUpstream().listening() as upstream:
        service = Service(upstream)
        messages = [*before, turn, {"role": "user", "content": "Hi"}]
        assert (await service.post(CHAT, {"messages": messages})).status_code == 200
        assert data_url(png()).encode() in upstream.calls[0].raw_body
        assert URL.encode() not in upstream.calls[0].raw_body


@scenario
async def test_one_bad_url_keeps_all_others_from_being_fetched() -> None:
    async with FakeUpstream().listening() as upstream:
        service = Service(upstream)
        assert (await service.chat(URL, "https://127.0.0.1/")).status_code == 400
        assert service.connections.requests == []


@scenario
async def test_a_host_that_does_not_answer_in_time_is_given_up() -> None:
    given_up = asyncio.Event()

    async def never(_: httpx.Request) -> httpx.Response:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()
        raise AssertionError

    async with FakeUpstream().listening() as upstream:
        service = Service(upstream, seconds=0.01)
        service.connections.answer = never
        answer = await service.chat(data_url(png()), URL, stream=True)
        await given_up.wait()
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": "Invalid 'messages[0].content[2].image_url.url': the image could not be fetched within 0.01 s.",
        "type": "invalid_request_error",
        "param": "messages[0].content[2].image_url.url",
        "code": "failed_to_download_image",
    }


@scenario
async def test_an_image_in_any_turn_is_found_and_several_answers_share_it() -> None:
    async with FakeUpstream().listening() as upstream:
        service = Service(upstream)
        turns = [*chat_body(URL)["messages"], {"role": "assistant", "content": "A cat."}, *chat_body(URL)["messages"]]
        answer = await service.post(CHAT, {"messages": turns, "n": 2})
        assert len(answer.json()["choices"]) == 2
        assert len(service.connections.requests) == 1
        for call in upstream.calls:
            assert URL.encode() not in call.raw_body
            assert call.raw_body.count(data_url(png()).encode()) == 2
