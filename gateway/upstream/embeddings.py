"""llama-server's embeddings."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gateway.errors import GatewayError, InvalidRequest
from gateway.upstream import connection, wire

if TYPE_CHECKING:
    from gateway.upstream.target import Target

PATH = b"/v1/embeddings"
OK = 200
NOT_SUPPORTED = 501
"""What llama-server answers unless it was started with `--embeddings` (b11549)."""

TOO_LONG = "too large to process"
"""Within what it says of a text longer than its physical batch, as of a failure of its own (b11549)."""


async def embed(target: Target, body: bytes, *, silence_seconds: float, traceparent: str | None = None) -> bytes | None:
    """Return the answer's JSON, or None if the served model has no embeddings.

    Args:
        target: Where to ask.
        body: The request in OpenAI's shape.
        silence_seconds: How long nothing may come.
        traceparent: The trace that it belongs to, if any.

    Raises:
        UpstreamUnreachable: Nothing of an answer came: sending it again is safe.
        GatewayError: The server refused it.
    """
    exchange = await connection.post(target, PATH, body, silence_seconds=silence_seconds, traceparent=traceparent)
    with contextlib.closing(exchange):
        await exchange.started()
        answer = await exchange.read()
    if exchange.status == NOT_SUPPORTED:
        return None
    if exchange.status != OK:
        raise _refusal(exchange.status, answer)
    return answer


def _refusal(status: int, answer: bytes) -> GatewayError:
    error = wire.decode_error(status, answer)
    if error.code == "context_length_exceeded" or TOO_LONG in error.message:
        return InvalidRequest(error.message, code="context_length_exceeded", param="input")
    return error
