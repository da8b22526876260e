"""What is counted of parkings, and what the page says of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.metrics.parking import ParkingState
from server_supervisor.parking import CountedGpu, Moves, NotParked

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


class Gpu:
    """Does what it is told to.

    Attributes:
        failure: What the next moves raise, if anything.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None

    def park(self, pid: int) -> Mapping[str, float]:
        return self._move({"checkpoint": float(pid)})

    def has_room(self) -> bool:
        return False

    def restore(self) -> Mapping[str, float]:
        return self._move({"restore": 1.0})

    def _move(self, phases: Mapping[str, float]) -> Mapping[str, float]:
        if self.failure is not None:
            raise self.failure
        return phases


def test_each_move_counts_once_by_how_it_ended_and_passes_on_what_it_gave() -> None:
    gpu, moves = Gpu(), Moves()
    counted = CountedGpu(gpu, moves)
    assert moves.parkings == {"ok": 0, "refused": 0, "failed": 0}
    assert moves.unparkings == {"ok": 0, "failed": 0}
    assert counted.park(7) == {"checkpoint": 7.0}
    assert not counted.has_room()
    assert counted.restore() == {"restore": 1.0}
    gpu.failure = NotParked("There was not enough memory.")
    with pytest.raises(NotParked, match="not enough memory"):
        counted.park(7)
    gpu.failure = OSError("The driver is gone.")
    with pytest.raises(OSError, match="driver is gone"):
        counted.park(7)
    with pytest.raises(OSError, match="driver is gone"):
        counted.restore()
    assert moves.parkings == {"ok": 1, "refused": 1, "failed": 1}
    assert moves.unparkings == {"ok": 1, "failed": 1}


def test_the_page_has_both_series_in_our_own_words() -> None:
    rows = [
        f"- `{family.name}_total` ({family.type}, `outcome`): {family.documentation}"
        for family in ParkingState(Moves()).collect()
    ]
    assert "\n".join(rows) in PAGE.read_text()
