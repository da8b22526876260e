"""The cells of the overhead benchmark -> its tables."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.stamped_streams import Readings

DIRECT: Final = "direct"
LITELLM: Final = "LiteLLM"
NGINX: Final = "nginx"
WARMGATE: Final = "warmgate"


@dataclass(frozen=True, slots=True)
class Cell:
    """One contender at one level, for a few seconds.

    Attributes:
        contender: Its name.
        streams: How many at once.
        pace: Pieces a second of each stream; 0 for as fast as they are taken.
        first_ms: The median time to the first piece, in milliseconds; None if none came.
        delay_ms: How long a piece was under way, the median.
        delay_p99_ms: And the 99th percentile.
        tokens_per_second: Pieces of all streams that came in a second.
        cpu_ms: CPU time of the contender for each 1,000 pieces, in milliseconds.
        memory_mib: What it held in memory afterwards.
        answers: How many answers came whole.
        lost: How many did not.
    """

    contender: str
    streams: int
    pace: int
    first_ms: float | None
    delay_ms: float | None
    delay_p99_ms: float | None
    tokens_per_second: float
    cpu_ms: float | None
    memory_mib: float
    answers: int
    lost: int

    @classmethod
    def of(cls, name: str, streams: int, pace: int, seconds: float, readings: Readings, memory_mib: float) -> Cell:
        """Boil readings down."""
        return cls(
            contender=name,
            streams=streams,
            pace=pace,
            first_ms=_percentile(readings.first_pieces, 50),
            delay_ms=_percentile(readings.delays, 50),
            delay_p99_ms=_percentile(readings.delays, 99),
            tokens_per_second=readings.pieces / seconds,
            cpu_ms=readings.cpu_seconds * 1e6 / readings.pieces if readings.pieces else None,
            memory_mib=memory_mib,
            answers=readings.answers,
            lost=readings.lost,
        )

    def line(self) -> str:
        """Return it as a line of a log."""
        return (
            f"{self.streams:4} {'paced' if self.pace else 'saturated':9} {self.contender:22} "
            f"first {_ms(self.first_ms)} ms, delay {_ms(self.delay_ms)} / {_ms(self.delay_p99_ms)} ms, "
            f"{self.tokens_per_second:9,.0f} tokens/s, "
            f"{_ms(self.cpu_ms)} ms/1k, {self.answers} answers, {self.lost} lost"
        )


def _percentile(nanoseconds: Sequence[int], percent: int) -> float | None:
    """Return a percentile in milliseconds."""
    if not nanoseconds:
        return None
    ordered = sorted(nanoseconds)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] / 1e6


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


class Results:
    """All cells of a run, by contender, level and load."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._cells = cells
        self.contenders = list(dict.fromkeys(cell.contender for cell in cells))

    def streams(self, *, paced: bool) -> list[int]:
        """Return the levels."""
        return sorted({cell.streams for cell in self._cells if bool(cell.pace) is paced})

    def values(self, what: Callable[[Cell], float | None], name: str, streams: int, *, paced: bool) -> list[float]:
        """Return one figure of each round."""
        chosen = (
            cell
            for cell in self._cells
            if cell.contender == name and cell.streams == streams and bool(cell.pace) is paced
        )
        return [value for cell in chosen if (value := what(cell)) is not None]

    def first_added(self, name: str, streams: int) -> list[float]:
        """Return by how much later the first piece comes than directly, in each round."""
        direct = self.values(_first, DIRECT, streams, paced=True)
        return [
            value - direct[i]
            for i, value in enumerate(self.values(_first, name, streams, paced=True))
            if i < len(direct)
        ]

    def lost(self, name: str) -> str:
        """Return how many answers a contender lost, of how many."""
        cells = [cell for cell in self._cells if cell.contender == name]
        lost = sum(cell.lost for cell in cells)
        return f"{lost:,} of {lost + sum(cell.answers for cell in cells):,}"

    def memory(self, name: str) -> float:
        """Return the most memory that it held."""
        return max(cell.memory_mib for cell in self._cells if cell.contender == name)


def _first(cell: Cell) -> float | None:
    return cell.first_ms


def _delay(cell: Cell) -> float | None:
    return cell.delay_ms


def _delay_p99(cell: Cell) -> float | None:
    return cell.delay_p99_ms


def _rate(cell: Cell) -> float | None:
    return cell.tokens_per_second


def _cpu(cell: Cell) -> float | None:
    return cell.cpu_ms


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return the median, and the least and the most where there are several."""
    if not values:
        return "-"
    middle = f"{statistics.median(values):,.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f} .. {max(values):,.{digits}f})"


def tables(cells: Sequence[Cell]) -> str:
    """Return everything as Markdown: medians of the rounds, with the least and the most of them."""
    results = Results(cells)
    return "\n\n".join(_tables(results))


def _tables(results: Results) -> Iterator[str]:
    def values(what: Callable[[Cell], float | None], *, paced: bool) -> Callable[[str, int], list[float]]:
        return lambda name, streams: results.values(what, name, streams, paced=paced)

    if paced := results.streams(paced=True):
        yield _table("Time to the first piece, added to what it is directly, ms", results, paced, results.first_added)
        yield _table("Delay of a piece, p50, ms", results, paced, values(_delay, paced=True))
        yield _table("Delay of a piece, p99, ms", results, paced, values(_delay_p99, paced=True))
        yield _table("CPU for 1,000 pieces at that pace, ms", results, paced, values(_cpu, paced=True), digits=0)
        yield _table("Pieces/s at that pace", results, paced, values(_rate, paced=True), digits=0)
    if saturated := results.streams(paced=False):
        yield _table("Pieces/s, as fast as they are taken", results, saturated, values(_rate, paced=False), digits=0)
        yield _table("CPU for 1,000 of those, ms", results, saturated, values(_cpu, paced=False), digits=1)
    lines = [f"| {name} | {results.memory(name):.0f} | {results.lost(name)} |" for name in results.contenders]
    yield "\n".join(["| | most memory, MiB | lost answers |", "|---|---|---|", *lines])
    if ratios := list(_ratios(results)):
        yield "\n".join(["| warmgate to ... | streams | ratio |", "|---|---|---|", *ratios])


def _table(
    title: str, results: Results, streams: Sequence[int], values: Callable[[str, int], list[float]], digits: int = 2
) -> str:
    head = f"| {title} | " + " | ".join(f"{count} streams" for count in streams) + " |"
    lines = [
        f"| {name} | " + " | ".join(spread(values(name, count), digits) for count in streams) + " |"
        for name in results.contenders
    ]
    return "\n".join([head, "|---" * (len(streams) + 1) + "|", *lines])


def _ratios(results: Results) -> Iterator[str]:
    """Yield the ratios that we hold ourselves to: of medians, as one round has little to say."""

    def row(title: str, streams: int, ours: Sequence[float], theirs: Sequence[float]) -> Iterator[str]:
        if ours and theirs and statistics.median(theirs):
            yield f"| {title} | {streams} | {statistics.median(ours) / statistics.median(theirs):.2f} |"

    for count in results.streams(paced=True):
        ours = results.first_added(WARMGATE, count)
        yield from row("nginx: added time to the first piece", count, ours, results.first_added(NGINX, count))
        yield from row("LiteLLM: the same", count, ours, results.first_added(LITELLM, count))
        ours = results.values(_delay_p99, WARMGATE, count, paced=True)
        yield from row("nginx: p99 of the delay", count, ours, results.values(_delay_p99, NGINX, count, paced=True))
    for count in results.streams(paced=False):
        ours = results.values(_rate, WARMGATE, count, paced=False)
        for name in (NGINX, LITELLM):
            theirs = results.values(_rate, name, count, paced=False)
            yield from row(f"{name}: pieces/s, as fast as they are taken", count, ours, theirs)
    for name in results.contenders:
        if name.startswith(f"{WARMGATE}, "):
            yield from _ratios_to_plain(results, name, row)


def _ratios_to_plain(
    results: Results, name: str, row: Callable[[str, int, Sequence[float], Sequence[float]], Iterator[str]]
) -> Iterator[str]:
    """Yield what another way to ask costs, as a multiple of warmgate's plain chat completions."""
    for count in results.streams(paced=True):
        first = results.first_added(name, count), results.first_added(WARMGATE, count)
        yield from row(f"itself: {name[10:]}: added time to the first piece", count, *first)
        cpu = (results.values(_cpu, each, count, paced=True) for each in (name, WARMGATE))
        yield from row(f"itself: {name[10:]}: CPU for 1,000 pieces", count, *cpu)
