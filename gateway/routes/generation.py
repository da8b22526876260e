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
from gateway.observation.content import Content
from gateway.observation.pace import Pace
from gateway.routes import asgi
from gateway.routes.tool_call_header import answered, asked_mode
from gateway.routes.writers import BodyWriter, StreamWriter

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from gateway.answers.answer import Answer
    from gateway.dialects.base import Dialect, ParsedRequest
    from gateway.generation import Generator
    from gateway.images.resolving import Images
    from gateway.metrics.metrics import Metrics
    from gateway.observation.record import RequestRecord
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
        keeps_content: Whether what is said is kept for the log.
    """

    generator: Generator
    images: Images
    metrics: Metrics
    max_body_bytes: int
    keep_alive_seconds: float
    cold_start: ColdStart
    tool_calls: ToolCallPolicy
    keeps_content: bool = False


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

    @property
    def api(self) -> str:
        """Whose API it is."""
        return self.dialect.api

    @property
    def name(self) -> str:
        """What it is called in metrics."""
        return self.dialect.route

    async def __call__(self, scope: Scope, receive: Receive, send: Send, record: RequestRecord) -> None:
        """Answer one request. The client's leaving cancels whatever is being done for it."""
        try:
            body = await asgi.read_body(scope, receive, self._engine.max_body_bytes)
            handling = self._engine.tool_calls.of(record.key, asked_mode(scope["headers"]))
            exchange = _Exchange(self.dialect, self._engine, record, send, handling)
            await asgi.unless_disconnected(exchange.answer(body), receive)
        except asgi.ClientDisconnected:
            pass  # the record says so until it says something else
        except GatewayError as error:
            record.fail(error)
            await asgi.send_error(send, error, self.dialect.error_body(error), record.headers)


class _Exchange:
    """One request and its answer."""

    def __init__(
        self,
        dialect: Dialect,
        engine: Engine,
        record: RequestRecord,
        send: Send,
        handling: CallHandling,
    ) -> None:
        self._dialect = dialect
        self._engine = engine
        self._record = record
        self._send = send
        self._handling = handling

    async def answer(self, body: bytes) -> None:
        """Answer, or say in the dialect why not."""
        writer: Writer | None = None
        try:
            parsed = self._dialect.parse(body)
            self._note(parsed)
            writer = self._writer(parsed)
            async with writer:
                self._engine.generator.check(parsed.generation)
                await self._engine.images.resolve(parsed.generation.images)
                await self._engine.generator.check_prompt(parsed.generation)
                await self._generate(parsed, writer)
            await writer.end(self._record.calls.summary())  # the slot is free already
            self._record.succeed()
        except asgi.ClientDisconnected:
            raise
        except GatewayError as error:
            await self._fail(writer, error)
        except Exception:
            logger.exception("a bug in the data path")
            await self._fail(writer, InternalError("Something went wrong in the gateway; its log says what."))

    def _note(self, parsed: ParsedRequest) -> None:
        record, request = self._record, parsed.generation
        record.stream, record.choices, record.images = parsed.stream, parsed.choices, len(request.images)
        record.tools = bool(request.tools)
        record.thinking = request.thinking
        if self._engine.keeps_content:
            record.content = Content(request.messages)

    def _writer(self, parsed: ParsedRequest) -> Writer:
        if parsed.stream:
            return StreamWriter(
                self._dialect,
                parsed,
                self._send,
                self._record.headers,
                self._engine.cold_start,
                self._engine.keep_alive_seconds,
            )
        return BodyWriter(parsed, self._send, self._record.headers, self._engine.cold_start)

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
        request = parsed.generation.for_choice(choice)
        if request.call_handling != self._handling:
            request = replace(request, call_handling=self._handling)
        async with self._engine.generator.answer(
            request, self._record, restartable=not parsed.stream, again=choice > 0
        ) as (model, answer):
            try:
                await self._deliver(choice, model, answer, writer)
            finally:
                self._record.calls.add(answer.report)
                self._record.usage += answer.usage

    async def _deliver(self, choice: int, model: ModelInfo, answer: Answer, writer: Writer) -> None:
        pace = Pace(self._record, self._engine.metrics.inter_token(self._dialect.route, model.id))
        async for batch in answer.batches():
            if isinstance(batch, Restarted):
                writer.restart(choice)
            else:
                pace.add(batch)
                if self._record.content is not None:
                    self._record.content.add(batch)
                await writer.write(choice, model, batch)

    async def _fail(self, writer: Writer | None, error: GatewayError) -> None:
        self._record.fail(error)
        calls = self._record.calls.summary()
        if writer is None or not await writer.fail(error, calls):
            headers = [*self._record.headers, *answered(calls)]
            await asgi.send_error(self._send, error, self._dialect.error_body(error), headers)
