"""The data path: one request in any dialect, answered as a stream or in one piece.

Raw ASGI, in front of FastAPI's router: at a hundred streams the framework costs more than everything we do.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.answers.answer import Restarted
from gateway.errors import GatewayError, InternalError
from gateway.routes import asgi
from gateway.routes.tool_call_header import answered, asked_mode
from gateway.routes.writers import BodyWriter, StreamWriter
from gateway.toolcalls.guard import CallReport

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from gateway.answers.answer import Answer
    from gateway.dialects.base import Dialect, ParsedRequest
    from gateway.generation import Generator
    from gateway.images.resolving import Images
    from gateway.metrics import Metrics, Observation
    from gateway.routes.cold_start_header import ColdStart
    from gateway.routes.writers import Writer
    from gateway.toolcalls.policy import CallHandling, ToolCallPolicy
    from gateway.upstream.catalog import ModelInfo

logger = logging.getLogger("warmgate.gateway")


@dataclass(frozen=True, slots=True)
class Engine:
    """What all dialects share.

    Attributes:
        generator: Makes the answers.
        images: Fetches and checks requests' images.
        metrics: Counts.
        max_body_bytes: The largest request body that is read.
        keep_alive_seconds: How long a stream may be silent; 0 for any time.
        cold_start: Told of with the first answer after it.
        tool_calls: What is done about calls that their own schema rejects.
    """

    generator: Generator
    images: Images
    metrics: Metrics
    max_body_bytes: int
    keep_alive_seconds: float
    cold_start: ColdStart
    tool_calls: ToolCallPolicy


class GenerationRoute:
    """Answers one dialect's requests.

    Attributes:
        dialect: That one.
    """

    def __init__(self, dialect: Dialect, engine: Engine) -> None:
        self.dialect = dialect
        self._engine = engine

    def error_body(self, error: GatewayError) -> dict[str, Any]:
        """Render an error in the dialect."""
        return self.dialect.error_body(error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, key: str) -> None:
        """Answer one request of the key's owner. The client's leaving cancels whatever is being done for it."""
        observation = self._engine.metrics.observe(self.dialect.route)
        outcome = "cancelled"
        try:
            body = await asgi.read_body(scope, receive, self._engine.max_body_bytes)
            handling = self._engine.tool_calls.of(key, asked_mode(scope["headers"]))
            exchange = _Exchange(self.dialect, self._engine, observation, send, key, handling)
            outcome = await asgi.unless_disconnected(exchange.answer(body), receive) or outcome
        except asgi.ClientDisconnected:
            pass
        except GatewayError as error:
            outcome = error.outcome
            await asgi.send_error(send, error, self.dialect.error_body(error))
        finally:
            observation.end(outcome)


class _Exchange:
    """One request and its answer."""

    def __init__(
        self,
        dialect: Dialect,
        engine: Engine,
        observation: Observation,
        send: Send,
        key: str,
        handling: CallHandling,
    ) -> None:
        self._dialect = dialect
        self._engine = engine
        self._observation = observation
        self._send = send
        self._key = key
        self._handling = handling
        self._calls = CallReport()

    async def answer(self, body: bytes) -> str:
        """Answer, or say in the dialect why not. Returns the outcome, for the metrics."""
        writer: Writer | None = None
        try:
            parsed = self._dialect.parse(body)
            writer = self._writer(parsed)
            async with writer.attended():
                await self._engine.images.resolve(parsed.generation.images)
                await self._engine.generator.check(parsed.generation)
                await self._generate(parsed, writer)
            await writer.end(self._calls.summary())  # the slot is free already
        except asgi.ClientDisconnected:
            raise
        except GatewayError as error:
            return await self._fail(writer, error)
        except Exception:
            logger.exception("a bug in the data path")
            return await self._fail(writer, InternalError("Something went wrong in the gateway; its log says what."))
        return "ok"

    def _writer(self, parsed: ParsedRequest) -> Writer:
        if parsed.stream:
            return StreamWriter(
                self._dialect, parsed, self._send, self._engine.cold_start, self._engine.keep_alive_seconds
            )
        return BodyWriter(parsed, self._send, self._engine.cold_start)

    async def _generate(self, parsed: ParsedRequest, writer: Writer) -> None:
        if parsed.choices == 1:
            await self._generate_choice(0, parsed, writer)
            return
        # Not more at once than there are slots: a choice that waits for its siblings would run out of patience.
        side_by_side = asyncio.Semaphore(self._engine.generator.slots)

        async def generate(choice: int) -> None:
            async with side_by_side:
                await self._generate_choice(choice, parsed, writer)

        works = [asyncio.create_task(generate(choice)) for choice in range(parsed.choices)]
        try:
            await asyncio.gather(*works)
        finally:
            for work in works:
                work.cancel()
            await asyncio.wait(works)

    async def _generate_choice(self, choice: int, parsed: ParsedRequest, writer: Writer) -> None:
        request = replace(parsed.generation.for_choice(choice), call_handling=self._handling)
        async with self._engine.generator.answer(
            request, key=self._key, restartable=not parsed.stream, again=choice > 0
        ) as (model, answer):
            try:
                await self._deliver(choice, model, answer, writer)
            finally:
                self._observation.count_calls(answer.report)
                self._calls.add(answer.report)

    async def _deliver(self, choice: int, model: ModelInfo, answer: Answer, writer: Writer) -> None:
        async for batch in answer.batches():
            if isinstance(batch, Restarted):
                writer.restart(choice)
            else:
                self._observation.add(batch)
                await writer.write(choice, model, batch)

    async def _fail(self, writer: Writer | None, error: GatewayError) -> str:
        calls = self._calls.summary()
        if writer is None or not await writer.fail(error, calls):
            await asgi.send_error(self._send, error, self._dialect.error_body(error), answered(calls))
        return error.outcome
