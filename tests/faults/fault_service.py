"""warmgate in one process, put together as `app/serve.py` does it, before a llama-server that can be told to fail."""

from __future__ import annotations

import asyncio
import contextlib
import os
import py_compile
import sys
import tempfile
import time
from collections import Counter, deque
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import uvloop

from app.http_server import base_url, bind, listening
from app.readiness import SupervisorReadiness
from gateway.application import Gateway, GatewayConfig
from gateway.auth.keys import KeyRing
from gateway.generation import Limits
from gateway.upstream.target import Target
from server_supervisor import probe
from server_supervisor import supervisor as policy
from server_supervisor.backoff import RestartPolicy
from server_supervisor.environment import child_environment
from server_supervisor.identity import find_mismatch
from server_supervisor.plan import LaunchPlan, UnixEndpoint
from server_supervisor.states import State
from server_supervisor.supervisor import Launch, Supervisor
from snapshot.warm_up import warm_up

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    import httpx

    from server_supervisor.failures import Failure

KEY = "sk-test-4d1f0c"
SLOTS = 4
FAULTY = Path(__file__).with_name("faulty_llama_server.py")

PATIENCE_SECONDS = 60.0
"""After so long something has gone wrong; nothing is expected to take it, on the slowest machine."""

LONGER_THAN_PATIENCE_SECONDS = 2 * PATIENCE_SECONDS
"""For limits of the gateway and the supervisor that shall not be what ends a wait."""

DRAIN_SECONDS = 5.0
HEALTH_POLL_SECONDS = 0.02
WEDGE_SECONDS = 0.15
LOOK_INTERVAL_SECONDS = 0.02
LOOK_SECONDS = 0.02  # how long an answer is waited for that cannot come
SOON = RestartPolicy(first_delay_seconds=0.005, longest_delay_seconds=0.01, budget=1000)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it on the event loop that the program runs on, and see that it leaves no file and no socket open."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop):
        pass  # the first loop of a process opens a pipe for signals, which libuv never closes
    process = psutil.Process()
    before = process.num_fds()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.num_fds() != before:
        assert time.monotonic() < deadline, f"{process.num_fds()} descriptors are open, not {before} as before"
        time.sleep(0.005)


async def until(condition: Callable[[], bool]) -> None:
    """Ask until it is so, for a bounded time."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 -- for what has no event to wait for
            await asyncio.sleep(0.005)


@dataclass(frozen=True)
class Step:
    """One transition of the supervisor's."""

    before: State
    after: State
    failure: Failure | None
    at: float  # by time.monotonic


class WatchedSupervisor(Supervisor):
    """The real one. It keeps its transitions, and its next starts can be given launches of their own.

    Attributes:
        steps: All transitions so far.
        next_launches: What the next starts shall be given, one each, before it goes on with the usual launch.
    """

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self.usual_launch = launch
        self.next_launches: deque[Launch] = deque()
        self.steps: list[Step] = []

    async def _one_life(self) -> Failure | None:
        self._launch = self.next_launches.popleft() if self.next_launches else self.usual_launch
        return await super()._one_life()

    def _move(self, state: State, **changes: Any) -> None:
        before = self.status
        super()._move(state, **changes)
        if self.status is not before:
            self.steps.append(Step(before.state, self.status.state, self.status.last_failure, time.monotonic()))

    def count(self, state: State) -> int:
        """Return how often it has come to `state`."""
        return sum(step.after is state for step in self.steps)

    @property
    def failures(self) -> list[str]:
        """The kinds of all failures it has noticed so far, in their order."""
        ends = (State.BACKOFF, State.FAILED)
        return [step.failure.kind for step in self.steps if step.after in ends and step.failure is not None]


class Service:
    """One warmgate, from its start to its end.

    Attributes:
        url: Where it listens.
        folder: What its children are told to use, and nothing else uses.
        hung: Set while the child is stopped with SIGSTOP.
        vain_looks: How often the watchdog has looked at it and got no answer.
    """

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self.folder = folder
        self.model = folder / "model.gguf"
        self.journal = folder / "journal"
        self.socket = folder / "llama.sock"
        self.hung = asyncio.Event()
        self.vain_looks = 0
        self._others = {child.pid for child in psutil.Process().children()}
        engine = folder / "llama-server.pyc"
        py_compile.compile(str(FAULTY), cfile=str(engine), doraise=True)
        self.model.write_bytes(b"GGUF")
        self.journal.touch()
        plan = LaunchPlan(model=self.model, alias="faulty", slots=SLOTS, ctx_per_slot=2048)
        endpoint = UnixEndpoint(self.socket)
        command = [sys.executable, "-I", "-S", str(engine), "--journal", str(self.journal)]
        self.supervisor = WatchedSupervisor(
            Launch(
                argv=[*command, *plan.argv(endpoint)],
                env=child_environment(os.environ),
                endpoint=endpoint,
                find_mismatch=partial(find_mismatch, plan),
                warm_up=warm_up,
                load_timeout_seconds=LONGER_THAN_PATIENCE_SECONDS,
                wedge_seconds=WEDGE_SECONDS,
                restart=SOON,
            )
        )
        limits = Limits(ready_seconds=LONGER_THAN_PATIENCE_SECONDS, silence_seconds=LONGER_THAN_PATIENCE_SECONDS)
        config = GatewayConfig(
            keys=KeyRing({"tests": KEY}),
            limits=limits,
            slots=SLOTS,
            max_wait_seconds=LONGER_THAN_PATIENCE_SECONDS,
        )
        self.gateway = Gateway(config, Target.parse(endpoint.url), SupervisorReadiness(self.supervisor))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen and serve for the length of the block."""
        with pytest.MonkeyPatch.context() as patch, bind("127.0.0.1", 0) as listener:
            patch.setattr(policy, "HEALTH_POLL_SECONDS", HEALTH_POLL_SECONDS)
            patch.setattr(policy, "interval_for", lambda _: LOOK_INTERVAL_SECONDS)
            patch.setattr(probe, "slot_positions", partial(self._look, probe.slot_positions))
            self.url = base_url(listener)
            async with asyncio.TaskGroup() as owner, listening(self.gateway, listener):
                owner.create_task(self.supervisor.run(self.gateway.activity))
                try:
                    yield
                finally:
                    self.supervisor.begin_drain()
                    await self.gateway.drain(DRAIN_SECONDS)
                    self.supervisor.stop()

    async def _look(
        self, look: Callable[[httpx.AsyncClient], Coroutine[Any, Any, object | None]], client: httpx.AsyncClient
    ) -> object | None:
        """Look at the slots for the watchdog, without patience for a child that hangs.

        One that does not hang has as long as ever: on a loaded machine it may need it.
        """
        looking, hung = asyncio.create_task(look(client)), asyncio.create_task(self.hung.wait())
        try:
            await asyncio.wait({looking, hung}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({looking}, timeout=LOOK_SECONDS)
            if looking.done():
                return looking.result()
            self.vain_looks += 1
            return None
        finally:
            looking.cancel()
            hung.cancel()
            await asyncio.wait({looking, hung})

    def signal_child(self, number: signal.Signals) -> None:
        """Send a signal to the child that serves now."""
        assert self.supervisor.status.pid is not None
        os.kill(self.supervisor.status.pid, number)

    def plan_start(self, flags: Sequence[str], load_timeout_seconds: float) -> None:
        """Give a start to come, the next one for which nothing is planned yet, these flags and so long to load."""
        usual = self.supervisor.usual_launch
        argv = [*usual.argv, *flags]
        self.supervisor.next_launches.append(replace(usual, argv=argv, load_timeout_seconds=load_timeout_seconds))

    async def ready(self) -> None:
        """Wait until the server answers."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.supervisor.wait_for(State.READY)

    def journaled(self) -> Counter[str]:
        """Return what the children have written down, and how often."""
        return Counter(line.split()[0] for line in self.journal.read_text().splitlines())

    def children(self) -> set[int]:
        """Return the process ids of the children that this process has got since."""
        return {child.pid for child in psutil.Process().children()} - self._others

    def processes(self) -> list[psutil.Process]:
        """Return what runs anywhere on this machine on behalf of this service: servers, and those that guard them."""
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if any(str(self.folder) in word for word in process.info["cmdline"] or ())
        ]


@contextlib.asynccontextmanager
async def serving(prepare: Callable[[Service], None] = lambda _: None) -> AsyncIterator[Service]:
    """Run a service in a folder of its own, and see that its end leaves nothing behind.

    Args:
        prepare: What to do before its first start.
    """
    with tempfile.TemporaryDirectory(prefix="wg-") as folder:  # short: a socket's path may have 100 characters
        service = Service(Path(folder))
        prepare(service)
        async with service.running():
            yield service
        assert service.supervisor.status.state is State.STOPPED
        await until(lambda: service.processes() == [])
        assert service.children() == set()
        assert {file for file in service.folder.iterdir() if file.is_socket()} <= {service.socket}
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
