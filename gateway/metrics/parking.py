"""How often a server that nobody used was parked, and brought back: for who starts servers, and may park them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client import Metric


class Moves(Protocol):
    """Both by how they ended, each from 0 on."""

    @property
    def parkings(self) -> Mapping[str, int]:
        """How often its GPU memory was to go to the host."""
        ...

    @property
    def unparkings(self) -> Mapping[str, int]:
        """How often it was to come back."""
        ...


class ParkingState(Collector):
    """Reads it, when somebody asks."""

    def __init__(self, moves: Moves) -> None:
        self._moves = moves

    def describe(self) -> Iterable[Metric]:
        """Declare nothing up front, so that registering does not call `collect`."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the present values."""
        yield _by_outcome(
            "warmgate_server_parkings",
            "How often the idle model server's GPU memory was to go to the host, by what came of it: ok, refused (it "
            "could not be parked, and runs on) or failed (it had to be started again).",
            self._moves.parkings,
        )
        yield _by_outcome(
            "warmgate_server_unparkings",
            "How often a parked model server's GPU memory was to come back, because a request came: ok or failed (it "
            "had to be started again).",
            self._moves.unparkings,
        )


def _by_outcome(name: str, documentation: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, documentation, labels=["outcome"])
    for outcome, count in counts.items():
        family.add_metric([outcome], count)
    return family
