"""Who may be in flight upstream, and who waits.

Not more requests than llama-server has slots are sent to it: a request that it queues itself gets no byte, not even
headers, and is not cancelled when its client leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from typing import TYPE_CHECKING

from gateway.errors import GatewayError, Overloaded, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RETRY_AFTER_SECONDS = 5
"""What is said while nothing is known of how long a slot is held."""

LONGEST_RETRY_AFTER_SECONDS = 60
SMOOTHING = 0.2
"""Weight of the newest slot time in their running mean."""

Turn = asyncio.Future[None]


class Admission:
    """A fixed number of slots and a bounded queue before them.

    The queue is fair between keys: those that have requests waiting take turns, however many each has. Within a key
    who came first goes first.

    Attributes:
        slots: How many requests may be in flight.
        max_waiting: How many more may wait.
        in_flight: How many are.
        waiting: How many wait for a slot.
    """

    def __init__(self, slots: int, max_waiting: int, max_wait_seconds: float) -> None:
        self.slots = slots
        self.in_flight = 0
        self.waiting = 0
        self.max_waiting = max_waiting
        self._max_wait_seconds = max_wait_seconds
        self._queues: dict[str, deque[Turn]] = {}  # by key; none of them is empty
        self._keys: deque[str] = deque()  # the same keys, in the order of their turns
        self._closed: GatewayError | None = None
        self._held_seconds: float | None = None  # how long a slot is held, as a running mean
        self._idle = asyncio.Event()
        self._idle.set()

    def resize(self, slots: int) -> None:
        """Follow a server that came up with another number of slots."""
        self.slots = slots
        self._admit()

    @contextlib.asynccontextmanager
    async def slot(self, key: str, *, again: bool = False) -> AsyncIterator[None]:
        """Hold a slot.

        Args:
            key: The name of the client's key.
            again: Whether it is for a request that has been let in before: a full queue does not turn it away.

        Raises:
            Overloaded: Too many wait already, or it took too long.
            ShuttingDown: The gateway is being stopped.
        """
        await self._enter(key, again=again)
        began = time.monotonic()
        try:
            yield
        finally:
            self._note_held(time.monotonic() - began)
            self._give_back()

    def close(self) -> None:
        """Let nobody in any more; those who wait are told so."""
        self._closed = ShuttingDown("This server is being stopped.", retry_after=RETRY_AFTER_SECONDS)
        while self.waiting:
            turn = self._next()
            if not turn.done():
                turn.set_exception(self._closed)

    async def wait_idle(self) -> None:
        """Wait until nothing is in flight."""
        await self._idle.wait()

    def check(self, *, again: bool = False) -> None:
        """Turn away whom `slot` would turn away at once.

        Raises:
            Overloaded: Too many wait already.
            ShuttingDown: The gateway is being stopped.
        """
        if self._closed is not None:
            raise self._closed
        if not self._is_free and self.waiting >= self.max_waiting and not again:
            raise Overloaded(f"{self.waiting} requests wait already; try again later.", retry_after=self._retry_after())

    @property
    def _is_free(self) -> bool:
        return self.in_flight < self.slots and not self.waiting

    async def _enter(self, key: str, *, again: bool = False) -> None:
        self.check(again=again)
        if self._is_free:
            self._take()
        else:
            await self._wait_for_turn(key)

    async def _wait_for_turn(self, key: str) -> None:
        turn: Turn = asyncio.get_running_loop().create_future()
        self._join(key, turn)
        try:
            async with asyncio.timeout(self._max_wait_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_back()  # the slot came in the same moment as the cancellation
            else:
                self._leave(key, turn)
            if isinstance(error, TimeoutError):
                raise Overloaded(
                    f"No slot became free within {self._max_wait_seconds:g} s.", retry_after=self._retry_after()
                ) from None
            raise

    # -- the queue

    def _join(self, key: str, turn: Turn) -> None:
        if key not in self._queues:
            self._queues[key] = deque()
            self._keys.append(key)
        self._queues[key].append(turn)
        self.waiting += 1

    def _next(self) -> Turn:
        """Take the one out whose turn it is."""
        key = self._keys.popleft()
        queue = self._queues[key]
        turn = queue.popleft()
        self.waiting -= 1
        if queue:
            self._keys.append(key)
        else:
            del self._queues[key]
        return turn

    def _leave(self, key: str, turn: Turn) -> None:
        """Take one out whose turn it is not, unless it has been taken out."""
        queue = self._queues.get(key)
        if queue is None or turn not in queue:
            return
        queue.remove(turn)
        self.waiting -= 1
        if not queue:
            del self._queues[key]
            self._keys.remove(key)

    # -- the slots

    def _take(self) -> None:
        self.in_flight += 1
        self._idle.clear()

    def _give_back(self) -> None:
        self.in_flight -= 1
        self._admit()
        if not self.in_flight:
            self._idle.set()

    def _admit(self) -> None:
        while self.waiting and self.in_flight < self.slots:
            turn = self._next()
            if not turn.done():
                self._take()
                turn.set_result(None)

    # -- when to come back

    def _note_held(self, seconds: float) -> None:
        if self._held_seconds is None:
            self._held_seconds = seconds
        else:
            self._held_seconds += SMOOTHING * (seconds - self._held_seconds)

    def _retry_after(self) -> int:
        """Return the whole seconds in which those who wait now will have had their turns, as slots are held lately."""
        if self._held_seconds is None:
            return RETRY_AFTER_SECONDS
        seconds = math.ceil(self.waiting * self._held_seconds / self.slots)
        return min(max(1, seconds), LONGEST_RETRY_AFTER_SECONDS)
