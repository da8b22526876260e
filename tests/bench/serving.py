"""What the gateway costs in front of the real llama-server: the same requests, direct and through it, in turn.

Run by `make bench`. Prints medians with their spread and the ratio of the medians; ratios are what to quote.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import KEY, Warmgate

QUESTION: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Write one sentence about the sea."}],
    "max_tokens": 32,
    "temperature": 0,
    "stream": True,
}


class Reading(NamedTuple):
    first_token_ms: float
    tokens_per_second: float


def ask(client: httpx.Client) -> Reading:
    """Stream one answer. Its pieces are counted as tokens."""
    began = time.perf_counter()
    times = []
    with client.stream("POST", "/v1/chat/completions", json=QUESTION) as response:
        times = [time.perf_counter() for line in response.iter_lines() if '"content":"' in line and '""' not in line]
    return Reading((times[0] - began) * 1000, (len(times) - 1) / (times[-1] - times[0]))


def summary(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:9.1f}  [{low:.1f} .. {high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    gate = Warmgate("serve", "--port", "0", env={"WARMGATE_API_KEYS": KEY}).ready()
    engine = gate.engine().cmdline()
    uds = engine[engine.index("--host") + 1]
    try:
        with (
            httpx.Client(transport=httpx.HTTPTransport(uds=uds), base_url="http://llama-server") as direct,
            gate.client() as through,
        ):
            ask(direct)
            pairs = [(ask(direct), ask(through)) for _ in range(rounds)]
    finally:
        gate.end()
    print(f"{rounds} rounds of {QUESTION['max_tokens']} tokens, one stream; median [quartiles]")
    for name in Reading._fields:
        alone, behind = ([getattr(reading, name) for reading in side] for side in zip(*pairs, strict=True))
        ratio = statistics.median(behind) / statistics.median(alone)
        print(f"  {name:18} direct {summary(alone)}   warmgate {summary(behind)}   ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
