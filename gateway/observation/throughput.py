"""How fast tokens have been written lately, all requests together."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL_SECONDS: Final = 2
KEPT_INTERVALS: Final = 150  # five minutes


class Throughput:
    """Counts tokens by intervals of time. Adding to it takes no time worth speaking of: it is done for every chunk."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._interval = self._present()
        self._tokens = deque([0] * KEPT_INTERVALS, maxlen=KEPT_INTERVALS)

    def add(self, tokens: int) -> None:
        """Count tokens that have come now."""
        self._advance()
        self._tokens[-1] += tokens

    def values(self) -> list[int]:
        """Return the tokens of each interval, oldest first. The last one is not over."""
        self._advance()
        return list(self._tokens)

    def _present(self) -> int:
        return int(self._clock() / INTERVAL_SECONDS)

    def _advance(self) -> None:
        present = self._present()
        if passed := present - self._interval:
            self._tokens.extend([0] * min(passed, KEPT_INTERVALS))
            self._interval = present
