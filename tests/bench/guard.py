"""What it costs to look at tool calls when all are valid: answers with `x-warmgate-tool-calls: off`, and without it.

Run by `make bench SUITE=guard`. The contract model streams a long text with a tool declared, and a long valid call. A
round asks both ways, and which is asked first takes turns. Prints medians with their quartiles: of both ways, and of
the ratios within the rounds, which are what to quote: what slows the machine down for a while slows both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import KEY, Warmgate
from contract.scenes import SERVED, tools

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import httpx

OFF = {"x-warmgate-tool-calls": "off"}
ASKED = {"text": ("[scene: count]", "get_weather"), "call": ("[scene: long-call]", "write_file")}


class Reading(NamedTuple):
    first_piece_ms: float
    tokens_per_second: float


Pair = tuple[Reading, Reading]
"""One round: with `off`, and without."""


def ask(client: httpx.Client, kind: str, headers: dict[str, str]) -> Reading:
    """Stream one answer. The first piece is the first that is not empty; the rate is over the whole answer."""
    words, tool = ASKED[kind]
    question = {
        "messages": [{"role": "user", "content": words}],
        "tools": tools(tool),
        "max_tokens": 256,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began = time.perf_counter()
    first, tokens = None, 0
    with client.stream("POST", "/v1/chat/completions", json=question, headers=headers) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                chunk = json.loads(line.removeprefix("data: "))
                if first is None and any(is_said(choice["delta"]) for choice in chunk["choices"]):
                    first = time.perf_counter()
                tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
    if first is None or not tokens:
        sys.exit(f"there was no answer: status {response.status_code}")
    return Reading((first - began) * 1000, tokens / (time.perf_counter() - began))


def is_said(delta: dict[str, Any]) -> bool:
    return bool(delta.get("content") or delta.get("tool_calls"))


def pair(client: httpx.Client, kind: str, turn: int) -> Pair:
    """Ask both ways, and return the reading without a look at the calls, then that with one."""
    readings = {on: ask(client, kind, {} if on else OFF) for on in ((False, True) if turn % 2 == 0 else (True, False))}
    return readings[False], readings[True]


def summary(values: Sequence[float], digits: int = 1) -> str:
    """Return the median and the quartiles."""
    low, middle, high = (f"{value:.{digits}f}" for value in statistics.quantiles(values, n=4))
    return f"{middle} [{low} .. {high}]"


def lines(kind: str, pairs: Sequence[Pair]) -> Iterator[str]:
    """Yield what is printed of the answers of one kind."""
    for name in Reading._fields:
        off, on = ([getattr(reading, name) for reading in side] for side in zip(*pairs, strict=True))
        ratios = [after / before for before, after in zip(off, on, strict=True)]
        yield f"  {kind}: {name:18} off {summary(off)}   on {summary(on)}   ratio {summary(ratios, 3)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="two at least")
    rounds = parser.parse_args().rounds
    gate = Warmgate("serve", "--port", "0", *SERVED, env={"WARMGATE_API_KEYS": f"bench:{KEY}"}).ready()
    print(f"{rounds} rounds, one stream; median [quartiles]")
    try:
        with gate.client() as client:
            for kind in ASKED:
                ask(client, kind, OFF)  # the prompt is in the server's cache from here on
                for line in lines(kind, [pair(client, kind, turn) for turn in range(rounds)]):
                    print(line, flush=True)
    finally:
        gate.end()


if __name__ == "__main__":
    main()
