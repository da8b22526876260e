"""The supervisor's state, as the gateway wants to know it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.readiness import Report
from server_supervisor.failures import RESTARTED
from server_supervisor.states import State

if TYPE_CHECKING:
    from server_supervisor.failures import Failure
    from server_supervisor.states import Status
    from server_supervisor.supervisor import Supervisor

RETRY_AFTER_SECONDS = {
    State.STARTING: 2,
    State.LOADING: 2,
    State.WARMING: 1,
    State.BACKOFF: 2,
    State.PARKING: 10,  # and then it has to be restored
    State.PARKED: 5,
    State.RESTORING: 5,
}
PARKED = frozenset({State.PARKING, State.PARKED, State.RESTORING})
FINAL_RETRY_AFTER_SECONDS = 30


class SupervisorReadiness:
    """Reads a supervisor for the gateway."""

    def __init__(self, supervisor: Supervisor, instance: str | None = None) -> None:
        """Read a supervisor.

        Args:
            supervisor: That one.
            instance: What tells this process from others that serve the same, for `/health`.
        """
        self._supervisor = supervisor
        self._instance = instance
        self._last: tuple[Status, Report] | None = None

    def report(self) -> Report:
        """Return the present reading."""
        return self._report_of(self._supervisor.status)

    async def wait_ready(self) -> Report:
        """Wait until the server is ready, has failed for good or is being stopped."""
        awaited = (State.READY, State.FAILED, State.DRAINING, State.STOPPED)
        return self._report_of(await self._supervisor.wait_for(*awaited))

    def _report_of(self, status: Status) -> Report:
        # Several are asked for with each request, and what is told of the history takes a while to write.
        if self._last is None or self._last[0] is not status:
            self._last = (status, _report(status, self._instance))
        return self._last[1]


def _report(status: Status, instance: str | None) -> Report:
    failure = status.last_failure
    return Report(
        state=status.state.value,
        ready=status.state is State.READY,
        parked=status.state in PARKED,
        final=status.state in (State.FAILED, State.DRAINING, State.STOPPED),
        generation=status.starts,
        retry_after=RETRY_AFTER_SECONDS.get(status.state, FINAL_RETRY_AFTER_SECONDS),
        restarts={**dict.fromkeys(RESTARTED, 0), **status.restarts_by_kind},  # from 0 on, so that the first one shows
        start=status.start,
        phases=status.phases,
        detail={
            **({} if instance is None else {"instance": instance}),
            "since": _timestamp(status.since),
            "restarts": status.restarts,
            "restarts_by_reason": dict(status.restarts_by_kind),
            "load_seconds": None if status.load_seconds is None else round(status.load_seconds, 3),
            "start": status.start,
            "phases": {name: round(seconds, 3) for name, seconds in status.phases.items()},
            "last_error": None if failure is None else _failure(failure),
            "failures": [{**_failure(each), "at": _timestamp(at)} for each, at in status.failures],
            "history": [{"state": state.value, "since": _timestamp(since)} for state, since in status.history],
        },
    )


def _failure(failure: Failure) -> dict[str, str]:
    return {"kind": failure.kind, "message": failure.message}


def _timestamp(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="milliseconds")
