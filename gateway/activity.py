"""Whether requests are under way upstream, and when one of them last moved: what a supervisor wants to know."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from gateway.observation.throughput import Throughput

if TYPE_CHECKING:
    from collections.abc import Iterator


class Activity:
    """Counts requests and remembers the last sign of progress.

    Attributes:
        in_flight: How many requests hold a slot, or use the server otherwise. A request counts before it asks whether
            the server is ready: a server that is ready and has none in flight may be parked.
        idle_since: When the last of them ended, by `time.monotonic`.
        last_progress: When a piece of an answer last came, by `time.monotonic`. Keep-alive comments do not count: a
            server that hangs still sends them. Nor does a request that was sent: a client that gives up and asks
            again would hide a hanging server for ever.
        throughput: How many tokens have come lately.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self.last_progress = self.idle_since = time.monotonic()
        self.throughput = Throughput()
        self._busy = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def progress(self, tokens: int) -> None:
        """Note a sign of progress: so many tokens have come."""
        self.last_progress = time.monotonic()
        self.throughput.add(tokens)

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Count a request while the context lasts."""
        self.in_flight += 1
        self._busy.set()
        self._idle.clear()
        try:
            yield
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self.idle_since = time.monotonic()
                self._busy.clear()
                self._idle.set()

    async def wait_busy(self) -> None:
        """Wait until a request is under way."""
        await self._busy.wait()

    async def wait_idle(self) -> None:
        """Wait until none is. Another may have come by the time this returns."""
        await self._idle.wait()
