from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from server_supervisor.plan import UnixEndpoint
from server_supervisor.probe import open_client
from snapshot.warm_up import ANSWER_SECONDS, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_SECONDS = 10


def warm_up_against(server: Callable[[httpx.Request], httpx.Response]) -> None:
    async def main() -> None:
        transport = httpx.MockTransport(server)
        async with httpx.AsyncClient(transport=transport, base_url="http://llama-server", timeout=5.0) as client:
            await warm_up(client)

    asyncio.run(main())


def test_one_token_is_decoded_and_no_cache_keeps_a_trace_of_it() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json={"choices": []})

    warm_up_against(answer)
    (request,) = requests
    assert (request.method, request.url.path) == ("POST", "/v1/chat/completions")
    assert json.loads(request.content) == {
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 1,
        "temperature": 0,
        "cache_prompt": False,
    }


def test_the_first_answer_may_take_longer_than_the_clients_other_answers() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.extensions["timeout"] == dict.fromkeys(("connect", "read", "write", "pool"), ANSWER_SECONDS)
        return httpx.Response(200)

    warm_up_against(answer)


@pytest.mark.parametrize("status", [400, 500, 503])
def test_an_answer_that_is_no_success_fails_it(status: int) -> None:
    with pytest.raises(httpx.HTTPStatusError, match=str(status)):
        warm_up_against(lambda _: httpx.Response(status))


def test_a_connection_that_breaks_fails_it() -> None:
    def break_off(_: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError("Server disconnected")

    with pytest.raises(httpx.RemoteProtocolError):
        warm_up_against(break_off)


def test_it_leaves_no_connection_open() -> None:
    """An open socket in a snapshot cannot be restored; the supervisor's client is the one that is used."""

    async def main(path: Path) -> None:
        hung_up = asyncio.Event()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            await reader.read()  # to the end: the other side has closed
            writer.close()
            hung_up.set()

        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            await asyncio.start_unix_server(connected, path),
            open_client(UnixEndpoint(path)) as client,
        ):
            await warm_up(client)
            await hung_up.wait()  # while the client itself is still open

    with tempfile.TemporaryDirectory(prefix="wg-") as folder:
        asyncio.run(main(Path(folder) / "llama.sock"))
