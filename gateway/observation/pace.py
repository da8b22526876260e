"""The clock of one answer's pieces."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway import events

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.observation.record import RequestRecord

_NO_PIECES = (events.PromptRead, events.Finish, events.Usage)


class Pace:
    """Looks at the clock once for each batch, and tells of the time between pieces."""

    __slots__ = ("_last", "_observe", "_record")

    def __init__(self, record: RequestRecord, observe: Callable[[float], None]) -> None:
        """Begin with an answer of `record`'s. `observe` is told the seconds between two of its pieces."""
        self._record = record
        self._observe = observe
        self._last: float | None = None

    def add(self, batch: Sequence[events.Event]) -> None:
        """Note a batch. Pieces that came together share the time since the last batch."""
        pieces = 0
        for event in batch:
            if not isinstance(event, _NO_PIECES):
                pieces += 1
        if not pieces:
            return
        now = time.perf_counter()
        record = self._record
        if self._last is not None:
            self._observe((now - self._last) / pieces)
        elif record.first_piece is None:
            record.first_piece = now
        self._last = record.last_piece = now
        record.pieces += pieces
