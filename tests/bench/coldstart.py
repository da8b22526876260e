"""How long it takes until something answers: from a command to its help, a gateway, a small model's first token.

Run by `make bench SUITE=coldstart`. All are started in turn, each as a process of its own; `python -c pass` is what
none of them can go below. Prints medians with their quartiles. The GPU's part is tests/bench/coldstart_gpu.py.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import KEY, Warmgate, clean_environment

if TYPE_CHECKING:
    from collections.abc import Callable

WARMGATE = str(Path(sys.executable).with_name("warmgate"))
KEYS = {"WARMGATE_API_KEYS": f"bench:{KEY}"}
NOWHERE = "http://127.0.0.1:9"  # a gateway alone is up before its server is
QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}


def run(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=clean_environment())
    return time.perf_counter() - began


def start_gateway() -> float:
    began = time.perf_counter()
    gate = Warmgate("gateway", "--upstream", NOWHERE, "--port", "0", env=KEYS).ready()
    try:
        httpx.get(f"{gate.url}/livez").raise_for_status()
        return time.perf_counter() - began
    finally:
        gate.end()


def serve_first_token() -> float:
    began = time.perf_counter()
    gate = Warmgate("serve", "--port", "0", env=KEYS).ready()
    try:
        with gate.client() as client:
            client.post("/v1/chat/completions", json=QUESTION).raise_for_status()
        return time.perf_counter() - began
    finally:
        gate.end()


CONTENDERS: dict[str, Callable[[], float]] = {
    "python -c pass": lambda: run(sys.executable, "-c", "pass"),
    "warmgate --help": lambda: run(WARMGATE, "--help"),
    "import gateway.application": lambda: run(sys.executable, "-c", "import gateway.application"),
    "import fastapi, httpx": lambda: run(sys.executable, "-c", "import fastapi, httpx"),
    "warmgate gateway, to /livez": start_gateway,
    "warmgate serve, to the first token": serve_first_token,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="two at least")
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for contender in CONTENDERS.values():
        contender()  # from here on all files are in the page cache
    for _ in range(rounds):
        for name, contender in CONTENDERS.items():
            seconds[name].append(contender())
    print(f"{rounds} rounds; seconds, median (quartiles)\n\n| | s |\n| --- | --- |")
    for name, values in seconds.items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"| {name} | {middle:.2f} ({low:.2f}-{high:.2f}) |")


if __name__ == "__main__":
    main()
