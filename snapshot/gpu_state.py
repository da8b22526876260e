"""What a process tree has on its GPUs, parked in host memory and restored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server_supervisor.parking import NotParked
from server_supervisor.phases import Phases
from snapshot.cuda import Driver, GpuError, NothingOnGpu, ProcessState
from snapshot.nvml import Nvml
from snapshot.process_tree import process_tree

if TYPE_CHECKING:
    from collections.abc import Sequence


class CudaState:
    """The GPU state of one process tree after the other; each is restored before the next is parked.

    The processes live on, with their sockets and threads, but nothing may make them use the GPU before they are
    restored: llama-server dies of a completion that comes meanwhile, while its `/health` and `/metrics` answer.

    Attributes:
        freed: How many bytes the last parking gave back, on each GPU. What others took or freed in the same seconds
            counts as well.
    """

    def __init__(self, driver: Driver | None = None, nvml: Nvml | None = None) -> None:
        """Take over the driver, or load this machine's.

        Raises:
            GpuError: There is no GPU, or its driver cannot do this.
        """
        self._driver = driver or Driver()
        self._nvml = nvml or Nvml()
        self._parked: Sequence[int] = ()
        self.freed: tuple[int, ...] = ()

    def park(self, pid: int) -> Phases:
        """Move the GPU memory of `pid` and its descendants to host memory. They must have no request in flight.

        Returns:
            How long the phases `lock` and `checkpoint` took.

        Raises:
            NotParked: It was not possible, and they run on as before.
            GpuError: They cannot be used any more.
        """
        phases = Phases()
        try:
            holders = self._holders(pid)
            free = self._nvml.free_bytes()
        except GpuError as error:
            raise NotParked(str(error)) from error
        try:
            with phases.timed("lock"):
                for holder in holders:
                    self._driver.lock(holder)
            with phases.timed("checkpoint"):
                for holder in holders:
                    self._driver.checkpoint(holder)
        except GpuError as error:
            self._let_go(holders)
            raise NotParked(str(error)) from error
        self._parked = holders
        self.freed = tuple(max(0, now - then) for now, then in zip(self._nvml.free_bytes(), free, strict=True))
        return phases

    def has_room(self) -> bool:
        """Say whether as much is free on each GPU as was given back.

        A restore without enough memory fails, and cannot be tried again.

        Raises:
            GpuError: It cannot be known.
        """
        return all(free >= freed for free, freed in zip(self._nvml.free_bytes(), self.freed, strict=True))

    def restore(self) -> Phases:
        """Move what was parked back onto the GPUs.

        Returns:
            How long the phases `restore` and `unlock` took.

        Raises:
            GpuError: The processes cannot be used any more: kill them and start again.
        """
        phases = Phases()
        with phases.timed("restore"):
            for holder in self._parked:
                self._driver.restore(holder)
        with phases.timed("unlock"):
            for holder in self._parked:
                self._driver.unlock(holder)
        self._parked = ()
        return phases

    def _holders(self, root: int) -> list[int]:
        """Return the processes of a tree that have something on a GPU."""
        holders = [pid for pid in process_tree(root) if self._driver.state(pid) is not None]
        if not holders:
            raise NothingOnGpu(f"Process {root} has nothing on a GPU: is the engine built with CUDA?")
        return holders

    def _let_go(self, holders: Sequence[int]) -> None:
        """Bring them back to where they were before a parking that failed halfway.

        Raises:
            GpuError: One of them cannot be brought back.
        """
        for holder in holders:
            state = self._driver.state(holder)
            if state is ProcessState.CHECKPOINTED:
                self._driver.restore(holder)
            if state in (ProcessState.CHECKPOINTED, ProcessState.LOCKED):
                self._driver.unlock(holder)
            elif state is not ProcessState.RUNNING:
                raise GpuError(f"Process {holder} lost its GPU state in a checkpoint that failed.")
