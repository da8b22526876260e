"""Gateway and supervisor as one ASGI application, for a server that brings its own event loop and signals."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from gateway.application import Gateway
    from server_supervisor.supervisor import Supervisor


class Supervised:
    """The gateway, whose lifespan is the supervisor's too: https://asgi.readthedocs.io/en/latest/specs/lifespan.html."""

    def __init__(self, gateway: Gateway, supervisor: Supervisor, drain_seconds: float) -> None:
        self._gateway = gateway
        self._supervisor = supervisor
        self._drain_seconds = drain_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or live."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self._gateway(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        supervising = asyncio.create_task(self._supervisor.run(self._gateway.activity))

        async def end_before_shutdown() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self._supervisor.begin_drain()
                await self._gateway.drain(self._drain_seconds)
                self._supervisor.stop()
                await supervising
            return message

        try:
            await self._gateway(scope, end_before_shutdown, send)
        finally:
            supervising.cancel()
            await asyncio.wait({supervising})
