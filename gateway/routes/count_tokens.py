"""`POST /v1/messages/count_tokens`: how long a prompt is, without answering it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.errors import GatewayError, NotReady
from gateway.routes import asgi
from gateway.upstream.tokens import count_tokens

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from gateway.dialects.anthropic_messages import Messages
    from gateway.observation.record import RequestRecord
    from gateway.readiness import Readiness
    from gateway.request import GenerationRequest
    from gateway.routes.generation import Engine
    from gateway.upstream.target import Target


class CountTokensRoute:
    """Has the server count. It needs no slot: counting is done beside the decoding."""

    path = "/v1/messages/count_tokens"
    api = "anthropic"
    name = "count_tokens"

    def __init__(
        self, dialect: Messages, engine: Engine, target: Target, readiness: Readiness, ready_seconds: float
    ) -> None:
        """Take over what it needs.

        Args:
            dialect: In which requests and errors are.
            engine: What all routes share.
            target: The server.
            readiness: And its state.
            ready_seconds: How long a request waits for it.
        """
        self._dialect = dialect
        self._engine = engine
        self._target = target
        self._readiness = readiness
        self._ready_seconds = ready_seconds

    def error_body(self, error: GatewayError) -> dict[str, Any]:
        """Render an error in the dialect."""
        return self._dialect.error_body(error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, record: RequestRecord) -> None:
        """Answer one request. The client's leaving cancels it."""
        try:
            request = self._dialect.parse_count(await asgi.read_body(scope, receive, self._engine.max_body_bytes))
            await asgi.unless_disconnected(self._answer(request, record, send), receive)
        except asgi.ClientDisconnected:
            pass  # the record says so until it says something else
        except GatewayError as error:
            record.fail(error)
            await asgi.send_error(send, error, self.error_body(error), record.headers)

    async def _answer(self, request: GenerationRequest, record: RequestRecord, send: Send) -> None:
        with self._engine.generator.activity.request():
            await self._ready()
            await self._engine.images.resolve(request.images)
            answer = {"input_tokens": await count_tokens(self._target, request)}
        await asgi.send_json(send, 200, answer, record.headers)
        record.succeed()

    async def _ready(self) -> None:
        """Wait for the server.

        Raises:
            NotReady: It took too long, or has failed for good.
        """
        try:
            async with asyncio.timeout(self._ready_seconds):
                report = await self._readiness.wait_ready()
        except TimeoutError:
            report = self._readiness.report()
        if not report.ready:
            raise NotReady(f"The model is not ready ({report.state}).", retry_after=report.retry_after)
