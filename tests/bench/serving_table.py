"""What the serving benchmark measured, as tables: medians, their quartiles, and ratios to the first side. Pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading.

    Attributes:
        side: Whose.
        what: What was measured, such as `decode, tokens/s`.
        streams: At how many streams.
        value: The figure.
    """

    side: str
    what: str
    streams: int
    value: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Several readings of one thing."""

    low: float
    middle: float
    high: float

    def __str__(self) -> str:
        """Show the median and the quartiles."""
        return f"{_figure(self.middle)} ({_figure(self.low)}-{_figure(self.high)})"


def spread(values: Sequence[float]) -> Spread:
    """Return the quartiles of some readings; of a single one it is all three."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


def spreads(samples: Iterable[Sample]) -> dict[tuple[str, int, str], Spread]:
    """Return the spread of each thing that was measured, by what, streams and side, in the order of their coming."""
    found: dict[tuple[str, int, str], list[float]] = {}
    for sample in samples:
        found.setdefault((sample.what, sample.streams, sample.side), []).append(sample.value)
    return {key: spread(values) for key, values in found.items()}


def markdown(samples: Sequence[Sample]) -> str:
    """Return a table for each thing measured: a row for each number of streams, the sides beside each other.

    Each side but the first has its ratio to the first one's median.
    """
    measured = spreads(samples)
    parts = []
    for what in dict.fromkeys(sample.what for sample in samples):
        mine = {(streams, side): value for (name, streams, side), value in measured.items() if name == what}
        sides = list(dict.fromkeys(side for _, side in mine))
        rows = [["streams", *sides], ["---"] * (len(sides) + 1)]
        for streams in sorted({streams for streams, _ in mine}):
            first = mine.get((streams, sides[0]))
            rows.append([str(streams), *(_cell(mine.get((streams, side)), first, side == sides[0]) for side in sides)])
        parts.append("\n".join([f"**{what}**", "", *(f"| {' | '.join(row)} |" for row in rows)]))
    return "\n\n".join(parts) + "\n"


def _cell(value: Spread | None, first: Spread | None, is_first: bool) -> str:
    if value is None:
        return ""
    if is_first or first is None or not first.middle:
        return str(value)
    return f"{value}, {value.middle / first.middle:.2f}x"


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
