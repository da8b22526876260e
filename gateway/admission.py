"""Who may be in flight upstream, and who waits.

Not more requests than llama-server has slots are sent to it: a request that it queues itself gets no byte, not even
headers, and is not cancelled when its client leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from gateway.errors import GatewayError, Overloaded, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RETRY_AFTER_SECONDS = 5


class Admission:
    """A fixed number of slots and a bounded first-in-first-out queue before them.

    Attributes:
        slots: How many requests may be in flight.
        in_flight: How many are.
    """

    def __init__(self, slots: int, max_waiting: int, max_wait_seconds: float) -> None:
        self.slots = slots
        self.in_flight = 0
        self._max_waiting = max_waiting
        self._max_wait_seconds = max_wait_seconds
        self._queue: deque[asyncio.Future[None]] = deque()
        self._closed: GatewayError | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting(self) -> int:
        """How many requests wait for a slot."""
        return len(self._queue)

    def resize(self, slots: int) -> None:
        """Follow a server that came up with another number of slots."""
        self.slots = slots
        self._admit()

    @contextlib.asynccontextmanager
    async def slot(self, key: str) -> AsyncIterator[None]:
        """Hold a slot.

        Args:
            key: The name of the client's key.

        Raises:
            Overloaded: Too many wait already, or it took too long.
            ShuttingDown: The gateway is being stopped.
        """
        del key
        await self._enter()
        try:
            yield
        finally:
            self._give_back()

    def close(self) -> None:
        """Let nobody in any more; those who wait are told so."""
        self._closed = ShuttingDown("This server is being stopped.", retry_after=RETRY_AFTER_SECONDS)
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_exception(self._closed)

    async def wait_idle(self) -> None:
        """Wait until nothing is in flight."""
        await self._idle.wait()

    async def _enter(self) -> None:
        if self._closed is not None:
            raise self._closed
        if self.in_flight < self.slots and not self._queue:
            self._take()
            return
        if len(self._queue) >= self._max_waiting:
            raise Overloaded(
                f"{len(self._queue)} requests wait already; try again later.", retry_after=RETRY_AFTER_SECONDS
            )
        await self._wait_for_turn()

    async def _wait_for_turn(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(self._max_wait_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_back()  # the slot came in the same moment as the cancellation
            elif turn in self._queue:
                self._queue.remove(turn)
            if isinstance(error, TimeoutError):
                raise Overloaded(
                    f"No slot became free within {self._max_wait_seconds:g} s.",
                    retry_after=RETRY_AFTER_SECONDS,
                ) from None
            raise

    def _take(self) -> None:
        self.in_flight += 1
        self._idle.clear()

    def _give_back(self) -> None:
        self.in_flight -= 1
        self._admit()
        if not self.in_flight:
            self._idle.set()

    def _admit(self) -> None:
        while self._queue and self.in_flight < self.slots:
            turn = self._queue.popleft()
            if not turn.done():
                self._take()
                turn.set_result(None)
