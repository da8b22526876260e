"""A server that nobody uses gives its GPU memory back, and takes it again when somebody does.

What makes that safe is a count that the gateway keeps: a request counts itself before it asks whether the server is
ready. So a server with nothing under way can be called parked without a race, both on the same event loop: who has
counted keeps it from being parked, and who counts later finds it parked and waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from server_supervisor.phases import Phases
from server_supervisor.states import State
from server_supervisor.watchdog import Activity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

logger = logging.getLogger("warmgate.supervisor")

ROOM_POLL_SECONDS = 0.5


class NotParked(Exception):
    """The server could not be parked, and runs on as before. The message is a sentence."""


class Demand(Activity, Protocol):
    """The same one's word on whether the server is used at all."""

    @property
    def idle_since(self) -> float:
        """When the last request ended, by `time.monotonic`."""
        ...

    async def wait_idle(self) -> None:
        """Wait until there is no request."""
        ...

    async def wait_busy(self) -> None:
        """Wait until there is one."""
        ...


class Nobody:
    """Sends no requests."""

    in_flight = 0
    last_progress = 0.0
    idle_since = 0.0

    async def wait_idle(self) -> None:
        """Return at once."""

    async def wait_busy(self) -> None:
        """Wait for ever."""
        await asyncio.get_running_loop().create_future()


NOBODY = Nobody()


class GpuState(Protocol):
    """Moves what a process tree has on its GPUs to host memory and back. The methods block."""

    def park(self, pid: int) -> Mapping[str, float]:
        """Move it to host memory. Returns seconds by phase.

        Raises:
            NotParked: It was not possible, and the processes run on.
            Exception: They cannot be used any more.
        """
        ...

    def has_room(self) -> bool:
        """Say whether the GPUs have room for what was parked."""
        ...

    def restore(self) -> Mapping[str, float]:
        """Move it back. Returns seconds by phase.

        Raises:
            Exception: The processes cannot be used any more.
        """
        ...


@dataclass(frozen=True, slots=True)
class Moves:
    """How often a server was parked and brought back, by how that ended.

    Attributes:
        parkings: `ok`, `refused` (it runs on) or `failed` (it cannot be used any more).
        unparkings: `ok` or `failed`.
    """

    parkings: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("ok", "refused", "failed"), 0))
    unparkings: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("ok", "failed"), 0))


class CountedGpu:
    """A `GpuState` whose moves are counted when they have ended."""

    def __init__(self, gpu: GpuState, moves: Moves) -> None:
        self._gpu = gpu
        self._moves = moves

    def park(self, pid: int) -> Mapping[str, float]:
        """Move it to host memory."""
        with _counted(self._moves.parkings):
            return self._gpu.park(pid)

    def has_room(self) -> bool:
        """Say whether there is room for what was parked."""
        return self._gpu.has_room()

    def restore(self) -> Mapping[str, float]:
        """Move it back."""
        with _counted(self._moves.unparkings):
            return self._gpu.restore()


@contextlib.contextmanager
def _counted(counts: dict[str, int]) -> Iterator[None]:
    outcome = "failed"
    try:
        yield
        outcome = "ok"
    except NotParked:
        outcome = "refused"
        raise
    finally:
        counts[outcome] += 1


@dataclass(frozen=True, slots=True)
class Parking:
    """When a server is parked, and how.

    Attributes:
        after_seconds: How long it must have been idle.
        gpu: What it has on the GPU.
    """

    after_seconds: float
    gpu: GpuState


async def until_idle(demand: Demand, seconds: float) -> None:
    """Return once nothing has been under way for `seconds` from now on."""
    began = time.monotonic()
    while True:
        await demand.wait_idle()
        left = max(began, demand.idle_since) + seconds - time.monotonic()
        if left <= 0:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                await demand.wait_busy()


async def stay_parked(gpu: GpuState, pid: int, demand: Demand, move: Callable[[State], None]) -> Phases:
    """Park a server that is called parking, until somebody wants it.

    Args:
        gpu: What it has on the GPU.
        pid: The server.
        demand: Whether somebody wants it.
        move: Is told what state it is in.

    Returns:
        How long it took to park and to restore, in seconds by phase.

    Raises:
        NotParked: It was not possible, and it runs on.
        Exception: It cannot be used any more.
    """
    phases = Phases(await asyncio.to_thread(gpu.park, pid))
    move(State.PARKED)
    await _until_wanted(gpu, demand)
    move(State.RESTORING)
    phases.update(await asyncio.to_thread(gpu.restore))
    return phases


async def _until_wanted(gpu: GpuState, demand: Demand) -> None:
    """Return once a request waits for the server, and there is room for it."""
    told = False
    while True:
        await demand.wait_busy()
        if await asyncio.to_thread(gpu.has_room):
            return
        if not told:
            logger.warning("Others use the GPU memory that llama-server gave back: it stays parked until it is free.")
            told = True
        await asyncio.sleep(ROOM_POLL_SECONDS)
