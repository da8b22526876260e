"""A small server that speaks llama-server's wire format, and commits faults when it is told to.

Its happy path proves nothing: what the real server does is asked of the real server, in tests/serve. It is here for
framing, for faults and for being told when to go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import uvloop

from gateway.upstream.target import Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

P = ParamSpec("P")

LIMIT_SECONDS = 60.0  # after which a scenario hangs; none takes a second on a machine that has time
RECORDED = Path(__file__).with_name("recorded")
CHAT = "/v1/chat/completions"


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario on the event loop that the program runs on, and give it up when it hangs."""

    async def limited() -> None:
        async with asyncio.timeout(LIMIT_SECONDS):
            await scenario

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(limited())


def scenario(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Let pytest run an `async def` test."""

    @functools.wraps(test)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return wrapper


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until `condition` holds: for what changes without an event to wait for."""
    while not condition():  # noqa: ASYNC110 -- there is no event, and no time passes: the loop is only let turn
        await asyncio.sleep(0)


# -- the pieces of a streamed answer, as llama-server b11549 writes them

SHARED = {"created": 1795368872, "id": "chatcmpl-sfAZfz", "model": "fake-model", "system_fingerprint": "b0-unknown"}
DONE = b"data: [DONE]\n\n"
COMMENT = b":\n\n"


def sse(payload: Any) -> bytes:
    return b"data: " + json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def chunk(delta: dict[str, Any], *, finish_reason: str | None = None, **extra: Any) -> bytes:
    choice = {"finish_reason": finish_reason, "index": 0, "delta": delta, **extra}
    return sse({"choices": [choice], **SHARED, "object": "chat.completion.chunk"})


def text(content: str) -> bytes:
    return chunk({"content": content})


def thought(content: str) -> bytes:
    return chunk({"reasoning_content": content})


def call_begins(index: int, call_id: str, name: str) -> bytes:
    function = {"name": name, "arguments": ""}
    return chunk({"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]})


def call_goes_on(index: int, arguments: str) -> bytes:
    return chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})


def finish(reason: str = "stop") -> bytes:
    return chunk({}, finish_reason=reason)


def usage(prompt: int = 5, completion: int = 2, cached: int = 3) -> bytes:
    counts = {
        "completion_tokens": completion,
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    timings = {"cache_n": cached, "prompt_n": prompt - cached, "predicted_n": completion}
    return sse({"choices": [], **SHARED, "object": "chat.completion.chunk", "usage": counts, "timings": timings})


def error_event(message: str = "the model fell over", kind: str = "server_error") -> bytes:
    return sse({"error": {"code": 500, "message": message, "type": kind}})


ROLE = chunk({"role": "assistant", "content": None})
ENDING = (finish(), usage(), DONE)
ANSWER = (ROLE, text("Hello"), text(" world"), *ENDING)


EMBEDDINGS = {
    "object": "list",
    "model": "fake-model",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}],
    "usage": {"prompt_tokens": 3, "total_tokens": 3},
}


# -- what the fake does with a request

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\nKeep-Alive: timeout=5, max=100\r\n\r\n"
)


@dataclass(eq=False)
class Call:
    """One request that reached the fake.

    Attributes:
        connection: Which of the fake's connections it came over, counted from 1.
        hung_up: Set when the other side has closed that connection.
    """

    connection: int
    head: bytes
    raw_body: bytes
    writer: asyncio.StreamWriter
    hung_up: asyncio.Event

    @property
    def body(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.raw_body)
        return decoded

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def stream(self, *pieces: bytes | asyncio.Event) -> None:
        """Write each piece as one HTTP chunk, and at each event wait for it."""
        for piece in pieces:
            if isinstance(piece, bytes):
                await self.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            else:
                await self._wait(piece)

    async def _wait(self, event: asyncio.Event) -> None:
        waits = [asyncio.create_task(event.wait()), asyncio.create_task(self.hung_up.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def answer(*pieces: bytes | asyncio.Event) -> Callable[[Call], Awaitable[None]]:
    """Stream `pieces` properly to their end."""

    async def behave(call: Call) -> None:
        await call.send(STREAM_HEAD)
        await call.stream(*pieces)
        await call.send(b"0\r\n\r\n")

    return behave


def break_off(*pieces: bytes | asyncio.Event) -> Callable[[Call], Awaitable[None]]:
    """Begin an answer and close the connection within it."""

    async def behave(call: Call) -> None:
        await call.send(STREAM_HEAD)
        await call.stream(*pieces)

    return behave


def stall(*pieces: bytes | asyncio.Event) -> Callable[[Call], Awaitable[None]]:
    """Begin an answer, then send nothing more and keep the connection."""

    async def behave(call: Call) -> None:
        await break_off(*pieces)(call)
        await call.hung_up.wait()

    return behave


def refuse(status: int, body: Any) -> Callable[[Call], Awaitable[None]]:
    """Answer with a status and a body, JSON unless it is bytes, and leave the closing to the other side."""

    async def behave(call: Call) -> None:
        await call.send(_whole(status, body if isinstance(body, bytes) else json.dumps(body).encode()))
        await call.hung_up.wait()

    return behave


def refuse_with(status: int, kind: str, message: str) -> Callable[[Call], Awaitable[None]]:
    """Answer with an error as llama-server writes it."""
    return refuse(status, {"error": {"code": status, "message": message, "type": kind}})


async def vanish(_: Call) -> None:
    """Close the connection before the first byte."""


async def say_nothing(call: Call) -> None:
    """Keep the connection and never answer."""
    await call.hung_up.wait()


async def babble(call: Call) -> None:
    """Send what is not HTTP."""
    await call.send(b"\x15\x03\x01 this is no HTTP\r\n\r\n")
    await call.hung_up.wait()


def _whole(status: int, body: bytes) -> bytes:
    return (
        b"HTTP/1.1 %d Whatever\r\nServer: llama.cpp\r\nContent-Type: application/json; charset=utf-8\r\n"
        b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(body), body)
    )


METRICS = """\
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed, excluding cached tokens
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 75
# HELP llamacpp:n_tokens_max Largest observed sequence length (prompt + generation)
# TYPE llamacpp:n_tokens_max counter
llamacpp:n_tokens_max 55
# HELP llamacpp:requests_processing Number of requests processing
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 1
"""


def _props(slots: int) -> dict[str, Any]:
    settings = {"n_ctx": 2048, "params": {"seed": 4294967295}}
    modalities = {"vision": True, "audio": False, "video": False}
    return {
        "total_slots": slots,
        "default_generation_settings": settings,
        "build_info": "b11549-fake",
        "modalities": modalities,
    }


MODELS = {"models": [], "object": "list", "data": [{"id": "fake-model", "created": 1795368872, "object": "model"}]}


@dataclass(eq=False)
class FakeUpstream:
    """The server. Chat requests get the planned behaviours in turn, and then the default one.

    Attributes:
        calls: The chat requests so far.
        arrived: The same, for waiting.
        connections: How many connections were accepted, control requests included.
        control: Path to status and body, for everything but chat.
        asked: The paths of the control requests so far.
        asked_with: And their bodies.
    """

    socket_path: Path | None = None
    slots: int = 4
    default: Callable[[Call], Awaitable[None]] = field(default_factory=lambda: answer(*ANSWER))
    plan: deque[Callable[[Call], Awaitable[None]]] = field(default_factory=deque)
    calls: list[Call] = field(default_factory=list)
    arrived: asyncio.Queue[Call] = field(default_factory=asyncio.Queue)
    connections: int = 0
    control: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    asked_with: list[bytes] = field(default_factory=list)
    target: Target = field(default_factory=Target)

    def __post_init__(self) -> None:
        self._handlers: set[asyncio.Task[None]] = set()
        self.control = {
            "/health": (200, {"status": "ok"}),
            "/props": (200, _props(self.slots)),
            "/v1/models": (200, MODELS),
            "/metrics": (200, METRICS.encode()),
            "/v1/embeddings": (200, EMBEDDINGS),
            f"{CHAT}/control": (200, {"success": True}),
            f"{CHAT}/input_tokens": (200, {"input_tokens": 5}),
        } | self.control

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[FakeUpstream]:
        if self.socket_path is not None:
            server = await asyncio.start_unix_server(self._serve, self.socket_path)
            self.target = Target(socket_path=str(self.socket_path))
        else:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.target = Target(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
        try:
            yield self
        finally:
            server.close()
            for handler in self._handlers:
                handler.cancel()
            if self._handlers:
                await asyncio.wait(self._handlers)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._handle(reader, writer, self.connections)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
        finally:
            self._handlers.discard(task)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.split(b" ", 2)
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        body = await reader.readexactly(int(lengths[0].partition(b":")[2])) if lengths else b""
        if (method, path) != (b"POST", CHAT.encode()):
            self.asked_with.append(body)
            await self._control(path.decode(), writer)
            return
        call = Call(connection, head, body, writer, asyncio.Event())
        self.calls.append(call)
        self.arrived.put_nowait(call)
        watcher = asyncio.create_task(self._watch(reader, call.hung_up))
        try:
            await (self.plan.popleft() if self.plan else self.default)(call)
        except OSError:
            call.hung_up.set()  # while it was being written to
        finally:
            watcher.cancel()

    async def _watch(self, reader: asyncio.StreamReader, hung_up: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        hung_up.set()

    async def _control(self, path: str, writer: asyncio.StreamWriter) -> None:
        self.asked.append(path)
        status, body = self.control[path]
        writer.write(_whole(status, body if isinstance(body, bytes) else json.dumps(body).encode()))
        await writer.drain()
