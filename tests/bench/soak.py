"""Whether anything is left behind: many requests through a gateway in this process, and what it then holds.

Run by `make bench SUITE=soak`. Wants `cc`. All dialects, streamed and whole, with tools and refused, before the fast
upstream; every eighth client leaves in the middle of its answer. Now and then all fall silent, and memory, descriptors
and tasks are counted. Fails if descriptors or tasks grow at all, or memory by more than a few percent after the
warm-up.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import logging
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench.contenders import KEY, TOOLS, Stage

from app.http_server import bind, listening
from gateway.application import Gateway, GatewayConfig
from gateway.auth.keys import KeyRing
from gateway.generation import Limits
from gateway.upstream.probe import ProbedReadiness
from gateway.upstream.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WARM_UP: Final = 0.2
"""In this part of the run memory may grow: caches fill, the allocator finds its size."""

MOST_GROWTH: Final = 1.05
LEAVES: Final = 8
"""Every so many-th client leaves."""

SETTLE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Held:
    """What the process holds while nobody asks.

    Attributes:
        requests: After so many.
        mib: Resident memory.
        descriptors: Open ones.
        tasks: Of the event loop.
    """

    requests: int
    mib: float
    descriptors: int
    tasks: int


@dataclass(slots=True)
class Tally:
    """How the requests ended: answered, left by the client, or neither."""

    answered: int = 0
    left: int = 0
    lost: int = 0


def questions() -> Iterator[bytes]:
    """Yield requests, heads and bodies, of every kind in turn."""
    said: dict[str, Any] = {"model": "fast", "messages": [{"role": "user", "content": "tokens=12 pace=0"}]}
    kinds = [
        ("/v1/chat/completions", {**said, "stream": True}),
        ("/v1/chat/completions", said),
        ("/v1/chat/completions", {**said, "stream": True, "tools": TOOLS}),
        ("/v1/chat/completions", {**said, "temperature": "hot"}),
        ("/v1/responses", {"model": "fast", "input": "tokens=12 pace=0", "stream": True}),
        ("/v1/messages", {**said, "max_tokens": 4000, "stream": True}),
        ("/v1/messages", {**said, "max_tokens": 4000}),
    ]
    for path, fields in itertools.cycle(kinds):
        body = json.dumps(fields).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: soak\r\nauthorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        yield head.encode() + body


async def ask(port: int, question: bytes, tally: Tally, *, leaves: bool) -> None:
    """Ask over a connection of its own, and leave when the answer begins, or read it to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(question)
        head = await reader.readuntil(b"\r\n\r\n")
        if leaves:
            tally.left += 1
            return
        if b"transfer-encoding" in head:
            await reader.readuntil(b"\r\n0\r\n\r\n")
        else:
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
            await reader.readexactly(int(length.removeprefix(b"content-length: ")))
        tally.answered += 1
    except (asyncio.IncompleteReadError, ConnectionError):
        tally.lost += 1
    finally:
        writer.transport.abort()


async def ask_many(port: int, asked: Iterator[tuple[int, bytes]], tally: Tally, streams: int) -> None:
    """Ask all, so many at a time."""

    async def ask_on() -> None:
        for number, question in asked:
            await ask(port, question, tally, leaves=number % LEAVES == 0)

    async with asyncio.TaskGroup() as group:
        for _ in range(streams):
            group.create_task(ask_on())


async def held(process: psutil.Process, requests: int) -> Held:
    """Count, once the gateway has had time to end what was asked."""
    await asyncio.sleep(SETTLE_SECONDS)
    gc.collect()
    return Held(requests, process.memory_info().rss / 2**20, process.num_fds(), len(asyncio.all_tasks()))


async def soak(target: Target, requests: int, streams: int, looks: int) -> tuple[Tally, list[Held]]:
    """Ask so many requests, and count so many times in between.

    Returns:
        How they ended, and what was held: first after the warm-up.
    """
    config = GatewayConfig(keys=KeyRing({"soak": KEY}), limits=Limits(5, 30), slots=streams)
    readiness = ProbedReadiness(target)
    gateway = Gateway(config, target, readiness)
    probing = asyncio.create_task(readiness.run())
    tally, readings, process = Tally(), [], psutil.Process()
    numbered = enumerate(questions())
    with bind("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
        async with listening(gateway, listener):
            await readiness.wait_ready()
            for part in parts(requests, looks):
                await ask_many(port, itertools.islice(numbered, part), tally, streams)
                readings.append(await held(process, tally.answered + tally.left + tally.lost))
                print(readings[-1], file=sys.stderr, flush=True)
    probing.cancel()
    await asyncio.wait({probing})
    return tally, readings


def parts(requests: int, looks: int) -> list[int]:
    """Return how many requests come before each look: the warm-up, then equal parts."""
    first = round(requests * WARM_UP)
    return [first, *[(requests - first) // (looks - 1)] * (looks - 1)]


def verdict(tally: Tally, readings: Sequence[Held]) -> list[str]:
    """Return what is wrong, a sentence each."""
    first, last = readings[0], readings[-1]
    wrong = []
    if tally.lost:
        wrong.append(f"{tally.lost} answers were lost.")
    if last.descriptors > first.descriptors:
        wrong.append(f"There are {last.descriptors} descriptors instead of {first.descriptors}.")
    if last.tasks > first.tasks:
        wrong.append(f"There are {last.tasks} tasks instead of {first.tasks}.")
    if last.mib > first.mib * MOST_GROWTH:
        wrong.append(f"Memory grew from {first.mib:.1f} to {last.mib:.1f} MiB.")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--looks", type=int, default=9, help="two at least")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory(prefix="warmgate-soak-") as folder:
        stage = Stage(Path(folder))
        try:
            target = Target.parse(f"unix:{stage.upstream().socket}")
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                tally, readings = runner.run(
                    soak(target, arguments.requests, arguments.streams, arguments.looks),
                )
        finally:
            stage.end()
    print(f"{tally.answered} answered, {tally.left} left by their clients, {tally.lost} lost\n")
    print("| requests | MiB | descriptors | tasks |\n| --- | --- | --- | --- |")
    for reading in readings:
        print(f"| {reading.requests:,} | {reading.mib:.1f} | {reading.descriptors} | {reading.tasks} |")
    if wrong := verdict(tally, readings):
        sys.exit(" ".join(wrong))


if __name__ == "__main__":
    main()
