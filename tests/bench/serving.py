"""What warmgate costs and gains before a real llama-server: first token, tokens a second, and what a long prompt does.

    make bench                                        # the small model on this machine's CPU
    python tests/bench/serving.py --model M.gguf --llama-server PATH --profile gemma-4-26b-a4b-throughput \
        --stock "-ngl 999 ..." --streams 1,4,12,16    # with a GPU

Sides: `stock`, a llama-server with the flags of --stock; `stock, through warmgate`, the gateway before that server; and
`profile`, `warmgate serve` with the profile, asked through its gateway. They run side by side and are asked in turn, so
that what changes on the machine changes for all. Every prompt is new to all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import shlex
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(1, str(Path(__file__).parents[2]))

from bench.same_tokens import compare
from bench.serving_sides import UNGUARDED, Machine, Side
from bench.serving_table import Sample, markdown
from bench.streams import Reading, decode_rate, read_stream, read_together

from gateway.backend_sampling import FEWEST_THOUGHT

if TYPE_CHECKING:
    from collections.abc import Sequence

WORDS: Final = [
    *("time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state"),
    *("family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week", "company", "system"),
    *("program", "question", "work", "government", "number", "night", "point", "home", "water", "room", "mother"),
]
PROMPT_WORDS: Final = 60
LONGEST_ANSWER_FACTOR: Final = 2
FEW_TOKENS: Final = 8
THINKING: Final = {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_budget_tokens": None}
SAMPLED_ON_GPU: Final = {"backend_sampling": True}


def body(words: int, tokens: int, seed: str, **fields: Any) -> dict[str, Any]:
    """Return a question that nobody has asked before."""
    draw = random.Random(seed)
    text = " ".join(draw.choice(WORDS) for _ in range(words))
    fixed = {"temperature": 1.0, "chat_template_kwargs": {"enable_thinking": False}}
    return {"messages": [{"role": "user", "content": text}], "max_tokens": tokens, **fixed, **fields}


class Bench:
    """Asks all sides the same kind of thing, and keeps what it sees."""

    def __init__(self, sides: Sequence[Side], tokens: int, deadline: float) -> None:
        self.samples: list[Sample] = []
        self._sides = sides
        self._tokens = tokens
        self._deadline = deadline
        self._asked = 0

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self._deadline

    async def rounds(self, most: int, streams: Sequence[int]) -> None:
        """Ask with each number of streams, in rounds, each begun by another side."""
        for round_ in range(most):
            for number in streams:
                for side in self._in_turn(round_):
                    if self.is_over:
                        return
                    readings = await read_together(side.server, [self._body(side, self._tokens) for _ in range(number)])
                    first = statistics.median(reading.first_ms for reading in readings)
                    self._note(side, "first token, ms", number, first)
                    self._note(side, "decode, tokens/s", number, decode_rate(readings))

    async def first_tokens(self, most: int, streams: Sequence[int]) -> None:
        """Ask the first two sides, who share a server, what it has in its cache: what differs is the gateway."""
        direct, through = self._sides[:2]
        for round_ in range(-1, most):  # the first one fills the cache
            for number in streams:
                firsts: dict[str, float] = {}
                for side in ((direct, through), (through, direct))[round_ % 2]:
                    if self.is_over:
                        return
                    asked = body(PROMPT_WORDS, FEW_TOKENS, "again", **side.fields)
                    readings = await read_together(side.server, [asked] * number)
                    firsts[side.name] = statistics.mean(reading.first_ms for reading in readings)
                if round_ >= 0:
                    for side in (direct, through):
                        self._note(side, "first token of a known prompt, ms", number, firsts[side.name])
                    self._note(through, "added to it, ms", number, firsts[through.name] - firsts[direct.name])

    async def sustained(self, streams: int, seconds: float) -> None:
        """Ask without a pause, for answers of many lengths: what comes and goes disturbs those who stay."""
        for side in self._sides:
            if self.is_over:
                return
            until = time.perf_counter() + seconds
            began = time.perf_counter()
            readings: list[Reading] = []

            async def ask_on(side: Side = side, until: float = until, kept: list[Reading] = readings) -> None:
                draw = random.Random(len(kept))
                while time.perf_counter() < until and not self.is_over:
                    tokens = draw.randint(self._tokens // 2, self._tokens * LONGEST_ANSWER_FACTOR)
                    kept.append(await read_stream(side.server, self._body(side, tokens)))

            await asyncio.gather(*(ask_on() for _ in range(streams)))
            since = began + seconds / 4
            written = sum(
                sum(since < moment <= until for moment in each.times) * each.tokens / len(each.times)
                for each in readings
            )
            self._note(side, "kept busy, tokens/s", streams, written / (until - since))
            self._note(side, "kept busy, gap p99, ms", streams, _p99(readings, since, until))

    async def prefill(self, streams: int, words: int) -> None:
        """Ask a long question while short ones are answered: how long it waits, and how long it makes them wait."""
        for side in self._sides:
            if self.is_over:
                return
            shorts = [
                asyncio.create_task(read_stream(side.server, self._body(side, 3 * self._tokens)))
                for _ in range(streams)
            ]
            await asyncio.sleep(1)  # they are under way
            long = await read_stream(side.server, body(words, 2, self._seed(side), **side.fields))
            readings = await asyncio.gather(*shorts)
            self._note(side, f"a prompt of {long.prompt_tokens} tokens: first token, ms", streams, long.first_ms)
            p99 = _p99(readings, long.asked, long.times[0])
            self._note(side, "the others' gap p99 meanwhile, ms", streams, p99)

    def _in_turn(self, round_: int) -> list[Side]:
        shift = round_ % len(self._sides)
        return [*self._sides[shift:], *self._sides[:shift]]

    def _body(self, side: Side, tokens: int) -> dict[str, Any]:
        return body(PROMPT_WORDS, tokens, self._seed(side), **side.fields)

    def _seed(self, side: Side) -> str:
        self._asked += 1
        return f"{side.name} {self._asked}"

    def _note(self, side: Side, what: str, streams: int, value: float) -> None:
        self.samples.append(Sample(side.name, what, streams, round(value, 2)))
        print(f"  {side.name:24} {streams:3} {what:24} {value:9.1f}", flush=True)


def _p99(readings: Sequence[Reading], since: float, until: float) -> float:
    gaps = sorted(gap for reading in readings for gap in reading.gaps_ms(since, until))
    return gaps[int(len(gaps) * 0.99)] if gaps else float("nan")


async def greedy_is_the_same(direct: Side, through: Side, tokens: int) -> bool:
    """Return whether a greedy answer is the same through the gateway, from the same cache."""

    async def answer(side: Side) -> str:
        asked = body(PROMPT_WORDS, tokens, "greedy", **side.fields) | {"temperature": 0}
        return (await read_stream(side.server, asked)).text

    await answer(direct)  # from here on its prompt is cached
    return await answer(direct) == await answer(through)


def check_sampling(url: str, tokens: int, prompts: int) -> list[dict[str, Any] | None]:
    """Return where greedy answers sampled on the GPU part from llama-server's own; None for those that do not."""
    draw = random.Random(0)
    found = []
    for _ in range(prompts):
        prompt = " ".join(draw.choice(WORDS) for _ in range(PROMPT_WORDS))
        parting = compare(url, prompt, tokens, SAMPLED_ON_GPU)
        found.append(None if parting is None else {**asdict(parting), "is_tie": parting.is_tie})
    return found


def read_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a GGUF file (the small model of the wheel)")
    parser.add_argument("--llama-server", type=Path, help="the engine (the first one found)")
    parser.add_argument("--profile", help="warmgate's profile")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="NAME=VALUE")
    parser.add_argument("--other", action="append", default=[], help="one more profile side, with these --set values")
    parser.add_argument("--stock", default="-c 8192 --parallel 4", help="llama-server's flags on the stock side")
    parser.add_argument("--streams", default="1,4")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", type=int, help="nothing but first tokens, so often direct and through the gateway")
    parser.add_argument("--thinking", action="store_true", help="nothing but rounds, of answers that may think")
    parser.add_argument("--long-words", type=int, default=600, help="the long prompt")
    parser.add_argument("--busy-seconds", type=float, default=8)
    parser.add_argument("--check-sampling", action="store_true", help="compare greedy answers of CPU and GPU samplers")
    parser.add_argument("--seconds", type=float, default=600, help="begin nothing after so long")
    parser.add_argument("--out", type=Path, default=Path("bench-results/serving"))
    return parser.parse_args()


def start(args: argparse.Namespace, stack: contextlib.ExitStack) -> list[Side]:
    """Start all sides, one after the other."""
    machine = Machine(model=args.model, llama_server=args.llama_server, log_dir=args.out)
    bare = stack.enter_context(machine.bare("stock", shlex.split(args.stock)))
    through = stack.enter_context(machine.gateway("stock, through warmgate", bare))
    sides = [Side("stock", bare, UNGUARDED), Side("stock, through warmgate", through)]
    for number, more in enumerate([] if args.pairs else ["", *args.other]):
        name = f"profile {more}".strip()
        overrides = [*args.overrides, *more.split()]
        served = stack.enter_context(machine.serving(f"profile-{number}", args.profile, overrides))
        sides.append(Side(name, served))
    if not args.thinking:
        return sides
    on_cpu = Side("profile, sampled on the CPU", sides[2].server, {"thinking_budget_tokens": FEWEST_THOUGHT - 1})
    return [Side(side.name, side.server, {**side.fields, **THINKING}) for side in (sides[0], *sides[2:], on_cpu)]


async def measure(bench: Bench, args: argparse.Namespace) -> None:
    """Do all that is to be measured, what matters most first."""
    streams = [int(number) for number in args.streams.split(",")]
    if args.pairs:
        await bench.first_tokens(args.pairs, streams)
        return
    await bench.rounds(1, streams[:2])
    bench.samples.clear()  # the first answers of a server are slow
    if args.thinking:
        await bench.rounds(args.rounds, streams)
        return
    await bench.rounds(args.rounds // 2 or 1, streams)
    await bench.first_tokens(3 * args.rounds, streams[:3])
    await bench.rounds(args.rounds - args.rounds // 2, streams)
    await bench.prefill(min(4, streams[-1]), args.long_words)
    await bench.sustained(streams[-2] if len(streams) > 1 else streams[0], args.busy_seconds)


def main() -> None:
    """Measure, and write `results.json` and `results.md`."""
    args = read_args()
    args.out.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + args.seconds
    with contextlib.ExitStack() as stack:
        sides = start(args, stack)
        bench = Bench(sides, args.tokens, deadline)
        checks: dict[str, Any] = {}
        if not args.thinking:
            checks["greedy through warmgate"] = asyncio.run(greedy_is_the_same(sides[0], sides[1], args.tokens))
        if args.check_sampling:
            checks["greedy, sampled on the GPU"] = check_sampling(sides[0].server.url, args.tokens, 4)
        print(json.dumps(checks, indent=1), flush=True)
        try:
            asyncio.run(measure(bench, args))
        finally:
            told = {name: str(value) for name, value in vars(args).items()}
            results = {"args": told, "checks": checks, "samples": [asdict(sample) for sample in bench.samples]}
            (args.out / "results.json").write_text(json.dumps(results, indent=1))
            (args.out / "results.md").write_text(markdown(bench.samples))
            print(markdown(bench.samples))


if __name__ == "__main__":
    main()
