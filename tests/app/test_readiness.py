"""What the gateway is told of the supervisor's state."""

from __future__ import annotations

import pytest

from app.readiness import SupervisorReadiness
from server_supervisor.failures import RESTARTED, Failure
from server_supervisor.states import State, Status


class FixedSupervisor:
    """A supervisor whose status does not change."""

    def __init__(self, status: Status) -> None:
        self.status = status


def test_a_failure_and_the_way_to_it_are_told_in_full() -> None:
    history = ((State.STARTING, 0.0), (State.BACKOFF, 1.5))
    failure = Failure("killed", "llama-server was ended by SIGKILL.", deterministic=False)
    status = Status(
        State.BACKOFF,
        1.5,
        starts=1,
        restarts_by_kind={"killed": 2, "wedged": 1},
        failures=((failure, 1.5),),
        load_seconds=0.12345,
        phases={"load": 0.1, "warm_up": 0.02345},
        history=history,
    )
    report = SupervisorReadiness(FixedSupervisor(status)).report()  # type: ignore[arg-type]
    assert (report.state, report.ready, report.final, report.generation) == ("backoff", False, False, 1)
    assert {reason: count for reason, count in report.restarts.items() if count} == {"killed": 2, "wedged": 1}
    assert set(report.restarts) == set(RESTARTED)
    assert (report.start, report.phases) == ("cold", {"load": 0.1, "warm_up": 0.02345})
    assert report.detail == {
        "since": "1970-01-01T00:00:01.500+00:00",
        "restarts": 3,
        "restarts_by_reason": {"killed": 2, "wedged": 1},
        "load_seconds": 0.123,
        "start": "cold",
        "phases": {"load": 0.1, "warm_up": 0.023},
        "last_error": {"kind": "killed", "message": "llama-server was ended by SIGKILL."},
        "failures": [
            {
                "kind": "killed",
                "message": "llama-server was ended by SIGKILL.",
                "at": "1970-01-01T00:00:01.500+00:00",
            }
        ],
        "history": [
            {"state": "starting", "since": "1970-01-01T00:00:00.000+00:00"},
            {"state": "backoff", "since": "1970-01-01T00:00:01.500+00:00"},
        ],
    }


@pytest.mark.parametrize("state", State)
def test_only_a_ready_server_is_ready_and_only_what_needs_help_is_final(state: State) -> None:
    report = SupervisorReadiness(FixedSupervisor(Status(state, 0.0))).report()  # type: ignore[arg-type]
    assert report.ready == (state is State.READY)
    assert report.final == (state in {State.FAILED, State.DRAINING, State.STOPPED})
    assert report.retry_after >= 1
