"""The data path: one request in any dialect, answered as a stream or in one piece.

Raw ASGI, in front of FastAPI's router: at a hundred streams the framework costs more than everything we do.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import TYPE_CHECKING, Protocol

from gateway.answer import Restarted
from gateway.dialects.base import AnswerHead
from gateway.dialects.complete import CompleteAnswer
from gateway.errors import GatewayError, InternalError
from gateway.routes import asgi

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Message, Receive, Scope, Send

    from gateway.dialects.base import Dialect, ParsedRequest, StreamRenderer
    from gateway.events import Event
    from gateway.generation import Generator
    from gateway.metrics import Metrics, Observation
    from gateway.upstream.catalog import ModelInfo

logger = logging.getLogger("warmgate.gateway")

CLIENT_STALL_SECONDS = 60.0
"""So long a client may take nothing of its stream, before it is taken for one that has left."""

STREAM_HEADERS = [
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # asks nginx and its kin not to hold the stream back
]


class GenerationRoute:
    """Answers one dialect's requests.

    Attributes:
        dialect: That one.
    """

    def __init__(self, dialect: Dialect, generator: Generator, metrics: Metrics, max_body_bytes: int) -> None:
        self.dialect = dialect
        self._generator = generator
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send, key: str) -> None:
        """Answer one request of the key's owner. The client's leaving cancels whatever is being done for it."""
        observation = self._metrics.observe(self.dialect.route)
        outcome = "cancelled"
        try:
            body = await asgi.read_body(scope, receive, self._max_body_bytes)
            exchange = _Exchange(self.dialect, self._generator, observation, send, key)
            outcome = await _unless_disconnected(exchange, body, receive) or outcome
        except asgi.ClientDisconnected:
            pass
        except GatewayError as error:
            outcome = error.outcome
            await asgi.send_error(send, error, self.dialect.error_body(error))
        finally:
            observation.end(outcome)


async def _unless_disconnected(exchange: _Exchange, body: bytes, receive: Receive) -> str | None:
    """Race the answer against the client's patience. Returns the answer's outcome, or None if the client left."""
    work = asyncio.create_task(exchange.answer(body))
    left = asyncio.create_task(asgi.wait_for_disconnect(receive))
    try:
        await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        left.cancel()
        work.cancel()
        await asyncio.wait({work})


class _Exchange:
    """One request and its answer."""

    def __init__(self, dialect: Dialect, generator: Generator, observation: Observation, send: Send, key: str) -> None:
        self._dialect = dialect
        self._generator = generator
        self._observation = observation
        self._send = send
        self._key = key

    async def answer(self, body: bytes) -> str:
        """Answer, or say in the dialect why not. Returns the outcome, for the metrics."""
        writer: _Writer | None = None
        try:
            parsed = self._dialect.parse(body)
            writer = _StreamWriter(parsed, self._send) if parsed.stream else _BodyWriter(parsed, self._send)
            await self._generate(parsed, writer)
            await writer.end()  # the slot is free already
        except asgi.ClientDisconnected:
            raise
        except GatewayError as error:
            return await self._fail(writer, error)
        except Exception:
            logger.exception("a bug in the data path")
            return await self._fail(writer, InternalError("Something went wrong in the gateway; its log says what."))
        return "ok"

    async def _generate(self, parsed: ParsedRequest, writer: _Writer) -> None:
        if parsed.choices == 1:
            await self._generate_choice(0, parsed, writer)
            return
        works = [asyncio.create_task(self._generate_choice(choice, parsed, writer)) for choice in range(parsed.choices)]
        try:
            await asyncio.gather(*works)
        finally:
            for work in works:
                work.cancel()
            await asyncio.wait(works)

    async def _generate_choice(self, choice: int, parsed: ParsedRequest, writer: _Writer) -> None:
        request = parsed.generation.for_choice(choice)
        async with self._generator.answer(request, key=self._key, restartable=not parsed.stream) as (model, answer):
            async for batch in answer.batches():
                if isinstance(batch, Restarted):
                    writer.restart(choice)
                else:
                    self._observation.add(batch)
                    await writer.write(choice, model, batch)

    async def _fail(self, writer: _Writer | None, error: GatewayError) -> str:
        if writer is None or not await writer.fail(error):
            await asgi.send_error(self._send, error, self._dialect.error_body(error))
        return error.outcome


class _Writer(Protocol):
    """Writes an answer to the client."""

    async def write(self, choice: int, model: ModelInfo, batch: Sequence[Event]) -> None:
        """Take a batch of one choice's events."""

    def restart(self, choice: int) -> None:
        """Forget what came of a choice."""

    async def end(self) -> None:
        """Send what is left to send."""

    async def fail(self, error: GatewayError) -> bool:
        """Tell the client of a failure, if something has been sent already. Returns whether it had."""


class _StreamWriter:
    """Writes a stream."""

    def __init__(self, parsed: ParsedRequest, send: Send) -> None:
        self._parsed = parsed
        self._send = send
        self._renderer: StreamRenderer | None = None

    async def write(self, choice: int, model: ModelInfo, batch: Sequence[Event]) -> None:
        if self._renderer is None:
            # Not before there is something to say: until then a failure can still have its own status.
            self._renderer = self._parsed.stream_renderer(_head(model))
            await asgi.start(self._send_soon, 200, asgi.EVENT_STREAM, STREAM_HEADERS)
        if piece := self._renderer.render(batch, choice):
            await self._send_soon({"type": "http.response.body", "body": piece, "more_body": True})

    def restart(self, choice: int) -> None:
        raise AssertionError(f"choice {choice} of a stream cannot begin anew")

    async def end(self) -> None:
        assert self._renderer is not None  # noqa: S101 -- every answer has at least its ending
        await asgi.finish(self._send_soon, self._renderer.end())

    async def fail(self, error: GatewayError) -> bool:
        if self._renderer is None:
            return False
        await asgi.finish(self._send, self._renderer.error(error))
        return True

    async def _send_soon(self, message: Message) -> None:
        """Send a part of the stream.

        Raises:
            ClientDisconnected: The client has not taken what was sent before, and keeps a slot from others.
        """
        patience = asyncio.timeout(CLIENT_STALL_SECONDS)
        try:
            async with patience:
                await self._send(message)
        except TimeoutError:
            if patience.expired():
                raise asgi.ClientDisconnected from None
            raise


class _BodyWriter:
    """Collects the answer and writes it in one piece."""

    def __init__(self, parsed: ParsedRequest, send: Send) -> None:
        self._parsed = parsed
        self._send = send
        self._answers = [CompleteAnswer() for _ in range(parsed.choices)]
        self._model: ModelInfo | None = None

    async def write(self, choice: int, model: ModelInfo, batch: Sequence[Event]) -> None:
        self._model = model
        self._answers[choice].add(batch)

    def restart(self, choice: int) -> None:
        self._answers[choice] = CompleteAnswer()

    async def end(self) -> None:
        assert self._model is not None  # noqa: S101 -- every answer has at least its ending
        await asgi.send_json(self._send, 200, self._parsed.body(_head(self._model), self._answers))

    async def fail(self, error: GatewayError) -> bool:
        del error
        return False


def _head(model: ModelInfo) -> AnswerHead:
    return AnswerHead(secrets.token_hex(12), int(time.time()), model.id, model.fingerprint)
