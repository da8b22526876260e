"""All who are told of ended requests."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.observation.record import Observer, RequestRecord

logger = logging.getLogger("warmgate.gateway")


class Observers:
    """Tells each of them. One that fails is in nobody's way."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = tuple(observers)

    def finished(self, record: RequestRecord) -> None:
        """Note the request's end and tell of it."""
        record.ended = time.perf_counter()
        for observer in self._observers:
            try:
                observer.finished(record)
            except Exception:
                logger.exception("a bug in %s", type(observer).__name__)
