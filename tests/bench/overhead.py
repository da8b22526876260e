"""What a gateway costs: direct, nginx, LiteLLM's proxy, a plain FastAPI proxy and warmgate before one fast upstream.

Run by `make bench SUITE=overhead`. Wants `cc` and `nginx`, and installs LiteLLM's proxy into an environment of its own.
Each round asks every contender at every level, in an order that turns; a cell is a few seconds of so many streams that
ask again and again, either at the pace of a GPU or as fast as the contender takes it. Prints Markdown; `--out` also
keeps every cell, as JSON. Figures of one run compare with each other, not with those of another machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench.contenders import contenders
from bench.overhead_table import Cell, tables
from bench.stamped_streams import read_streams

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.contenders import Contender

SLOW: Final = "LiteLLM"
"""Gets one round at many streams: it needs seconds to answer what others answer in milliseconds."""

FEW_STREAMS: Final = 4

SETTLE_SECONDS: Final = 10.0
IDLE: Final = 0.05
"""CPU time for each second, below which a contender is done with what was asked of it before."""


@dataclass(frozen=True, slots=True)
class Level:
    """So many streams, each of so many pieces, so many a second: 0 for as fast as they are taken."""

    streams: int
    tokens: int
    pace: int

    @property
    def ramp(self) -> float:
        """Return in how many seconds the streams begin: spread over an answer, so that they are not in step."""
        return min(1.0, self.tokens / self.pace) if self.pace else 0.2


PACED: Final = (Level(1, 12, 150), Level(4, 12, 150), Level(12, 24, 150), Level(64, 60, 60), Level(256, 60, 40))
"""Up to 12 streams as one GPU gives them; 256 streams are more than one gives."""

SATURATED: Final = tuple(Level(level.streams, 2000, 0) for level in PACED)


async def measure(contender: Contender, level: Level, seconds: float) -> Cell:
    """Measure one cell."""
    question = contender.question(level.tokens, level.pace)
    gc.collect()
    gc.disable()  # a collection of ours would be a delay of theirs
    try:
        readings = await read_streams(
            question, level.streams, ramp=level.ramp, seconds=seconds, cpu_seconds=contender.cpu_seconds
        )
    finally:
        gc.enable()
    if readings.refusals:
        print(f"{contender.name}: {readings.refusals[0]}", file=sys.stderr)
    return Cell.of(contender.name, level.streams, level.pace, seconds, readings, contender.memory_mib())


async def settle(contender: Contender) -> None:
    """Wait until it is done with the streams that were broken off."""
    until = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < until:
        before = contender.cpu_seconds()
        await asyncio.sleep(0.1)
        if contender.cpu_seconds() - before < 0.1 * IDLE:
            return


def plan(playing: Sequence[Contender], levels: Sequence[Level], rounds: int) -> Iterator[tuple[Contender, Level]]:
    """Yield every cell, the contenders of a level one after the other, and in another order each time."""
    turn = 0
    for number in range(rounds):
        for level in levels:
            everyone = number == 0 or level.streams <= FEW_STREAMS
            present = [contender for contender in playing if everyone or contender.name != SLOW]
            turn += 1
            at = turn % len(present)
            yield from ((contender, level) for contender in present[at:] + present[:at])


async def run(arguments: argparse.Namespace, playing: Sequence[Contender]) -> list[Cell]:
    """Measure all cells."""
    loads = {"paced": PACED, "saturated": SATURATED}
    levels = [level for load in arguments.loads for level in loads[load] if level.streams in arguments.streams]
    for contender in playing:
        await measure(contender, Level(1, 20, 0), 0.5)  # caches, connections, the first look at everything
        await settle(contender)
    cells = []
    for contender, level in plan(playing, levels, arguments.rounds):
        cells.append(await measure(contender, level, arguments.seconds))
        await settle(contender)
        print(cells[-1].line(), file=sys.stderr, flush=True)
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each cell")
    parser.add_argument("--streams", type=int, nargs="+", default=[level.streams for level in PACED])
    parser.add_argument("--loads", nargs="+", choices=["paced", "saturated"], default=["paced", "saturated"])
    parser.add_argument("--only", nargs="+", default=[], help="contenders whose names begin so; direct is always there")
    parser.add_argument("--out", type=Path, help="a folder for overhead.json and overhead.md")
    arguments = parser.parse_args()
    with contenders(arguments.only) as playing, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        cells = runner.run(run(arguments, playing))
    text = tables(cells)
    print(text)
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "overhead.json").write_text(json.dumps([asdict(cell) for cell in cells], indent=1))
        (arguments.out / "overhead.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
