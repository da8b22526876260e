"""`POST /v1/embeddings`, if the served model has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway import errors
from gateway.dialects import openai_embeddings
from gateway.errors import GatewayError, InvalidRequest
from gateway.routes import asgi
from gateway.upstream.embeddings import embed

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from gateway.observation.record import RequestRecord
    from gateway.routes.generation import Engine
    from gateway.upstream.target import Target


class EmbeddingsRoute:
    """Answers requests for embeddings, each in a slot like any other."""

    path = "/v1/embeddings"
    api = "openai"
    name = "embeddings"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def error_body(self, error: GatewayError) -> dict[str, Any]:
        """Render an error."""
        return errors.openai_body(error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, record: RequestRecord) -> None:
        """Answer one request. The client's leaving cancels it."""
        try:
            body = openai_embeddings.parse(await asgi.read_body(scope, receive, self._engine.max_body_bytes))
            await asgi.unless_disconnected(self._answer(body, record, send), receive)
        except asgi.ClientDisconnected:
            pass  # the record says so until it says something else
        except GatewayError as error:
            record.fail(error)
            await asgi.send_error(send, error, headers=record.headers)

    async def _answer(self, body: bytes, record: RequestRecord, send: Send) -> None:
        async def ask(target: Target, silence_seconds: float) -> bytes | None:
            return await embed(target, body, silence_seconds=silence_seconds, traceparent=record.passed_on)

        model, answer = await self._engine.generator.ask(ask, record)
        if answer is None:
            raise InvalidRequest(
                f"The served model {model.id!r} has no embeddings.", code="embeddings_not_supported", param="model"
            )
        await asgi.send_json(send, 200, answer, record.headers)
        record.succeed()
