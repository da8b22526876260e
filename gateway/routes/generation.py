"""The data path: one request in any dialect, answered as a stream or in one piece.

Raw ASGI, in front of FastAPI's router: at a hundred streams the framework costs more than everything we do.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import TYPE_CHECKING

from gateway.dialects.base import AnswerHead
from gateway.errors import GatewayError, InternalError
from gateway.routes import asgi

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from gateway.dialects.base import Dialect, ParsedRequest, StreamRenderer
    from gateway.generation import Generator
    from gateway.metrics import Metrics, Observation
    from gateway.upstream.catalog import ModelInfo
    from gateway.upstream.chat import ChatStream

logger = logging.getLogger("warmgate.gateway")

CLIENT_STALL_SECONDS = 60.0
"""So long a client may take nothing of its stream, before it is taken for one that has left."""

STREAM_HEADERS = [
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # asks nginx and its kin not to hold the stream back
]


class GenerationRoute:
    """Answers one dialect's requests."""

    def __init__(self, dialect: Dialect, generator: Generator, metrics: Metrics, max_body_bytes: int) -> None:
        self._dialect = dialect
        self._generator = generator
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. The client's leaving cancels whatever is being done for it."""
        observation = self._metrics.observe(self._dialect.route)
        outcome = "cancelled"
        try:
            body = await asgi.read_body(scope, receive, self._max_body_bytes)
            exchange = _Exchange(self._dialect, self._generator, observation, send)
            outcome = await _unless_disconnected(exchange, body, receive) or outcome
        except asgi.ClientDisconnected:
            pass
        except GatewayError as error:
            outcome = error.outcome
            await asgi.send_error(send, error, self._dialect.error_body(error))
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

    def __init__(self, dialect: Dialect, generator: Generator, observation: Observation, send: Send) -> None:
        self._dialect = dialect
        self._generator = generator
        self._observation = observation
        self._send = send
        self._renderer: StreamRenderer | None = None  # set once the stream's headers are out

    async def answer(self, body: bytes) -> str:
        """Answer, or say in the dialect why not. Returns the outcome, for the metrics."""
        try:
            parsed = self._dialect.parse(body)
            async with self._generator.answer(parsed.generation) as (model, stream):
                if parsed.stream:
                    await self._stream(parsed, model, stream)
                    return "ok"
                answer = await self._collect(parsed, model, stream)
            await asgi.send_json(self._send, 200, answer)  # the slot is free already
        except asgi.ClientDisconnected:
            raise
        except GatewayError as error:
            return await self._fail(error)
        except Exception:
            logger.exception("a bug in the data path")
            return await self._fail(InternalError("Something went wrong in the gateway; its log says what."))
        return "ok"

    async def _stream(self, parsed: ParsedRequest, model: ModelInfo, stream: ChatStream) -> None:
        renderer = parsed.stream_renderer(_head(model))
        async for batch in stream.batches():
            self._observation.add(batch)
            if self._renderer is None:
                # Not before there is something to say: until then a failure can still have its own status.
                self._renderer = renderer
                await asgi.start(self._send_soon, 200, asgi.EVENT_STREAM, STREAM_HEADERS)
            await self._send_soon({"type": "http.response.body", "body": renderer.render(batch), "more_body": True})
        await asgi.finish(self._send_soon, renderer.end())

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

    async def _collect(self, parsed: ParsedRequest, model: ModelInfo, stream: ChatStream) -> bytes:
        renderer = parsed.body_renderer(_head(model))
        async for batch in stream.batches():
            self._observation.add(batch)
            renderer.add(batch)
        return renderer.body()

    async def _fail(self, error: GatewayError) -> str:
        if self._renderer is not None:
            await asgi.finish(self._send, self._renderer.error(error))
        else:
            await asgi.send_error(self._send, error, self._dialect.error_body(error))
        return error.outcome


def _head(model: ModelInfo) -> AnswerHead:
    return AnswerHead(secrets.token_hex(12), int(time.time()), model.id, model.fingerprint)
