"""Is a server that has work to do still moving?

llama-server's `/health` is answered by its HTTP threads and stays 200 when its main loop hangs, and the same threads
send keep-alive comments on hanging streams. So health is progress: tokens that arrive, or, where none arrive because a
long prompt is being read, slots that advance. An idle server is left in peace: nothing is asked of it, unless it had
not moved when it last was.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

LOOKS_PER_LIMIT = 6
SHORTEST_INTERVAL_SECONDS = 5.0
"""`/slots` is answered by the main loop, between two batches: asked more often it would get in its way."""


class Activity(Protocol):
    """What the one who sends requests knows of their progress."""

    @property
    def in_flight(self) -> int:
        """How many requests the server has been given and not finished."""
        ...

    @property
    def last_progress(self) -> float:
        """When a piece of an answer last came, by `time.monotonic`."""
        ...


def interval_for(limit_seconds: float) -> float:
    """Return how often to look, for a server that is given up after `limit_seconds` without evidence."""
    return max(SHORTEST_INTERVAL_SECONDS, limit_seconds / LOOKS_PER_LIMIT)


async def until_wedged(
    activity: Activity,
    look: Callable[[], Awaitable[Sequence[object] | None]],
    limit_seconds: float,
    interval_seconds: float,
) -> str:
    """Return, with the evidence, once the server has had work and not moved for `limit_seconds`.

    Args:
        activity: What the gateway knows.
        look: Asks the server how far the slots with work are; None when it does not answer. Any change is evidence
            of life, and so is none with work: then the requests in flight wait for their clients.
        limit_seconds: How long a busy server may show none.
        interval_seconds: Between two looks, and how long a token must have been missing before the first.
    """
    alive_at = time.monotonic()
    seen: Sequence[object] | None = None
    suspected = False  # then it is not enough that everyone has given up and left
    while True:
        await asyncio.sleep(interval_seconds)
        now = time.monotonic()
        if now - activity.last_progress < interval_seconds or not (activity.in_flight or suspected):
            alive_at, seen, suspected = now, None, False
            continue
        alive_at = max(alive_at, activity.last_progress)
        position = await look()
        suspected = position is None or (position == seen and bool(position))
        if not suspected:
            alive_at, seen = now, position
        elif now - alive_at >= limit_seconds:
            answer = "it does not answer" if position is None else "its slots stand still"
            return f"no token for {now - alive_at:.0f} s with {activity.in_flight} requests in flight, and {answer}"
