"""The supervisor's states.

stopped ──start──> starting ──spawned──> loading ──healthy──> warming ──answered──> ready
                      ^                     │                    │                    │
                      │                     └────────────────────┴───── exit ─────────┤
                      │                                                               v
                      └───────────────── delay over ───────────────────────────── backoff
                                                                                      │
from any state: ──stop──> draining ──ended──> stopped        failed <── no use in trying again
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server_supervisor.failures import Failure


class State(enum.StrEnum):
    """Where the child is in its life."""

    STOPPED = "stopped"
    STARTING = "starting"
    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    DRAINING = "draining"
    BACKOFF = "backoff"
    FAILED = "failed"


LEGAL: dict[State, frozenset[State]] = {
    State.STOPPED: frozenset({State.STARTING}),
    State.STARTING: frozenset({State.LOADING, State.BACKOFF, State.FAILED, State.DRAINING}),
    State.LOADING: frozenset({State.WARMING, State.BACKOFF, State.FAILED, State.DRAINING}),
    State.WARMING: frozenset({State.READY, State.BACKOFF, State.FAILED, State.DRAINING}),
    State.READY: frozenset({State.BACKOFF, State.FAILED, State.DRAINING}),
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
        restarts: How often a child had to be started again.
        last_failure: Why the last child ended, or None.
        load_seconds: How long the last start took from spawn to ready, or None.
    """

    state: State
    since: float
    pid: int | None = None
    starts: int = 0
    restarts: int = 0
    last_failure: Failure | None = field(default=None)
    load_seconds: float | None = None
