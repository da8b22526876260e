"""How many tokens a prompt is, asked of the server that would read it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from gateway.errors import UpstreamFailed
from gateway.upstream import connection, wire

if TYPE_CHECKING:
    from gateway.request import GenerationRequest
    from gateway.upstream.target import Target

OK = 200
PATH = b"/v1/chat/completions/input_tokens"
ANSWER_SECONDS = 30.0
"""A question of milliseconds, answered beside the decoding; images take longer."""


class _Count(msgspec.Struct):
    input_tokens: int


_decode = msgspec.json.Decoder(_Count).decode


async def count_tokens(target: Target, request: GenerationRequest) -> int:
    """Return the length of a request's prompt in tokens, as the chat template renders it: tools and marks included.

    It needs no slot, and is answered while all of them are busy.

    Args:
        target: Where the server listens.
        request: Its images, if any, must be `data:` URLs by now.

    Raises:
        UpstreamUnreachable: No answer came: asking again is safe.
        GatewayError: The server refused the request, or failed.
    """
    exchange = await connection.post(target, PATH, wire.encode_request(request), silence_seconds=ANSWER_SECONDS)
    with contextlib.closing(exchange):
        await exchange.started()
        answer = await exchange.read()
    if exchange.status != OK:
        raise wire.decode_error(exchange.status, answer)
    try:
        return _decode(answer).input_tokens
    except wire.UNREADABLE as error:
        raise UpstreamFailed(f"llama-server's token count cannot be read: {error}") from error
