"""One server's way through a snapshot.

prepare ──> the platform takes the snapshot ──> resume ──> a supervisor adopts the server
            (Modal freezes the container)          │
                                                   └── it does not answer: started again, from its weights

Until the supervisor there is no event loop and there are no clients: what a snapshot holds is a warm server that nobody
talks to, and this object.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import random
import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING

from server_supervisor.handover import Running
from server_supervisor.phases import Phases
from snapshot.bring_up import StartFailed, bring_up
from snapshot.connections import open_connections
from snapshot.question import Unanswered, ask
from snapshot.warm_up import answer_once, warm_up_fully

if TYPE_CHECKING:
    from server_supervisor.process import ChildProcess
    from server_supervisor.supervisor import Launch

logger = logging.getLogger("warmgate.snapshot")

QUIESCE_SECONDS = 15.0
"""How long connections may take to be closed; llama-server itself gives up idle ones after 5 s."""

PROBE_SECONDS = 10.0
"""How long a restored server may take for one token; it is among the first that use the GPU again."""

KILL_SECONDS = 10.0
_POLL_SECONDS = 0.02


class StillOpen(Exception):
    """A connection did not end: a snapshot now could not be restored. The message names it."""


class Lifecycle:
    """A server that is made ready before a snapshot and made sure of after it.

    All calls belong to one thread, which must live as long as the server (see `ChildProcess`).

    Attributes:
        phases: What was done, in seconds by phase, so far.
    """

    def __init__(self, launch: Launch, *, slots: int = 1, images: bool = False) -> None:
        """Begin with nothing but a plan.

        Args:
            launch: The server to start.
            slots: How many answers the server decodes side by side.
            images: Whether it takes images.
        """
        self._launch = launch
        self._warm_up = functools.partial(warm_up_fully, slots=slots, images=images)
        self._child: ChildProcess | None = None
        self._not_ours = open_connections(os.getpid())  # the platform's own, which it sees to itself
        self._prepared: float | None = None
        self.phases = Phases()

    def prepare(self) -> None:
        """Make the server so that a snapshot can be taken now. Left out where the snapshot shall not hold a server.

        Raises:
            StartFailed: The server does not become ready.
            StillOpen: Something is connected, and stays so.
        """
        self._child = bring_up(self._launch, self.phases, self._warm_up)
        with self.phases.timed("quiesce"):
            self._wait_until_nothing_is_open()
        self._prepared = time.monotonic()

    def resume(self, *, restored: bool) -> Running | None:
        """Make this process one of its own, and make sure that its server answers.

        Args:
            restored: Whether this is a copy, brought back from the snapshot, and not the original that was frozen.

        Returns:
            The server for a supervisor to adopt; None if it cannot be started, which the supervisor will find out too.
        """
        random.seed()  # or every copy would draw the same numbers
        if restored:
            self.phases = Phases()
        elif self._prepared is not None:
            self.phases["checkpoint"] = time.monotonic() - self._prepared
        if self._child is not None and self._answers(self._child):
            return Running(self._child, "restored" if restored else "cold", self.phases)
        try:
            self._child = bring_up(self._launch, self.phases, answer_once)
        except StartFailed as error:
            logger.warning("%s", error)
            self._child = None
            return None
        return Running(self._child, "cold", self.phases)

    def end(self) -> None:
        """End the server, if nobody has."""
        if self._child is not None:
            self._child.stop()

    def _wait_until_nothing_is_open(self) -> None:
        deadline = time.monotonic() + QUIESCE_SECONDS
        while still_open := self._open():
            if time.monotonic() > deadline:
                raise StillOpen(f"No snapshot can be taken while connections are open: {', '.join(sorted(still_open))}")
            time.sleep(_POLL_SECONDS)

    def _open(self) -> frozenset[str]:
        """Return what is connected to the server, or was connected by this program since it began."""
        ours = open_connections(os.getpid()) - self._not_ours
        return ours | (open_connections(self._child.pid) if self._child else frozenset())

    def _answers(self, child: ChildProcess) -> bool:
        """Say whether a server that came out of a snapshot answers; one that does not is killed."""
        try:
            with self.phases.timed("probe"):
                ask(self._launch.endpoint, "/health", seconds=PROBE_SECONDS)
                answer_once(self._launch.endpoint, PROBE_SECONDS)
        except Unanswered as why:
            logger.warning("the server did not survive the snapshot (%s): it is started from its weights", why)
            child.kill()
            with contextlib.suppress(FutureTimeoutError):  # one that the driver holds is left to it
                child.exited.result(KILL_SECONDS)
            return False
        return True
