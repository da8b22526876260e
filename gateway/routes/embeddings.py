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

    from gateway.routes.generation import Engine
    from gateway.upstream.target import Target


class EmbeddingsRoute:
    """Answers requests for embeddings, each in a slot like any other."""

    path = "/v1/embeddings"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def error_body(self, error: GatewayError) -> dict[str, Any]:
        """Render an error."""
        return errors.openai_body(error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, key: str) -> None:
        """Answer one request of the key's owner. The client's leaving cancels it."""
        observation = self._engine.metrics.observe("embeddings")
        outcome = "cancelled"
        try:
            body = openai_embeddings.parse(await asgi.read_body(scope, receive, self._engine.max_body_bytes))
            if await asgi.unless_disconnected(self._answer(body, key, send), receive):
                outcome = "ok"
        except asgi.ClientDisconnected:
            pass
        except GatewayError as error:
            outcome = error.outcome
            await asgi.send_error(send, error)
        finally:
            observation.end(outcome)

    async def _answer(self, body: bytes, key: str, send: Send) -> bool:
        async def ask(target: Target, silence_seconds: float) -> bytes | None:
            return await embed(target, body, silence_seconds=silence_seconds)

        model, answer = await self._engine.generator.ask(ask, key=key)
        if answer is None:
            raise InvalidRequest(
                f"The served model {model.id!r} has no embeddings.", code="embeddings_not_supported", param="model"
            )
        await asgi.send_json(send, 200, answer)
        return True
