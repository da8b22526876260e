from __future__ import annotations

import asyncio
import base64
import json
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gateway.images.formats import read_picture
from server_supervisor.plan import TcpEndpoint, UnixEndpoint
from server_supervisor.probe import open_client
from snapshot.question import Unanswered
from snapshot.warm_up import ANSWER_SECONDS, IMAGE_PIXELS, warm_up, warm_up_fully

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


# -- all that a model can be asked for, before a snapshot


class _Recorder(BaseHTTPRequestHandler):
    """Answers chat completions, but for those that hold a refused word, and notes what was asked."""

    def do_POST(self) -> None:
        self.close_connection = True
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert (self.path, self.headers["connection"]) == ("/v1/chat/completions", "close")
        assert isinstance(self.server, _Recording)
        self.server.requests.append(request)
        refused = any(word in json.dumps(request) for word in self.server.refused)
        self.send_response(400 if refused else 200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class _Recording(ThreadingHTTPServer):
    def __init__(self, *refused: str) -> None:
        super().__init__(("127.0.0.1", 0), _Recorder)
        self.requests: list[dict[str, Any]] = []
        self.refused = refused


def fully_warmed(*refused: str, images: bool = False) -> list[dict[str, Any]]:
    """Return what a server is asked that refuses requests with these words."""
    with _Recording(*refused) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            warm_up_fully(TcpEndpoint("127.0.0.1", server.server_port), slots=2, images=images)
        finally:
            server.shutdown()
        return server.requests


def test_before_a_snapshot_every_slot_and_every_ability_is_used_and_leaves_no_trace() -> None:
    one, *side_by_side, prompt, tools, schema, thinking, image = fully_warmed(images=True)
    assert one["max_tokens"] == 1
    assert [request["max_tokens"] for request in side_by_side] == [4, 4]
    assert len(prompt["messages"][0]["content"].split()) > 512
    assert tools["tools"][0]["function"]["name"]
    assert schema["response_format"]["type"] == "json_schema"
    assert thinking["chat_template_kwargs"] == {"enable_thinking": True}
    picture, words = image["messages"][0]["content"]
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")
    assert words == {"type": "text", "text": "Hi"}
    everything = [one, *side_by_side, prompt, tools, schema, thinking, image]
    assert {(request["cache_prompt"], request["temperature"]) for request in everything} == {(False, 0)}


def test_the_picture_is_one() -> None:
    url = fully_warmed(images=True)[-1]["messages"][0]["content"][0]["image_url"]["url"]
    picture = read_picture(base64.b64decode(url.partition(",")[2]), max_pixels=IMAGE_PIXELS**2)
    assert (picture.width, picture.height) == (IMAGE_PIXELS, IMAGE_PIXELS)


def test_there_is_no_image_without_a_projector() -> None:
    assert "image_url" not in json.dumps(fully_warmed())


def test_what_a_model_cannot_do_is_logged_and_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    assert len(fully_warmed("get_weather", "json_schema")) == 7
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "the model cannot be warmed up with tools",
        "the model cannot be warmed up with a schema",
    ]


def test_a_text_that_is_refused_is_a_failure() -> None:
    with pytest.raises(Unanswered, match="answers 400"):
        fully_warmed("Hi")


def test_a_server_that_is_not_there_is_a_failure_and_leaves_no_socket() -> None:
    with tempfile.TemporaryDirectory(prefix="wg-") as folder, pytest.raises(Unanswered, match="does not answer"):
        warm_up_fully(UnixEndpoint(Path(folder) / "llama.sock"), slots=1, images=False)
