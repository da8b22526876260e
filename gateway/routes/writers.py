"""How an answer gets to the client: as a stream that is never silent for long, or in one piece."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from typing import TYPE_CHECKING, Protocol, Self

from gateway.dialects.base import AnswerHead
from gateway.dialects.complete import CompleteAnswer
from gateway.routes import asgi
from gateway.routes.tool_call_header import answered, commented

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from starlette.types import Send

    from gateway.dialects.base import Dialect, ParsedRequest, StreamRenderer
    from gateway.errors import GatewayError
    from gateway.events import Event
    from gateway.routes.asgi import Header
    from gateway.routes.cold_start_header import ColdStart
    from gateway.upstream.catalog import ModelInfo

CLIENT_STALL_SECONDS = 60.0
"""So long a client may take nothing of its stream, before it is taken for one that has left."""

STREAM_HEADERS = [
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # asks nginx and its kin not to hold the stream back
]


class Writer(Protocol):
    """Writes an answer to the client."""

    async def __aenter__(self) -> Self:
        """Look after the client while the answer is made inside the context."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it.

        Raises:
            ClientDisconnected: It does not take what it is sent.
        """

    async def write(self, choice: int, model: ModelInfo, batch: Sequence[Event]) -> None:
        """Take a batch of one choice's events."""

    def restart(self, choice: int) -> None:
        """Forget what came of a choice."""

    async def end(self, calls: str) -> None:
        """Send what is left to send. `calls` says what became of the tool calls; nothing if there were none."""

    async def fail(self, error: GatewayError, calls: str) -> bool:
        """Tell the client of a failure, if something has been sent already. Returns whether it had."""


class StreamWriter:
    """Writes a stream, and keep-alives where it would be silent.

    Status and headers wait until there is something to say, so that a failure before that has its own status; but not
    longer than the first keep-alive.
    """

    def __init__(
        self,
        dialect: Dialect,
        parsed: ParsedRequest,
        send: Send,
        headers: Sequence[Header],
        cold_start: ColdStart,
        keep_alive_seconds: float,
    ) -> None:
        """Begin a stream.

        Args:
            dialect: The words of a stream that has no answer yet.
            parsed: What is answered.
            send: Where to.
            headers: Those of the answer to this request.
            cold_start: May have something to tell of.
            keep_alive_seconds: How long nothing may be sent; 0 for any time.
        """
        self._dialect = dialect
        self._parsed = parsed
        self._send = send
        self._headers = headers
        self._cold_start = cold_start
        self._keep_alive_seconds = keep_alive_seconds or math.inf
        self._renderer: StreamRenderer | None = None
        self._started = False
        self._sending = asyncio.Lock()  # whole pieces, one after the other
        self._patience = asyncio.timeout(None)
        self._keeping: asyncio.Task[None] | None = None  # the last keep-alive
        self._timer: asyncio.TimerHandle | None = None  # to the next look at the clock
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._since = self._now()  # when the last piece was begun

    async def __aenter__(self) -> Self:
        """Send keep-alives, and give a client up that takes nothing, until the context ends."""
        await self._patience.__aenter__()
        self._look()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it.

        Raises:
            ClientDisconnected: It took nothing.
        """
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
        if self._timer is not None:
            self._timer.cancel()
        try:
            await self._patience.__aexit__(kind, error, trace)
        except TimeoutError:
            raise asgi.ClientDisconnected from None

    async def write(self, choice: int, model: ModelInfo, batch: Sequence[Event]) -> None:
        """Take a batch of one choice's events."""
        async with self._sending:
            if self._renderer is None:
                self._renderer = self._parsed.stream_renderer(_head(model))
                if self._started and (comment := self._cold_start.comment()):
                    await self._put(comment)
            if piece := self._renderer.render(batch, choice):
                await self._put(piece)

    def restart(self, choice: int) -> None:
        """Refuse: what was sent cannot be taken back."""
        raise AssertionError(f"choice {choice} of a stream cannot begin anew")

    async def end(self, calls: str) -> None:
        """Send the end of a complete answer."""
        assert self._renderer is not None  # noqa: S101 -- every answer has at least its ending
        await self._put_last(commented(calls) + self._renderer.end())

    async def fail(self, error: GatewayError, calls: str) -> bool:
        """Tell the client of a failure, if something has been sent already. Returns whether it had."""
        if not self._started:
            return False
        written = self._dialect.stream_error(error) if self._renderer is None else self._renderer.error(error)
        await self._put_last(commented(calls) + written)
        return True

    def _look(self) -> None:
        """Look at the clock now and then: one timer for a stream, instead of one for each of its pieces."""
        stalled = self._sending.locked()
        limit = CLIENT_STALL_SECONDS if stalled else self._keep_alive_seconds
        left = self._since + limit - self._now()
        if left > 0:
            self._look_in(min(left, CLIENT_STALL_SECONDS))
        elif stalled:
            self._patience.reschedule(0)
        else:
            self._keeping = asyncio.create_task(self._keep_alive())

    def _look_in(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._look)

    async def _keep_alive(self) -> None:
        try:
            async with asyncio.timeout(CLIENT_STALL_SECONDS), self._sending:
                await self._put(self._dialect.keep_alive)
        except TimeoutError:
            self._patience.reschedule(0)
        else:
            self._look_in(self._keep_alive_seconds)

    async def _put(self, piece: bytes) -> None:
        self._since = self._now()
        await self._start()
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _put_last(self, piece: bytes) -> None:
        """Send the last piece. Nobody watches any more, but the slot is free already.

        Raises:
            ClientDisconnected: The client does not take it.
        """
        patience = asyncio.timeout(CLIENT_STALL_SECONDS)
        try:
            async with patience:
                await self._start()
                await asgi.finish(self._send, piece)
        except TimeoutError:
            if patience.expired():
                raise asgi.ClientDisconnected from None
            raise

    async def _start(self) -> None:
        if not self._started:
            self._started = True
            headers = [*STREAM_HEADERS, *self._headers, *self._cold_start.header()]
            await asgi.start(self._send, 200, asgi.EVENT_STREAM, headers)


class BodyWriter:
    """Collects the answer and writes it in one piece."""

    def __init__(self, parsed: ParsedRequest, send: Send, headers: Sequence[Header], cold_start: ColdStart) -> None:
        self._parsed = parsed
        self._send = send
        self._headers = headers
        self._cold_start = cold_start
        self._answers = [CompleteAnswer() for _ in range(parsed.choices)]
        self._model: ModelInfo | None = None

    async def __aenter__(self) -> Self:
        """Do nothing: the client gets nothing before the end."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""

    async def write(self, choice: int, model: ModelInfo, batch: Sequence[Event]) -> None:
        """Take a batch of one choice's events."""
        self._model = model
        self._answers[choice].add(batch)

    def restart(self, choice: int) -> None:
        """Forget what came of a choice."""
        self._answers[choice] = CompleteAnswer()

    async def end(self, calls: str) -> None:
        """Send the answer."""
        assert self._model is not None  # noqa: S101 -- every answer has at least its ending
        body = self._parsed.body(_head(self._model), self._answers)
        await asgi.send_json(self._send, 200, body, [*self._headers, *answered(calls), *self._cold_start.header()])

    async def fail(self, error: GatewayError, calls: str) -> bool:
        """Return False: nothing has been sent."""
        del error, calls
        return False


def _head(model: ModelInfo) -> AnswerHead:
    return AnswerHead(secrets.token_hex(12), int(time.time()), model.id, model.fingerprint)
