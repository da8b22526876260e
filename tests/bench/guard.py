"""What it costs to look at tool calls when all are valid: answers with `x-warmgate-tool-calls: off`, and without it.

Run by `make bench SUITE=guard`. The contract model streams a long text with a tool declared, and a long valid call; the
two ways take turns. Prints medians with their quartiles and the ratio of the medians; ratios are what to quote.
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
    import httpx

OFF = {"x-warmgate-tool-calls": "off"}
ASKED = {"text": ("[scene: count]", "get_weather"), "call": ("[scene: long-call]", "write_file")}


class Reading(NamedTuple):
    first_piece_ms: float
    tokens_per_second: float


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


def summary(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:9.1f}  [{low:.1f} .. {high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="two at least")
    rounds = parser.parse_args().rounds
    gate = Warmgate("serve", "--port", "0", *SERVED, env={"WARMGATE_API_KEYS": f"bench:{KEY}"}).ready()
    pairs = {}
    try:
        with gate.client() as client:
            for kind in ASKED:
                ask(client, kind, OFF)  # the prompt is in the server's cache from here on
                pairs[kind] = [(ask(client, kind, OFF), ask(client, kind, {})) for _ in range(rounds)]
    finally:
        gate.end()
    print(f"{rounds} rounds, one stream; median [quartiles]")
    for kind, readings in pairs.items():
        for name in Reading._fields:
            off, on = ([getattr(reading, name) for reading in side] for side in zip(*readings, strict=True))
            ratio = statistics.median(on) / statistics.median(off)
            print(f"  {kind}: {name:18} off {summary(off)}   on {summary(on)}   ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
