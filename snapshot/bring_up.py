"""A server made ready without an event loop: a snapshot would hold it, and whatever waits in it."""

from __future__ import annotations

import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING

from server_supervisor import failures
from server_supervisor.plan import UnixEndpoint
from server_supervisor.process import ChildProcess
from snapshot.question import Unanswered, ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from server_supervisor.failures import Failure
    from server_supervisor.phases import Phases
    from server_supervisor.plan import Endpoint
    from server_supervisor.supervisor import Launch

HEALTH_POLL_SECONDS = 0.05
EXIT_NOTICE_SECONDS = 1.0  # a dying child closes its sockets before it can be reaped


class StartFailed(Exception):
    """There is no ready server. The message says why, for a person who can act on it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def bring_up(launch: Launch, phases: Phases, warm_up: Callable[[Endpoint], None]) -> ChildProcess:
    """Start a server, and return it once it has answered as the one that was meant.

    Args:
        launch: What to start.
        phases: Gets what loading and warming up took.
        warm_up: Called with where the loaded server listens.

    Raises:
        StartFailed: It did not become ready; then no child is left.
    """
    if isinstance(launch.endpoint, UnixEndpoint):
        launch.endpoint.path.unlink(missing_ok=True)  # llama-server leaves it behind, and then refuses to bind over it
    child = ChildProcess(launch.argv, launch.env)
    try:
        _make_ready(launch, child, phases, warm_up)
    except BaseException:
        child.stop()
        raise
    return child


def _make_ready(launch: Launch, child: ChildProcess, phases: Phases, warm_up: Callable[[Endpoint], None]) -> None:
    with phases.timed("load"):
        _wait_until_healthy(launch, child)
    try:
        if mismatch := launch.find_mismatch(ask(launch.endpoint, "/props")):
            raise StartFailed(failures.came_up_wrong(mismatch))
        with phases.timed("warm_up"):
            warm_up(launch.endpoint)
    except Unanswered as error:
        raise StartFailed(_why_it_ended(child) or failures.warm_up_failed(error)) from error


def _wait_until_healthy(launch: Launch, child: ChildProcess) -> None:
    deadline = time.monotonic() + launch.load_timeout_seconds
    while not _is_healthy(launch.endpoint):
        if child.exited.done():
            raise StartFailed(failures.classify_exit(child.exited.result(), child.log.tail(), was_ready=False))
        if time.monotonic() > deadline:
            raise StartFailed(failures.load_timeout(launch.load_timeout_seconds))
        time.sleep(HEALTH_POLL_SECONDS)


def _is_healthy(endpoint: Endpoint) -> bool:
    """Ask `/health`: False while it loads (503) or does not listen yet."""
    try:
        ask(endpoint, "/health")
    except Unanswered:
        return False
    return True


def _why_it_ended(child: ChildProcess) -> Failure | None:
    try:
        return failures.classify_exit(child.exited.result(EXIT_NOTICE_SECONDS), child.log.tail(), was_ready=False)
    except FutureTimeoutError:
        return None
