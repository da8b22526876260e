"""The readiness of a llama-server that somebody else runs: asked for, at a low rate."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx

from gateway.readiness import Report

if TYPE_CHECKING:
    from gateway.upstream.target import Target

ANSWER_SECONDS = 2.0
READY_POLL_SECONDS = 5.0
UNREADY_POLL_SECONDS = 0.5


class ProbedReadiness:
    """Asks `/health` again and again."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._report = Report(state="unknown", ready=False)
        self._changed = asyncio.Event()

    def report(self) -> Report:
        """Return the present reading."""
        return self._report

    async def wait_ready(self) -> Report:
        """Wait until the server answers."""
        while not self._report.ready:
            await self._changed.wait()
        return self._report

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            state = await self._ask()
            if state != self._report.state:
                self._move(state)
            await asyncio.sleep(READY_POLL_SECONDS if state == "ready" else UNREADY_POLL_SECONDS)

    async def _ask(self) -> str:
        try:
            async with self._target.control_client(ANSWER_SECONDS) as client:
                response = await client.get("/health")
        except httpx.HTTPError:
            return "unreachable"
        return "ready" if response.status_code == httpx.codes.OK else "loading"

    def _move(self, state: str) -> None:
        ready = state == "ready"
        generation = self._report.generation + ready
        self._report = Report(state=state, ready=ready, generation=generation, detail={"upstream": str(self._target)})
        self._changed.set()
        self._changed = asyncio.Event()
