"""What a proxy on uvicorn costs at least: raw ASGI and the gateway's own connection upstream, and nothing is looked at.

A contender of `overhead.py`, run by uvicorn: what warmgate takes beyond it is what warmgate does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gateway.routes import asgi
from gateway.upstream import connection
from gateway.upstream.target import Target

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

SILENCE_SECONDS = 60.0
MOST_BYTES = 1 << 20

target = Target.parse(os.environ["UPSTREAM"])


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    body = await asgi.read_body(scope, receive, MOST_BYTES)
    exchange = await connection.post(target, scope["path"].encode(), body, silence_seconds=SILENCE_SECONDS)
    try:
        await exchange.started()
        await asgi.start(send, exchange.status, exchange.headers[b"content-type"])
        while piece := await exchange.receive():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asgi.finish(send)
    finally:
        exchange.close()
