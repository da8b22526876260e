"""The policy: one task owns the child and its state, everyone else reads the status, waits for it or asks to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from server_supervisor import failures, probe
from server_supervisor.backoff import CrashBudget, RestartPolicy
from server_supervisor.parking import NOBODY, NotParked, stay_parked, until_idle
from server_supervisor.phases import Phases
from server_supervisor.plan import UnixEndpoint
from server_supervisor.process import TERM_GRACE_SECONDS, ChildProcess
from server_supervisor.states import LEGAL, State, Status
from server_supervisor.watchdog import interval_for, until_wedged

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    import httpx

    from server_supervisor.failures import Failure
    from server_supervisor.handover import Running
    from server_supervisor.parking import Demand, Parking
    from server_supervisor.plan import Endpoint

logger = logging.getLogger("warmgate.supervisor")

HEALTH_POLL_SECONDS = 0.05
EXIT_NOTICE_SECONDS = 1.0
"""A dying child closes its sockets before it can be reaped: so long we wait for its reason before a request's failure
is taken for the reason itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Everything that one start needs.

    Attributes:
        argv: The engine's command with its arguments.
        env: The child's whole environment.
        endpoint: Where it will listen.
        find_mismatch: Is given the loaded server's `/props` and says what of them was not asked for, if anything.
        warm_up: Called with a client of the loaded server before it is called ready; an exception is a failed start.
        load_timeout_seconds: From spawn to ready.
        wedge_seconds: How long a server with work to do may show no sign of life; None for ever.
        parking: When an idle server gives its GPU memory back; None for never.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    endpoint: Endpoint
    warm_up: Callable[[httpx.AsyncClient], Coroutine[Any, Any, None]]
    load_timeout_seconds: float
    find_mismatch: Callable[[Mapping[str, Any]], str | None] = lambda _: None
    wedge_seconds: float | None = None
    parking: Parking | None = None
    restart: RestartPolicy = field(default_factory=RestartPolicy)


class Unfit(Exception):
    """The server runs, but it must not go on."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Supervisor:
    """Keeps one llama-server running.

    `run` is the owner task: it starts the child, restarts it when it dies and ends when `stop` is called. All methods
    belong to one event loop, and that loop's thread must outlive the child (see `ChildProcess`).
    """

    def __init__(self, launch: Launch, running: Running | None = None) -> None:
        """Begin with nothing, or with a server.

        Args:
            launch: How one is started.
            running: One that answers already: the first to look after.
        """
        self._launch = launch
        self._adopted = running
        self._status = Status(State.STOPPED, time.time())
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._budget = CrashBudget(launch.restart)
        self._activity: Demand = NOBODY

    @property
    def status(self) -> Status:
        """The present status: an immutable reading."""
        return self._status

    async def wait_for(self, *states: State) -> Status:
        """Wait until the supervisor is in one of `states` and return that status."""
        while self._status.state not in states:
            await self._changed.wait()
        return self._status

    async def run(self, activity: Demand = NOBODY) -> None:
        """Own the child until `stop` is called or it has failed for good; then no child is left.

        Args:
            activity: What the one who sends the child its requests knows of their progress.
        """
        self._activity = activity
        try:
            while not self._stopping.is_set():
                failure = await self._one_life()
                if failure is None or not await self._back_off(failure):
                    break
            if self._status.state is State.FAILED:
                await self._stopping.wait()
        finally:
            self.begin_drain()
            self._move(State.STOPPED, pid=None)

    def begin_drain(self) -> None:
        """Say at once that nothing new should come; the child goes on with what it has."""
        self._move(State.DRAINING)

    def stop(self) -> None:
        """Ask the owner task to end the child and itself."""
        self.begin_drain()
        self._stopping.set()

    async def _one_life(self) -> Failure | None:
        """Start or adopt one child and stay with it to its end. Returns why it ended, or None if we ended it."""
        adopted, self._adopted = self._adopted, None
        child = adopted.child if adopted else self._spawn()
        exited = asyncio.ensure_future(asyncio.wrap_future(child.exited))
        try:
            failure = await self._attend(child, exited, adopted)
            return None if self._stopping.is_set() else failure
        finally:
            await self._end(child, exited)

    def _spawn(self) -> ChildProcess:
        self._move(State.STARTING)
        if isinstance(self._launch.endpoint, UnixEndpoint):
            # llama-server leaves its socket behind and then refuses to bind over it
            self._launch.endpoint.path.unlink(missing_ok=True)
        child = ChildProcess(self._launch.argv, self._launch.env)
        logger.info("started llama-server, pid %d", child.pid)
        return child

    async def _attend(
        self, child: ChildProcess, exited: asyncio.Future[int], adopted: Running | None
    ) -> Failure | None:
        """Bring one child up and watch it. Returns why it ended or must end, or None if a stop was asked for."""
        async with probe.open_client(self._launch.endpoint) as client:
            if adopted is not None:
                logger.info("llama-server is ready (%s), pid %d", adopted.start, child.pid)
                self._be_ready(pid=child.pid, start=adopted.start, phases=adopted.phases)
            elif (failure := await self._make_ready(client, child, exited)) or self._stopping.is_set():
                return failure
            try:
                await self._race(self._serve(client, child), exited)
            except Unfit as unfit:
                child.kill()  # SIGTERM is for a server that moves
                return unfit.failure
        return self._classify(child, exited, was_ready=True)

    async def _make_ready(
        self, client: httpx.AsyncClient, child: ChildProcess, exited: asyncio.Future[int]
    ) -> Failure | None:
        """Wait until a child that was started is ready. Returns why it is not, or None also if a stop was asked for."""
        began = time.monotonic()
        phases = Phases()
        self._move(State.LOADING, pid=child.pid)
        limit = self._launch.load_timeout_seconds
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                if not await self._race(self._bring_up(client, phases), exited):
                    return self._classify(child, exited, was_ready=False)
        except Unfit as unfit:
            return unfit.failure
        except Exception as error:  # noqa: BLE001 -- whatever a warm-up raises, the start has failed
            if deadline.expired():
                return failures.load_timeout(limit)
            await asyncio.wait({exited}, timeout=EXIT_NOTICE_SECONDS)
            return self._classify(child, exited, was_ready=False) or failures.warm_up_failed(error)
        seconds = time.monotonic() - began
        logger.info("llama-server is ready after %.1f s", seconds)
        self._be_ready(load_seconds=seconds, start="cold", phases=phases)
        return None

    def _be_ready(self, **changes: Any) -> None:
        self._move(State.READY, starts=self._status.starts + 1, **changes)

    async def _bring_up(self, client: httpx.AsyncClient, phases: Phases) -> None:
        """Wait until the server has answered a request as the one that was meant.

        Raises:
            Unfit: It is another one.
            Exception: Whatever a warm-up raises.
        """
        with phases.timed("load"):
            await _until_healthy(client)
        if mismatch := self._launch.find_mismatch(await probe.props(client)):
            raise Unfit(failures.came_up_wrong(mismatch))
        self._move(State.WARMING)
        with phases.timed("warm_up"):
            await self._launch.warm_up(client)

    async def _serve(self, client: httpx.AsyncClient, child: ChildProcess) -> None:
        """Watch a server that answers, and park it whenever it is idle for long. Does not return.

        Raises:
            Unfit: It hangs, or lost what it had on the GPU.
        """
        parking = self._launch.parking
        while True:
            await self._watch(client, parking)
            if self._status.state is not State.READY:
                await _never()  # it is being drained
            if parking is None or self._activity.in_flight:
                continue
            self._move(State.PARKING)  # with no await since the last look, so that no request can be on its way
            try:
                phases = await stay_parked(parking.gpu, child.pid, self._activity, self._move)
            except asyncio.CancelledError:
                child.kill()  # SIGTERM hangs while the driver holds it
                raise
            except NotParked as reason:
                logger.warning("llama-server keeps its GPU memory: %s", reason)
                parking = None
                self._move(State.READY)
            except Exception as error:
                raise Unfit(failures.gpu_state_lost(error)) from error
            else:
                self._move(State.READY, start="unparked", phases=phases)

    async def _watch(self, client: httpx.AsyncClient, parking: Parking | None) -> None:
        """Return when the server has been idle for so long that it may be parked.

        Raises:
            Unfit: It hangs.
        """
        wedged = asyncio.ensure_future(self._until_wedged(client))
        idle = until_idle(self._activity, parking.after_seconds) if parking else _never()
        try:
            if not await self._race(idle, wedged):
                raise Unfit(failures.wedged(await wedged))
        finally:
            wedged.cancel()
            await asyncio.gather(wedged, return_exceptions=True)

    async def _until_wedged(self, client: httpx.AsyncClient) -> str:
        if (limit := self._launch.wedge_seconds) is None:
            await _never()
        return await until_wedged(self._activity, lambda: probe.slot_positions(client), limit, interval_for(limit))

    async def _race(self, work: Coroutine[Any, Any, object], other: asyncio.Future[Any]) -> bool:
        """Do `work` unless the other one is done or a stop is asked for first. Returns whether it was done."""
        task: asyncio.Future[Any] = asyncio.ensure_future(work)
        stopping: asyncio.Future[Any] = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({task, stopping, other}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task  # raises what it raised
                return True
            return False
        finally:
            for pending in (task, stopping):
                pending.cancel()
            # gather, because it swallows what they raise but not a cancellation of our own
            await asyncio.gather(task, stopping, return_exceptions=True)

    def _classify(self, child: ChildProcess, exited: asyncio.Future[int], *, was_ready: bool) -> Failure | None:
        if not exited.done():
            return None  # we were asked to stop
        return failures.classify_exit(exited.result(), child.log.tail(), was_ready=was_ready)

    async def _back_off(self, failure: Failure) -> bool:
        """Wait before the next start. Returns False when there shall be none."""
        if self._status.state is State.DRAINING:
            return False
        # Memory that was enough once may be short for a moment, while the last child's is being freed.
        transient = failure.kind == "out_of_memory" and self._status.starts > 0
        final = failure.deterministic and not transient
        delay = None if final else self._budget.record(time.monotonic())
        if delay is None:
            logger.error("%s", failure.message)
            self._move(State.FAILED, pid=None, failure=failure)
            return False
        logger.warning("%s Starting it again in %.1f s.", failure.message, delay)
        counts = self._status.restarts_by_kind
        counts = {**counts, failure.kind: counts.get(failure.kind, 0) + 1}
        self._move(State.BACKOFF, pid=None, failure=failure, restarts_by_kind=counts)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self.wait_for(State.DRAINING)
        return self._status.state is State.BACKOFF

    async def _end(self, child: ChildProcess, exited: asyncio.Future[int]) -> None:
        """Climb the stop ladder, also when this task is being cancelled: no child outlives its owner."""
        if exited.done():
            return
        child.terminate()
        try:
            async with asyncio.timeout(TERM_GRACE_SECONDS):
                await asyncio.shield(exited)
        except TimeoutError:
            logger.warning("llama-server did not end within %g s of SIGTERM: killing it", TERM_GRACE_SECONDS)
        finally:
            child.kill()
        await exited
        logger.info("llama-server has ended")

    def _move(self, state: State, **changes: Any) -> None:
        current = self._status.state
        if state is current or (current is State.DRAINING and state is not State.STOPPED):
            return  # a stop overtakes whatever the start or the restart was about to say
        if state not in LEGAL[current]:
            if current is State.STOPPED:
                return  # stopped before it was started
            raise AssertionError(f"illegal transition {current} -> {state}")
        self._status = self._status.moved(state, **changes)
        logger.debug("%s -> %s", current, state)
        self._changed.set()
        self._changed = asyncio.Event()


async def _never() -> NoReturn:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody resolves it")


async def _until_healthy(client: httpx.AsyncClient) -> None:
    while not await probe.is_healthy(client):  # noqa: ASYNC110 -- the server has no way to call us
        await asyncio.sleep(HEALTH_POLL_SECONDS)
