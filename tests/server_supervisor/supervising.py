"""What the tests of processes share: the fake server's command line, bounded waits, a bounded event loop."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

PATIENCE_SECONDS = 20
"""After so long something has gone wrong; nothing is expected to take it."""

FAKE = Path(__file__).with_name("fake_llama_server.py")
ENV = {"LC_ALL": "C"}  # in which no interpreter on the way adds anything to the environment


def fake_server(*flags: str) -> list[str]:
    """Return the command of a fake llama-server; `fake_llama_server.main` lists the flags."""
    return [sys.executable, "-I", "-S", str(FAKE), *flags]


def eventually(condition: Callable[[], T]) -> T:
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (answer := condition()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)
    return answer


def is_gone(process: psutil.Process) -> bool:
    """Say whether it has ended. A zombie has: who inherits an orphan need not reap it."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine, for a bounded time."""

    async def bounded() -> T:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await main

    return asyncio.run(bounded())
