"""The supervisor's states.

stopped ──start──> starting ──spawned──> loading ──healthy──> warming ──answered──> ready <──restored── restoring
                      ^                     │                    │                  │   │                   ^
                      │                     │                    │                  │ idle               wanted
                      │                     │                    │                  │   v                   │
                      │                     │                    │                  │ parking ──given──> parked
                      │                     └────────────────────┴───── exit ───────┤   back                │
                      │                                                             v                       │
                      └───────────────── delay over ───────────────────────────── backoff <───── exit ──────┘
                                                                                    │
one that is ready already: stopped ──adopt──> ready
from any state: ──stop──> draining ──ended──> stopped        failed <── no use in trying again

A parked server has given its GPU memory back; it could not be parked: parking ──> ready.
"""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server_supervisor.failures import Failure

Start: TypeAlias = Literal["cold", "restored", "unparked"]

KEPT_TRANSITIONS = 32
KEPT_FAILURES = 16


class State(enum.StrEnum):
    """Where the child is in its life."""

    STOPPED = "stopped"
    STARTING = "starting"
    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    PARKING = "parking"
    PARKED = "parked"
    RESTORING = "restoring"
    DRAINING = "draining"
    BACKOFF = "backoff"
    FAILED = "failed"


LEGAL: dict[State, frozenset[State]] = {
    State.STOPPED: frozenset({State.STARTING, State.READY}),
    State.STARTING: frozenset({State.LOADING, State.BACKOFF, State.FAILED, State.DRAINING}),
    State.LOADING: frozenset({State.WARMING, State.BACKOFF, State.FAILED, State.DRAINING}),
    State.WARMING: frozenset({State.READY, State.BACKOFF, State.FAILED, State.DRAINING}),
    State.READY: frozenset({State.PARKING, State.BACKOFF, State.FAILED, State.DRAINING}),
    State.PARKING: frozenset({State.PARKED, State.READY, State.BACKOFF, State.FAILED, State.DRAINING}),
    State.PARKED: frozenset({State.RESTORING, State.BACKOFF, State.FAILED, State.DRAINING}),
    State.RESTORING: frozenset({State.READY, State.BACKOFF, State.FAILED, State.DRAINING}),
    State.BACKOFF: frozenset({State.STARTING, State.DRAINING}),
    State.FAILED: frozenset({State.DRAINING}),
    State.DRAINING: frozenset({State.STOPPED}),
}


@dataclass(frozen=True, slots=True)
class Status:
    """What the supervisor says of itself: an immutable reading, replaced at each transition.

    Attributes:
        state: The state.
        since: Unix time, in seconds, of the transition into it.
        pid: The child's process id, or None when there is none.
        starts: How often a child became ready; it tells one child from the next.
        restarts_by_kind: How often a child had to be started again, for each kind of failure.
        failures: Why the last children ended, oldest first, and when in Unix time.
        history: The last transitions, oldest first: the state, and when it was entered in Unix time.
        load_seconds: How long the last start took from spawn to ready, or None.
        start: Where the last server that became ready came from: its weights, a snapshot, or parked in host memory.
        phases: How long that took, in seconds by phase, in their order.
    """

    state: State
    since: float
    pid: int | None = None
    starts: int = 0
    restarts_by_kind: Mapping[str, int] = field(default_factory=dict)
    failures: tuple[tuple[Failure, float], ...] = ()
    load_seconds: float | None = None
    start: Start = "cold"
    phases: Mapping[str, float] = field(default_factory=dict)
    history: tuple[tuple[State, float], ...] = field(default=(), compare=False)

    @property
    def restarts(self) -> int:
        """How often a child had to be started again."""
        return sum(self.restarts_by_kind.values())

    @property
    def last_failure(self) -> Failure | None:
        """Why the last child ended, or None."""
        return self.failures[-1][0] if self.failures else None

    def moved(self, state: State, *, failure: Failure | None = None, **changes: Any) -> Status:
        """Return the status after a transition that happens now, and that a failure may have led to."""
        now = time.time()
        failures = self.failures if failure is None else (*self.failures, (failure, now))[-KEPT_FAILURES:]
        history = (*self.history, (state, now))[-KEPT_TRANSITIONS:]
        return replace(self, state=state, since=now, failures=failures, history=history, **changes)
