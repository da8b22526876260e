"""A gateway under test, driven in-process as ASGI or served by a real uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn
from fake_upstream import CHAT
from prometheus_client.parser import text_string_to_metric_families

from gateway.application import Gateway, GatewayConfig
from gateway.auth.keys import KeyRing
from gateway.generation import Limits
from gateway.readiness import Report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, MutableMapping

    from fake_upstream import FakeUpstream
    from starlette.types import ASGIApp

    from gateway.observation.record import Observer

KEY = "sk-test-4d1f0c-secret"
AUTH = {"authorization": f"Bearer {KEY}"}
READY = Report(state="ready", ready=True, generation=1)
LOADING = Report(state="loading", ready=False, retry_after=7)
FAILED = Report(state="failed", ready=False, final=True, retry_after=30)

QUESTION: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
PLAIN: dict[str, Any] = {"messages": QUESTION}
STREAMED: dict[str, Any] = {"messages": QUESTION, "stream": True}


class FakeReadiness:
    """A readiness that tests move.

    Attributes:
        waiting: How many callers wait for it now.
    """

    def __init__(self, report: Report = READY) -> None:
        self._report = report
        self._changed = asyncio.Event()
        self.waiting = 0

    def report(self) -> Report:
        return self._report

    async def wait_ready(self) -> Report:
        self.waiting += 1
        try:
            while not (self._report.ready or self._report.final):
                await self._changed.wait()
        finally:
            self.waiting -= 1
        return self._report

    def move(self, report: Report) -> None:
        self._report = report
        self._changed.set()
        self._changed = asyncio.Event()


def make_gateway(
    upstream: FakeUpstream,
    readiness: FakeReadiness | None = None,
    *,
    ready_seconds: float = 5.0,
    silence_seconds: float = 5.0,
    keys: dict[str, str] | None = None,
    observers: Iterable[Observer] = (),
    **config: Any,
) -> Gateway:
    limits = Limits(ready_seconds=ready_seconds, silence_seconds=silence_seconds)
    settings = GatewayConfig(keys=KeyRing(keys or {"tester": KEY}), limits=limits, **config)
    return Gateway(settings, upstream.target, readiness or FakeReadiness(), observers=observers)


def client_of(app: ASGIApp, headers: dict[str, str] = AUTH) -> httpx.AsyncClient:
    """Return an in-process client. It gets whole answers, streamed ones too."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway", headers=headers)


class Client:
    """One request driven as ASGI, by a client that reads piece by piece, may stop reading and may leave.

    Attributes:
        task: The application's work.
        reading: Cleared while the client does not read: then sending to it blocks.
        blocked: Set when the application has been made to wait by that.
    """

    def __init__(self, app: ASGIApp, body: Any, headers: dict[str, str] = AUTH, *, path: str = CHAT) -> None:
        self._request: list[MutableMapping[str, Any]] = [
            {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}
        ]
        self._sent: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._over = asyncio.Event()
        self.reading = asyncio.Event()
        self.reading.set()
        self.blocked = asyncio.Event()
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": encoded}
        self.task = asyncio.create_task(self._run(app, scope))

    async def _run(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        await app(scope, self._receive, self._send)

    async def _receive(self) -> MutableMapping[str, Any]:
        if self._request:
            return self._request.pop()
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if not self.reading.is_set():
            self.blocked.set()
            await self.reading.wait()
        self._sent.put_nowait(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._over.set()

    async def status(self) -> int:
        """Return the status, as soon as it is there."""
        message = await self._sent.get()
        status: int = message["status"]
        return status

    async def piece(self) -> bytes:
        """Return the next piece of the body."""
        body: bytes = (await self._sent.get())["body"]
        return body

    async def rest(self) -> bytes:
        """Return what is left of the body, and wait for the application's end."""
        await self.task
        return b"".join(self._sent.get_nowait().get("body", b"") for _ in range(self._sent.qsize()))

    async def leave(self) -> None:
        """Close the connection, and wait until the application is done with it."""
        self._over.set()
        await self.task


class _Server(uvicorn.Server):
    """Leaves signals alone, and stops when it is told to instead of looking ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stop = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        await self.stop.wait()


@contextlib.asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[tuple[str, int]]:
    """Serve `app` with uvicorn, configured as the program does it. Yields the address."""
    config = uvicorn.Config(
        app,
        http="httptools",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()
        finally:
            server.stop.set()
            await task


def events_of(body: bytes) -> list[Any]:
    """Read an event stream: every payload's JSON, and the end mark as it is. Comments are skipped."""
    events = (event for event in body.split(b"\n\n")[:-1] if not event.startswith(b":"))
    payloads = [event.removeprefix(b"data: ") for event in events]
    return ["[DONE]" if payload == b"[DONE]" else json.loads(payload) for payload in payloads]


def text_of(body: bytes) -> str:
    """Return the text of a streamed answer."""
    choices = [event["choices"] for event in events_of(body) if "choices" in event]
    return "".join(choice[0]["delta"].get("content") or "" for choice in choices if choice)


def samples(gateway: Gateway) -> dict[str, float]:
    """Return what the gateway exports, by name with labels, such as `warmgate_server_state{state=ready}`."""
    found = {}
    for family in text_string_to_metric_families(gateway._metrics.render()[0].decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def tokens(gateway: Gateway) -> dict[str, float]:
    """Return how many tokens of which kind were counted."""
    return {
        sample.labels["kind"]: sample.value
        for family in text_string_to_metric_families(gateway._metrics.render()[0].decode())
        if family.name == "warmgate_tokens"
        for sample in family.samples
    }


def outcomes(gateway: Gateway) -> dict[str, int]:
    """Return how many requests ended how, as `ROUTE OUTCOME`."""
    found = Counter[str]()
    for family in text_string_to_metric_families(gateway._metrics.render()[0].decode()):
        if family.name == "warmgate_requests":
            for sample in family.samples:
                found[f"{sample.labels['route']} {sample.labels['outcome']}"] += int(sample.value)
    return found


class SocketClient:
    """One request over a real connection, written and read by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, address: tuple[str, int], limit: int = 1 << 16) -> AsyncIterator[SocketClient]:
        """Connect; `limit` is how many bytes are taken from the socket before they are asked for."""
        client = cls(*await asyncio.open_connection(*address, limit=limit))
        try:
            yield client
        finally:
            await client.leave()

    def post(self, body: Any, *, declare: int = 0) -> None:
        """Send a request; `declare` more bytes of body are announced than sent."""
        content = json.dumps(body).encode()
        self.writer.write(
            b"POST %b HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
            % (CHAT.encode(), KEY.encode(), len(content) + declare, content)
        )

    async def head(self) -> bytes:
        """Return status line and headers."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def chunk(self) -> bytes:
        """Return the next chunk of a chunked body."""
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def chunks(self) -> bytes:
        """Return the rest of a chunked body."""
        pieces = []
        while piece := await self.chunk():
            pieces.append(piece)
        return b"".join(pieces)

    async def leave(self) -> None:
        """Close the connection."""
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()
