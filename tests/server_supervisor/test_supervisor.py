"""The policy, with real children that are told by their flags how to fail."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import signal
import socket
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from supervising import ENV, eventually, fake_server, is_gone, run

from server_supervisor import probe
from server_supervisor import supervisor as module
from server_supervisor.backoff import RestartPolicy
from server_supervisor.failures import Failure
from server_supervisor.identity import find_mismatch
from server_supervisor.parking import NOBODY, Demand, Nobody
from server_supervisor.plan import LaunchPlan, UnixEndpoint
from server_supervisor.states import LEGAL, State, Status
from server_supervisor.supervisor import Launch, Supervisor
from snapshot.warm_up import warm_up

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import httpx

SOON = RestartPolicy(first_delay_seconds=0.01, longest_delay_seconds=0.02)
NOT_SOON = RestartPolicy(first_delay_seconds=600.0, longest_delay_seconds=600.0)
NEVER = RestartPolicy(budget=0)

UNKNOWN_FLAG = "error: invalid argument: --no-mmap"


@dataclass(frozen=True)
class Place:
    """Where a test's children listen and are counted."""

    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "llama.sock"

    @property
    def starts(self) -> Path:
        return self.folder / "starts"

    def started(self) -> int:
        """Return how many children have begun to run."""
        return len(self.starts.read_text().splitlines()) if self.starts.exists() else 0

    def launch(self, *flags: str) -> Launch:
        """Return a launch of a fake server with these faults, that is restarted soon."""
        return Launch(
            argv=fake_server("--host", str(self.socket), "--starts", str(self.starts), *flags),
            env=ENV,
            endpoint=UnixEndpoint(self.socket),
            warm_up=warm_up,
            load_timeout_seconds=15.0,
            restart=SOON,
        )


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="wg-") as folder:  # short: a socket's path may have 100 characters
        yield Place(Path(folder))


class Transitions(logging.Handler):
    """What the supervisor's log says of its transitions, and what to do at one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[State, State]] = []
        self.reactions: dict[State, Callable[[], None]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "%s -> %s" and isinstance(record.args, tuple):
            before, after = (State(str(state)) for state in record.args)
            self.seen.append((before, after))
            self.reactions.get(after, lambda: None)()

    @property
    def states(self) -> list[State]:
        return [after for _, after in self.seen]


@pytest.fixture(autouse=True)
def transitions(caplog: pytest.LogCaptureFixture) -> Iterator[Transitions]:
    """Watch a test's transitions: each must be legal and begin where the one before it ended, the last one at the end.

    No child of a test's may live longer than the test.
    """
    children = psutil.Process().children()
    caplog.set_level(logging.DEBUG, "warmgate")
    handler = Transitions()
    logging.getLogger("warmgate.supervisor").addHandler(handler)
    yield handler
    logging.getLogger("warmgate.supervisor").removeHandler(handler)
    assert [step for step in handler.seen if step[1] not in LEGAL[step[0]]] == []
    assert all(one[1] is other[0] for one, other in itertools.pairwise(handler.seen))
    assert handler.states[-1:] in ([State.STOPPED], [])
    assert psutil.Process().children() == children


@contextlib.asynccontextmanager
async def running(launch: Launch, activity: Demand = NOBODY) -> AsyncIterator[Supervisor]:
    """Run a supervisor for the length of the block, and see that its stop leaves nothing."""
    supervisor = Supervisor(launch)
    owner = asyncio.create_task(supervisor.run(activity))
    try:
        yield supervisor
    finally:
        supervisor.stop()
        await owner
    assert (supervisor.status.state, supervisor.status.pid) == (State.STOPPED, None)


def child_of(supervisor: Supervisor) -> psutil.Process:
    assert supervisor.status.pid is not None
    return psutil.Process(supervisor.status.pid)


async def until_failed(launch: Launch) -> Status:
    """Run it until it has failed for good, and stop it."""
    async with running(launch) as supervisor:
        return await supervisor.wait_for(State.FAILED)


async def never_answers(_: httpx.AsyncClient) -> None:
    await asyncio.Event().wait()


# --- a good start -----------------------------------------------------------------------------------------------


def test_a_server_that_loads_and_answers_is_ready(place: Place, transitions: Transitions) -> None:
    async def main() -> None:
        async with running(place.launch("--loading-polls", "3")) as supervisor:
            status = await supervisor.wait_for(State.READY)
            assert child_of(supervisor).is_running()
            assert status.load_seconds is not None
            assert list(status.phases) == ["load", "warm_up"]
            assert status.load_seconds >= sum(status.phases.values())
            expected = Status(
                State.READY,
                status.since,
                pid=status.pid,
                starts=1,
                load_seconds=status.load_seconds,
                start="cold",
                phases=status.phases,
            )
            assert status == supervisor.status == expected

    run(main())
    assert transitions.states == [
        State.STARTING,
        State.LOADING,
        State.WARMING,
        State.READY,
        State.DRAINING,
        State.STOPPED,
    ]


def test_a_status_does_not_change_once_read(place: Place) -> None:
    async def main() -> None:
        async with running(place.launch()) as supervisor:
            before = supervisor.status
            await supervisor.wait_for(State.READY)
            assert before.state is State.STOPPED
            assert before != supervisor.status

    run(main())


@pytest.mark.parametrize("stale", ["socket", "file"])
def test_what_an_earlier_server_left_at_the_sockets_path_is_removed(place: Place, stale: str) -> None:
    if stale == "file":
        place.socket.touch()
    else:
        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(str(place.socket))

    async def main() -> None:
        async with running(place.launch()) as supervisor:
            await supervisor.wait_for(State.READY)

    run(main())
    assert place.started() == 1


def test_everyone_who_waits_for_it_is_told(place: Place) -> None:
    async def main() -> None:
        async with running(place.launch()) as supervisor:
            waiters = [supervisor.wait_for(State.READY), supervisor.wait_for(State.READY, State.FAILED)]
            assert {status.state for status in await asyncio.gather(*waiters)} == {State.READY}
            assert (await supervisor.wait_for(State.READY)).state is State.READY  # also who comes later

    run(main())


# --- deaths and restarts ----------------------------------------------------------------------------------------


def test_a_killed_server_is_replaced(place: Place, transitions: Transitions) -> None:
    async def main() -> None:
        async with running(place.launch()) as supervisor:
            first = await supervisor.wait_for(State.READY)
            child_of(supervisor).kill()
            backoff = await supervisor.wait_for(State.BACKOFF)
            second = await supervisor.wait_for(State.READY)
        killed = Failure("killed", "llama-server was ended by SIGKILL.", deterministic=False)
        assert (backoff.pid, backoff.starts, backoff.restarts, backoff.last_failure) == (None, 1, 1, killed)
        assert (second.starts, second.restarts, second.last_failure) == (2, 1, killed)
        assert second.failures == ((killed, backoff.since),)
        assert second.pid != first.pid

    run(main())
    assert place.started() == 2
    assert transitions.states.count(State.READY) == 2


def test_a_server_that_ends_by_itself_is_replaced_too(place: Place) -> None:
    async def main() -> None:
        async with running(place.launch()) as supervisor:
            await supervisor.wait_for(State.READY)
            child_of(supervisor).terminate()  # it takes this for a wish to leave, and its code is 0
            failure = (await supervisor.wait_for(State.BACKOFF)).last_failure
            await supervisor.wait_for(State.READY)
        assert failure == Failure("exited", "llama-server ended with code 0: listening.", deterministic=False)

    run(main())


def test_a_server_is_never_started_beside_what_is_left_of_the_one_before(place: Place) -> None:
    async def main() -> None:
        async with running(place.launch("--grandchild", "plain")) as supervisor:
            await supervisor.wait_for(State.READY)
            (grandchild,) = child_of(supervisor).children()
            child_of(supervisor).kill()
            await supervisor.wait_for(State.BACKOFF)
            eventually(lambda: is_gone(grandchild))

    run(main())


def test_a_start_that_would_fail_again_is_the_last(place: Place, transitions: Transitions) -> None:
    status = run(until_failed(place.launch("--print", UNKNOWN_FLAG, "--exit", "1")))
    message = "This llama-server build does not know the flag --no-mmap."
    assert status.last_failure == Failure("bad_flag", message, deterministic=True)
    assert (status.pid, status.starts, status.restarts) == (None, 0, 0)
    assert place.started() == 1
    assert State.BACKOFF not in transitions.states


def test_an_engine_that_is_not_there_is_final(place: Place) -> None:
    status = run(until_failed(replace(place.launch(), argv=[str(place.folder / "llama-server")])))
    message = f"The engine {place.folder}/llama-server cannot be run: No such file or directory."
    assert status.last_failure == Failure("engine_missing", message, deterministic=True)


def test_what_is_fatal_at_a_start_is_not_when_a_working_server_says_it(place: Place) -> None:
    async def main() -> None:
        async with running(place.launch("--print", "cudaMalloc failed: out of memory")) as supervisor:
            await supervisor.wait_for(State.READY)
            child_of(supervisor).send_signal(signal.SIGUSR1)
            failure = (await supervisor.wait_for(State.BACKOFF)).last_failure
            await supervisor.wait_for(State.READY)
        assert failure is not None
        assert (failure.kind, failure.deterministic) == ("out_of_memory", False)

    run(main())


def test_memory_that_was_enough_once_is_waited_for(place: Place) -> None:
    async def main() -> Status:
        launch = place.launch("--exit-once-served", "cudaMalloc failed: out of memory")
        async with running(launch) as supervisor:
            await supervisor.wait_for(State.READY)
            child_of(supervisor).kill()
            await supervisor.wait_for(State.BACKOFF)
            return await supervisor.wait_for(State.READY, State.FAILED)

    status = run(main())
    assert status.state is State.READY
    assert status.restarts_by_kind == {"killed": 1, "out_of_memory": 1}
    assert place.started() == 3


def test_one_crash_too_many_is_final(place: Place, transitions: Transitions) -> None:
    launch = place.launch("--print", "nobody knows why", "--exit", "3")
    status = run(until_failed(replace(launch, restart=replace(SOON, budget=2))))
    message = "llama-server ended with code 3: nobody knows why."
    assert status.last_failure == Failure("exited", message, deterministic=False)
    assert (status.starts, status.restarts) == (0, 2)
    assert place.started() == 3
    assert transitions.states.count(State.BACKOFF) == 2


def test_a_start_that_fails_once_is_tried_again(place: Place) -> None:
    async def main() -> None:
        async with running(place.launch("--only-first", "--exit", "3")) as supervisor:
            status = await supervisor.wait_for(State.READY)
        assert (status.starts, status.restarts) == (1, 1)

    run(main())
    assert place.started() == 2


# --- loading and warming ----------------------------------------------------------------------------------------


def test_a_server_that_loads_for_too_long_is_ended(place: Place) -> None:
    async def main() -> None:
        launch = replace(place.launch("--loading-polls", "-1"), load_timeout_seconds=0.3, restart=NEVER)
        async with running(launch) as supervisor:
            await supervisor.wait_for(State.LOADING)
            child = child_of(supervisor)
            status = await supervisor.wait_for(State.FAILED)
            assert not child.is_running()
        message = "llama-server did not become ready within 0.3 s: raise WARMGATE_LOAD_TIMEOUT_SECONDS?"
        assert status.last_failure == Failure("load_timeout", message, deterministic=False)

    run(main())


def test_a_warm_up_that_takes_too_long_is_a_load_that_takes_too_long(place: Place) -> None:
    launch = replace(place.launch(), load_timeout_seconds=0.3, restart=NEVER, warm_up=never_answers)
    failure = run(until_failed(launch)).last_failure
    assert failure is not None
    assert failure.kind == "load_timeout"


def test_a_server_that_loads_but_refuses_the_warm_up_has_not_started(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXIT_NOTICE_SECONDS", 0.01)
    status = run(until_failed(replace(place.launch("--answer", "500"), restart=NEVER)))
    message = (
        "llama-server loaded but did not answer: Server error '500 Whatever' "
        "for url 'http://llama-server/v1/chat/completions'."
    )
    assert status.last_failure == Failure("warm_up_failed", message, deterministic=False)
    assert status.starts == 0


def test_a_refused_warm_up_is_tried_again_with_a_new_server(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXIT_NOTICE_SECONDS", 0.01)

    async def main() -> None:
        async with running(place.launch("--only-first", "--answer", "500")) as supervisor:
            status = await supervisor.wait_for(State.READY)
        assert (status.starts, status.restarts) == (1, 1)

    run(main())
    assert place.started() == 2


def test_a_server_that_dies_of_its_warm_up_is_asked_for_its_own_reason(place: Place) -> None:
    status = run(until_failed(replace(place.launch("--abort-in-warm-up"), restart=NEVER)))
    message = 'llama-server gave up: GGML_ASSERT(false && "unknown trigger type") failed.'
    assert status.last_failure == Failure("aborted", message, deterministic=False)


def test_a_warm_up_with_a_time_limit_of_its_own_is_not_taken_for_a_slow_load(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXIT_NOTICE_SECONDS", 0.01)

    async def gives_up(_: httpx.AsyncClient) -> None:
        raise TimeoutError("no answer in 1 s")

    failure = run(until_failed(replace(place.launch(), restart=NEVER, warm_up=gives_up))).last_failure
    message = "llama-server loaded but did not answer: no answer in 1 s."
    assert failure == Failure("warm_up_failed", message, deterministic=False)


# --- stop -------------------------------------------------------------------------------------------------------


def scenario(place: Place, state: State) -> Launch:
    """Return a launch that comes to `state` and stays there."""
    match state:
        case State.LOADING:
            return place.launch("--loading-polls", "-1")
        case State.WARMING:
            return replace(place.launch(), warm_up=never_answers)
        case State.BACKOFF:
            return replace(place.launch("--exit", "3"), restart=NOT_SOON)
        case State.FAILED:
            return place.launch("--print", UNKNOWN_FLAG, "--exit", "1")
        case _:
            return place.launch()


STAYED_IN = [State.LOADING, State.WARMING, State.READY, State.BACKOFF, State.FAILED]


@pytest.mark.parametrize("state", STAYED_IN)
def test_it_can_be_stopped_while_it_is(state: State, place: Place, transitions: Transitions) -> None:
    async def main() -> None:
        async with running(scenario(place, state)) as supervisor:
            await supervisor.wait_for(state)  # the end of the block stops it

    run(main())
    assert transitions.states[-3:] == [state, State.DRAINING, State.STOPPED]
    assert place.started() <= 1  # it may be ended before it has begun to run


@pytest.mark.parametrize("state", [State.STARTING, *STAYED_IN])
def test_it_can_be_stopped_in_the_very_moment_it_becomes(state: State, place: Place, transitions: Transitions) -> None:
    async def main() -> None:
        supervisor = Supervisor(scenario(place, state))
        transitions.reactions[state] = supervisor.stop
        await supervisor.run()
        assert (supervisor.status.state, supervisor.status.pid) == (State.STOPPED, None)

    run(main())
    assert transitions.states[-3:] == [state, State.DRAINING, State.STOPPED]


@pytest.mark.parametrize("state", STAYED_IN)
def test_cancelling_its_owner_leaves_no_child_either(state: State, place: Place) -> None:
    async def main() -> None:
        supervisor = Supervisor(scenario(place, state))
        owner = asyncio.create_task(supervisor.run())
        await supervisor.wait_for(state)
        owner.cancel()
        with pytest.raises(asyncio.CancelledError):
            await owner
        assert (supervisor.status.state, supervisor.status.pid) == (State.STOPPED, None)

    run(main())


@pytest.mark.parametrize("how", ["stop", "cancel"])
def test_a_server_that_ignores_sigterm_is_killed_after_a_while(
    how: str, place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "TERM_GRACE_SECONDS", 0.1)

    async def main() -> None:
        supervisor = Supervisor(place.launch("--ignore-sigterm"))
        owner = asyncio.create_task(supervisor.run())
        await supervisor.wait_for(State.READY)
        child = child_of(supervisor)
        if how == "stop":
            supervisor.stop()
        else:
            owner.cancel()
        await asyncio.wait({owner})
        assert not child.is_running()
        assert supervisor.status.state is State.STOPPED

    run(main())
    assert "llama-server did not end within 0.1 s of SIGTERM: killing it" in caplog.messages


def test_a_second_cancellation_does_not_wait_for_politeness(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        supervisor = Supervisor(place.launch("--ignore-sigterm"))
        owner = asyncio.create_task(supervisor.run())
        await supervisor.wait_for(State.READY)
        child = child_of(supervisor)
        owner.cancel()
        await asyncio.to_thread(eventually, lambda: "got SIGTERM" in caplog.messages)
        owner.cancel()
        await asyncio.wait({owner})
        await asyncio.to_thread(eventually, lambda: not child.is_running())

    run(main())


def test_a_cancellation_that_meets_the_servers_own_end_is_not_lost(place: Place) -> None:
    cleaning_up = asyncio.Event()

    async def cleans_up_slowly(_: httpx.AsyncClient) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaning_up.set()
            await asyncio.Event().wait()

    async def main() -> None:
        supervisor = Supervisor(replace(place.launch(), warm_up=cleans_up_slowly))
        owner = asyncio.create_task(supervisor.run())
        await supervisor.wait_for(State.WARMING)
        child_of(supervisor).kill()
        await cleaning_up.wait()
        owner.cancel()
        with pytest.raises(asyncio.CancelledError):
            await owner

    run(main())
    assert place.started() == 1


def test_stopped_before_it_began_it_starts_nothing(place: Place, transitions: Transitions) -> None:
    async def main() -> None:
        async with running(place.launch()) as supervisor:
            supervisor.stop()

    run(main())
    assert transitions.states == []
    assert place.started() == 0


def test_stop_may_be_asked_for_more_than_once(place: Place, transitions: Transitions) -> None:
    async def main() -> None:
        async with running(place.launch()) as supervisor:
            await supervisor.wait_for(State.READY)
            supervisor.stop()
            supervisor.stop()
            await supervisor.wait_for(State.STOPPED)
            supervisor.stop()

    run(main())
    assert transitions.states.count(State.DRAINING) == 1


# --- drain ------------------------------------------------------------------------------------------------------


def test_a_draining_server_goes_on_until_it_is_stopped(place: Place) -> None:
    async def main() -> None:
        async with running(place.launch()) as supervisor:
            await supervisor.wait_for(State.READY)
            supervisor.begin_drain()
            assert supervisor.status.state is State.DRAINING
            async with probe.open_client(UnixEndpoint(place.socket)) as client:
                await warm_up(client)
            assert child_of(supervisor).is_running()

    run(main())


def test_a_server_that_dies_while_it_drains_is_not_replaced(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        supervisor = Supervisor(place.launch())
        owner = asyncio.create_task(supervisor.run())
        await supervisor.wait_for(State.READY)
        supervisor.begin_drain()
        child_of(supervisor).kill()
        await owner  # without a stop
        assert (supervisor.status.state, supervisor.status.pid) == (State.STOPPED, None)

    run(main())
    assert place.started() == 1
    assert "Starting it again" not in caplog.text


def test_a_drain_between_two_servers_starts_no_other(place: Place) -> None:
    async def main() -> None:
        supervisor = Supervisor(replace(place.launch("--exit", "3"), restart=NOT_SOON))
        owner = asyncio.create_task(supervisor.run())
        await supervisor.wait_for(State.BACKOFF)
        supervisor.begin_drain()
        await owner  # without a stop

    run(main())
    assert place.started() == 1


def test_a_drain_during_the_load_is_not_overtaken_by_its_success(place: Place, transitions: Transitions) -> None:
    answered = asyncio.Event()

    async def tells(client: httpx.AsyncClient) -> None:
        await warm_up(client)
        answered.set()

    async def main() -> None:
        async with running(replace(place.launch("--loading-polls", "2"), warm_up=tells)) as supervisor:
            await supervisor.wait_for(State.LOADING)
            supervisor.begin_drain()
            await answered.wait()
            assert supervisor.status.state is State.DRAINING

    run(main())
    assert State.READY not in transitions.states


# --- the wrong server, and one that hangs -----------------------------------------------------------------------


class Busy(Nobody):
    """One request is under way, and nothing has come of it since the beginning of time."""

    in_flight = 1


def test_a_server_that_came_up_as_another_one_has_not_started(place: Place) -> None:
    plan = LaunchPlan(model=Path("/models/right.gguf"), alias="a", slots=1, ctx_per_slot=256)
    launch = place.launch("--props", json.dumps({"model_path": "/models/wrong.gguf"}))

    async def main() -> Failure | None:
        return (await until_failed(replace(launch, find_mismatch=partial(find_mismatch, plan)))).last_failure

    failure = run(main())
    assert failure is not None
    assert failure.kind == "came_up_wrong"
    assert "'/models/wrong.gguf', not '/models/right.gguf'" in failure.message
    assert place.started() == 1


@pytest.mark.parametrize(("slots", "evidence"), [("still", "its slots stand still"), ("silent", "it does not answer")])
def test_a_busy_server_that_does_not_move_is_replaced(
    place: Place, monkeypatch: pytest.MonkeyPatch, slots: str, evidence: str
) -> None:
    monkeypatch.setattr(module, "interval_for", lambda _: 0.01)
    launch = replace(place.launch("--slots", slots, "--only-first"), wedge_seconds=0.05)

    async def main() -> Failure | None:
        async with running(launch, Busy()) as supervisor:
            return (await supervisor.wait_for(State.BACKOFF)).last_failure

    failure = run(main())
    assert failure is not None
    assert failure.kind == "wedged"
    assert evidence in failure.message
    assert "1 requests in flight" in failure.message


# --- the machine ------------------------------------------------------------------------------------------------


def test_every_state_has_a_way_out_and_every_way_leads_to_the_end() -> None:
    assert LEGAL.keys() == set(State)
    for state in State:
        reached = {state}
        while more := {after for before in reached for after in LEGAL[before]} - reached:
            reached |= more
        assert State.STOPPED in reached


def test_only_a_stop_leads_to_the_end() -> None:
    assert {before for before, after in LEGAL.items() if State.STOPPED in after} == {State.DRAINING}
    assert all(State.DRAINING in LEGAL[state] for state in set(State) - {State.STOPPED, State.DRAINING})
