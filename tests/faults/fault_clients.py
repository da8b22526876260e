"""Clients of a service under faults: each request ends, and what it ends with is judged."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
from typing import TYPE_CHECKING, Any

import httpx
from fault_service import KEY, PATIENCE_SECONDS
from faulty_llama_server import word

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable

CHAT = "/v1/chat/completions"
UNAVAILABLE = 503
TOKENS = range(3, 10)  # of a client's request


class Outcome(enum.Enum):
    """How a request may end. Everything else fails the test that made it."""

    ANSWERED = "answered"
    """In full."""
    ERROR = "error"
    """An error in OpenAI's shape, in the stream or instead of an answer."""
    UNAVAILABLE = "503"
    """The same, with the status that says so."""


def client_of(url: str) -> httpx.AsyncClient:
    """Return a client that waits for ever: what bounds a request is `ask`."""
    # There is no TLS; by default each client would read all root certificates, for 0.1 s.
    transport = httpx.AsyncHTTPTransport(verify=False)
    return httpx.AsyncClient(
        transport=transport, base_url=url, headers={"authorization": f"Bearer {KEY}"}, timeout=None
    )


def request_for(tokens: int, *, stream: bool) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": tokens, "stream": stream}


def text_of(tokens: int) -> str:
    return "".join(word(number) for number in range(tokens))


class Answer:
    """One streamed answer, read piece by piece."""

    def __init__(self, response: httpx.Response, tokens: int) -> None:
        self._response = response
        self._payloads = (
            line.removeprefix("data: ") async for line in response.aiter_lines() if line.startswith("data: ")
        )
        self._tokens = tokens
        self._text = ""
        self._finished = False

    async def begin(self) -> None:
        """Read until the model has said something."""
        assert self._response.status_code == httpx.codes.OK
        while not self._text:
            self._add(json.loads(await anext(self._payloads)))

    async def end(self) -> Outcome:
        """Read the rest, and judge it."""
        if self._response.status_code != httpx.codes.OK:
            return judge_refusal(self._response.status_code, await self._response.aread())
        async for payload in self._payloads:
            if payload == "[DONE]":
                assert (self._text, self._finished) == (text_of(self._tokens), True)
                assert [rest async for rest in self._payloads] == []
                return Outcome.ANSWERED
            chunk = json.loads(payload)
            if "error" in chunk:
                assert_error(chunk)
                assert [rest async for rest in self._payloads] == []  # above all no end mark
                return Outcome.ERROR
            self._add(chunk)
        raise AssertionError(f"a stream ended with neither an error nor an end mark after {self._text!r}")

    def _add(self, chunk: dict[str, Any]) -> None:
        (choice,) = chunk["choices"]
        self._text += choice["delta"].get("content") or ""
        self._finished = choice["finish_reason"] is not None


@contextlib.asynccontextmanager
async def streaming(url: str, tokens: int) -> AsyncIterator[Answer]:
    """Ask for a streamed answer of so many tokens. Within a bounded time the block must have ended."""
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        client_of(url) as client,
        client.stream("POST", CHAT, json=request_for(tokens, stream=True)) as response,
    ):
        yield Answer(response, tokens)


async def ask(client: httpx.AsyncClient, tokens: int, *, stream: bool) -> Outcome:
    """Make a request and judge what it ends with, within a bounded time."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        if stream:
            async with client.stream("POST", CHAT, json=request_for(tokens, stream=True)) as response:
                return await Answer(response, tokens).end()
        response = await client.post(CHAT, json=request_for(tokens, stream=False))
        if response.status_code != httpx.codes.OK:
            return judge_refusal(response.status_code, response.content)
        answer = response.json()
        assert answer["choices"][0]["message"]["content"] == text_of(tokens)
        assert answer["usage"]["completion_tokens"] == tokens
        return Outcome.ANSWERED


def judge_refusal(status: int, body: bytes) -> Outcome:
    assert 400 <= status < 600
    assert_error(json.loads(body))
    return Outcome.UNAVAILABLE if status == UNAVAILABLE else Outcome.ERROR


def assert_error(body: dict[str, Any]) -> None:
    """See that it is in OpenAI's shape, and says something."""
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    assert body["error"]["type"]
    assert body["error"]["code"]


@contextlib.asynccontextmanager
async def load(url: str, clients: int, chance: random.Random, count: Callable[[Outcome], None]) -> AsyncIterator[None]:
    """Keep so many clients busy for the length of the block: each asks again as soon as it has been answered.

    At the end each may end its last request.
    """
    over = asyncio.Event()

    async def keep_asking() -> None:
        async with client_of(url) as client:
            while not over.is_set():
                count(await ask(client, chance.choice(TOKENS), stream=chance.random() < 0.5))

    async with asyncio.TaskGroup() as owner:
        for _ in range(clients):
            owner.create_task(keep_asking())
        try:
            yield
        finally:
            over.set()
