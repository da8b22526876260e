"""Whether requests are under way upstream, and when one of them last moved: what a watchdog wants to know."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Activity:
    """Counts requests and remembers the last sign of progress.

    Attributes:
        in_flight: How many requests hold a slot.
        last_progress: When a piece of an answer last came, by `time.monotonic`. Keep-alive comments do not count: a
            server that hangs still sends them. Nor does a request that was sent: a client that gives up and asks
            again would hide a hanging server for ever.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self.last_progress = time.monotonic()

    def progress(self) -> None:
        """Note a sign of progress."""
        self.last_progress = time.monotonic()

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Count a request while the context lasts."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
