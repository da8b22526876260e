"""Hundreds of faults of eight kinds, in random order and under load: each is noticed, and no client is let down.

The children, the sockets and the clients are real. Only the engine is not: it is told how to fail.
"""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import pytest
from fault_clients import Outcome, ask, client_of, load, streaming
from fault_service import LONGER_THAN_PATIENCE_SECONDS, Service, run, serving, until

from server_supervisor.states import LEGAL, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

SEED = 20261122
FAULTS_OF_A_KIND = 25
CLIENTS = 6
ENDLESS = 100_000  # tokens; minutes of them
LONG = 15  # tokens; a flood of the log begins before they have all come
SHORT_LOAD_SECONDS = 0.2


# --- the eight kinds ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ServingFault:
    """Something that happens to a server while it serves.

    Attributes:
        commit: Makes it happen, to a service that is ready.
        failure: What the supervisor has to notice, before it starts another server; None if there is no reason to.
    """

    name: str
    commit: Callable[[Service], Awaitable[None]]
    failure: str | None


@dataclass(frozen=True)
class StartFault:
    """Something that happens to a server while it starts.

    Attributes:
        flags: How the server is told of it.
        failure: What the supervisor has to notice.
        load_timeout_seconds: How long that server may take to load.
        final: There is no use in another start.
    """

    name: str
    flags: tuple[str, ...]
    failure: str
    load_timeout_seconds: float = LONGER_THAN_PATIENCE_SECONDS
    final: bool = False


@contextlib.asynccontextmanager
async def in_mid_stream(service: Service, ending: Outcome, tokens: int = ENDLESS) -> AsyncIterator[None]:
    """Do what is in the block while an answer is being streamed, and see how that ends."""
    async with streaming(service.url, tokens) as answer:
        await answer.begin()
        yield
        assert await answer.end() is ending


async def kill_it(service: Service) -> None:
    """It is killed from outside, as the kernel does when memory runs out."""
    async with in_mid_stream(service, Outcome.ERROR):
        service.signal_child(signal.SIGKILL)


async def hang_it(service: Service) -> None:
    """It stands still, with its connections open: nothing but the watchdog can find that."""
    async with in_mid_stream(service, Outcome.ERROR):
        service.hung.set()
        service.signal_child(signal.SIGSTOP)
    service.hung.clear()


async def flood_its_log(service: Service) -> None:
    """It prints megabytes, some without a line's end. That is no reason to restart it, nor for an answer to end."""
    floods = service.journaled()["flooded"]
    async with in_mid_stream(service, Outcome.ANSWERED, LONG):
        service.signal_child(signal.SIGUSR1)
    await until(lambda: service.journaled()["flooded"] == floods + 1)


async def run_it_out_of_memory(service: Service) -> None:
    """It says that memory has run out, and ends. It had worked, so that it is worth another start."""
    async with in_mid_stream(service, Outcome.ERROR):
        service.signal_child(signal.SIGUSR2)


KILLED = ServingFault("killed in mid-stream", kill_it, "killed")
HANGS = ServingFault("hangs (SIGSTOP)", hang_it, "wedged")
FLOODS = ServingFault("floods its log", flood_its_log, None)
OUT_OF_MEMORY = ServingFault("runs out of memory", run_it_out_of_memory, "out_of_memory")
LOADS_TOO_LONG = StartFault(
    "loads for too long", ("--load-until", "/never"), "load_timeout", load_timeout_seconds=SHORT_LOAD_SECONDS
)
ENDS_IN_LOAD = StartFault("ends while it loads", ("--exit-in-load",), "exited")
BIND_RACE = StartFault("loses the bind race", ("--lose-bind-race",), "address_in_use")
MODEL_VANISHES = StartFault("model file vanishes", ("--lose-model",), "model_missing", final=True)

Fault = ServingFault | StartFault
KINDS: list[Fault] = [
    KILLED,
    HANGS,
    FLOODS,
    OUT_OF_MEMORY,
    LOADS_TOO_LONG,
    ENDS_IN_LOAD,
    BIND_RACE,
    MODEL_VANISHES,
]


# --- their order ----------------------------------------------------------------------------------------------------


@dataclass
class Outage:
    """What ends one server, and what befalls those that are started after it, until one of them is ready.

    Attributes:
        cause: None for a service's own start, when there is no server yet.
        starts: One after the other.
    """

    cause: ServingFault | None
    starts: list[StartFault] = field(default_factory=list)

    @property
    def faults(self) -> list[Fault]:
        return [*([] if self.cause is None else [self.cause]), *self.starts]

    @property
    def failures(self) -> list[str]:
        """What the supervisor has to notice, in this order, no more and no less."""
        return [fault.failure for fault in self.faults if fault.failure is not None]

    @property
    def restarts(self) -> list[str]:
        """What of it has to be answered with another start."""
        return self.failures[:-1] if self.is_final else self.failures

    @property
    def is_final(self) -> bool:
        return any(start.final for start in self.starts)


def lives(faults: Iterable[Fault]) -> Iterator[list[Outage]]:
    """Cut a sequence of faults into the lives of services, and those into outages.

    A life ends with a start that no other can follow.
    """
    life = [Outage(None)]
    for fault in faults:
        if isinstance(fault, ServingFault):
            life.append(Outage(fault))
            continue
        if life[-1].cause is FLOODS:  # after which nothing is started: so it is killed for the purpose
            life.append(Outage(KILLED))
        life[-1].starts.append(fault)
        if fault.final:
            yield life
            life = [Outage(None)]
    yield life


# --- the run --------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What came of the faults of one kind.

    Attributes:
        outcomes: How the requests ended that did so after one of these faults and before the next one.
        longest_outage: The longest that one was part of, from its beginning until there was a server again, or none
            was to come. In seconds, and only for information.
    """

    injected: int = 0
    restarts: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    longest_outage: float = 0.0


class FaultRun:
    """Commits faults and keeps count."""

    def __init__(self) -> None:
        self.tallies = {kind.name: Tally() for kind in KINDS}
        self._outcomes: Counter[Outcome] = Counter()  # since the last fault
        self._chance = random.Random(SEED)

    async def run(self) -> None:
        """Commit all faults; a service that fails for good is followed by a fresh one, as a container would be."""
        faults = KINDS * FAULTS_OF_A_KIND
        self._chance.shuffle(faults)
        for life in lives(faults):
            await self._live(life)

    async def _live(self, life: list[Outage]) -> None:
        """Run one service to its end."""
        async with serving(lambda service: plan_starts(service, life[0])) as service:
            async with load(service.url, CLIENTS, self._chance, self._count):
                for outage in life:
                    await self._commit(outage, service)
            await check_account(service, life)

    def _count(self, outcome: Outcome) -> None:
        self._outcomes[outcome] += 1

    async def _commit(self, outage: Outage, service: Service) -> None:
        """Let the faults of one outage happen, and see that the supervisor does what it should, and nothing else."""
        supervisor = service.supervisor
        noticed = len(supervisor.failures)
        began = time.monotonic()
        if outage.cause is not None:
            self._outcomes = self.tallies[outage.cause.name].outcomes
            plan_starts(service, outage)
            await outage.cause.commit(service)
        if outage.starts:
            self._outcomes = self.tallies[outage.starts[-1].name].outcomes
        await until(lambda: len(supervisor.failures) >= noticed + len(outage.failures))
        await until(lambda: supervisor.status.state is (State.FAILED if outage.is_final else State.READY))
        self._book(outage, time.monotonic() - began)
        assert supervisor.failures[noticed:] == outage.failures
        assert service.children() == {supervisor.status.pid} - {None}  # one server, however many wait for it
        if outage.is_final:
            await check_refusals(service, outage.failures[-1])
        else:
            answered = self._outcomes[Outcome.ANSWERED]
            await until(lambda: self._outcomes[Outcome.ANSWERED] > answered)

    def _book(self, outage: Outage, seconds: float) -> None:
        for fault in outage.faults:
            tally = self.tallies[fault.name]
            tally.injected += 1
            tally.restarts += fault.failure in outage.restarts
            tally.longest_outage = max(tally.longest_outage, seconds)

    def _injected(self) -> int:
        return sum(tally.injected for tally in self.tallies.values())

    def table(self) -> Iterator[str]:
        """Yield the lines of the run's result."""
        titles = ("injected", "restarts", "answered", "error", "503", "longest outage")
        yield f"{self._injected()} faults, seed {SEED}"
        yield f"{'fault':22}" + "".join(f"{title:>{len(title) + 3}}" for title in titles)
        for name, tally in self.tallies.items():
            counts = [tally.injected, tally.restarts, *(tally.outcomes[outcome] for outcome in Outcome)]
            cells = [*map(str, counts), f"{tally.longest_outage:.2f} s"]
            padded = (f"{cell:>{len(title) + 3}}" for cell, title in zip(cells, titles, strict=True))
            yield f"{name:22}" + "".join(padded)


def plan_starts(service: Service, outage: Outage) -> None:
    for start in outage.starts:
        service.plan_start(start.flags, start.load_timeout_seconds)


async def check_refusals(service: Service, failure: str) -> None:
    """See that a service that has failed for good says so at once: its limits are longer than anyone's patience."""
    async with client_of(service.url) as client:
        assert await ask(client, 1, stream=True) is Outcome.UNAVAILABLE
        assert await ask(client, 1, stream=False) is Outcome.UNAVAILABLE
        health = await client.get("/health")
    assert health.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert (health.json()["state"], health.json()["last_error"]["kind"]) == ("failed", failure)


async def check_account(service: Service, life: list[Outage]) -> None:
    """See that a service's own account of its life is true, and that each failure was followed by one start."""
    supervisor = service.supervisor
    restarts = Counter(failure for outage in life for failure in outage.restarts)
    assert supervisor.status.restarts_by_kind == restarts
    assert supervisor.failures == [failure for outage in life for failure in outage.failures]
    assert supervisor.count(State.STARTING) == 1 + restarts.total()
    # who is ended because it loads for too long may not have come to write down that it was started
    assert 0 <= supervisor.count(State.STARTING) - service.journaled()["started"] <= restarts["load_timeout"]
    assert all(step.after in LEGAL[step.before] for step in supervisor.steps)
    async with client_of(service.url) as client:
        health = (await client.get("/health")).json()
    assert health["restarts_by_reason"] == restarts
    assert health["state"] == (State.FAILED if life[-1].is_final else State.READY)


@pytest.mark.timeout(300)
def test_every_fault_is_noticed_and_every_request_ends_in_a_whole_answer_or_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    faults = FaultRun()
    run(faults.run)
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(faults.table()) + "\n")
    assert all(tally.injected >= FAULTS_OF_A_KIND for tally in faults.tallies.values())
