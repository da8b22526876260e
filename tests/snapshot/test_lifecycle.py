"""A server's way through a snapshot, with real children that fail as they are told."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from supervising import ENV, fake_server, is_gone, run

from server_supervisor.backoff import RestartPolicy
from server_supervisor.plan import UnixEndpoint
from server_supervisor.states import State
from server_supervisor.supervisor import Launch, Supervisor
from snapshot import lifecycle as module
from snapshot.bring_up import StartFailed
from snapshot.connections import open_connections
from snapshot.lifecycle import Lifecycle, StillOpen
from snapshot.warm_up import warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from server_supervisor.process import ChildProcess

KILLED = -signal.SIGKILL


@pytest.fixture
def begin() -> Iterator[Callable[..., Lifecycle]]:
    """Return a function that begins with a fake server with such faults; whatever was started is ended."""
    begun = []
    with tempfile.TemporaryDirectory(prefix="wg-") as folder:

        def begin(*flags: str) -> Lifecycle:
            begun.append(Lifecycle(launch(Path(folder), *flags), slots=2))
            return begun[-1]

        yield begin
        for lifecycle in begun:
            lifecycle.end()


def launch(folder: Path, *flags: str) -> Launch:
    path = folder / "llama.sock"
    return Launch(
        argv=fake_server("--host", str(path), "--starts", str(folder / "starts"), *flags),
        env=ENV,
        endpoint=UnixEndpoint(path),
        warm_up=warm_up,
        load_timeout_seconds=15.0,
        restart=RestartPolicy(first_delay_seconds=0.01),
    )


def child_of(lifecycle: Lifecycle) -> ChildProcess:
    assert lifecycle._child is not None
    return lifecycle._child


def children() -> list[psutil.Process]:
    """Return the fake servers; a server that other tests share may run beside them."""
    found = (child for child in psutil.Process().children() if not is_gone(child))
    return [child for child in found if any("fake_llama_server" in argument for argument in child.cmdline())]


def test_a_copy_has_the_server_of_its_original_and_only_the_probe_took_time(begin: Callable[..., Lifecycle]) -> None:
    lifecycle = begin("--loading-polls", "2")
    lifecycle.prepare()
    assert list(lifecycle.phases) == ["load", "warm_up", "quiesce"]
    assert open_connections(child_of(lifecycle).pid) == frozenset()
    prepared = child_of(lifecycle)
    running = lifecycle.resume(restored=True)
    assert running is not None
    assert (running.child, running.start, list(running.phases)) == (prepared, "restored", ["probe"])


def test_the_original_that_goes_on_tells_of_all_that_it_did(begin: Callable[..., Lifecycle]) -> None:
    lifecycle = begin()
    lifecycle.prepare()
    running = lifecycle.resume(restored=False)
    assert running is not None
    assert running.start == "cold"
    assert list(running.phases) == ["load", "warm_up", "quiesce", "checkpoint", "probe"]


def test_a_server_that_was_lost_with_the_snapshot_is_started_from_its_weights(begin: Callable[..., Lifecycle]) -> None:
    lifecycle = begin()
    lifecycle.prepare()
    lost = child_of(lifecycle)
    lost.kill()
    running = lifecycle.resume(restored=True)
    assert lost.exited.result() == KILLED
    assert running is not None
    assert (running.start, list(running.phases)) == ("cold", ["probe", "load", "warm_up"])
    assert not running.child.exited.done()


def test_so_is_one_that_came_back_and_does_not_answer(
    begin: Callable[..., Lifecycle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.1)
    lifecycle = begin()
    lifecycle.prepare()
    hung = child_of(lifecycle)
    os.kill(hung.pid, signal.SIGSTOP)
    running = lifecycle.resume(restored=True)
    assert hung.exited.result() == KILLED
    assert running is not None
    assert running.start == "cold"
    assert children() == [psutil.Process(running.child.pid)]


def test_one_that_cannot_be_started_again_is_left_to_the_supervisor(
    begin: Callable[..., Lifecycle], caplog: pytest.LogCaptureFixture
) -> None:
    lifecycle = begin("--exit-once-served", "7")
    lifecycle.prepare()
    child_of(lifecycle).kill()
    assert lifecycle.resume(restored=True) is None
    assert "llama-server" in caplog.text
    assert children() == []


def test_without_a_snapshot_the_server_is_started_cold(begin: Callable[..., Lifecycle]) -> None:
    running = begin().resume(restored=False)
    assert running is not None
    assert (running.start, list(running.phases)) == ("cold", ["load", "warm_up"])


@pytest.mark.parametrize(
    "fault", [("--exit", "1"), ("--answer", "500"), ("--abort-in-warm-up",)], ids=lambda fault: fault[0]
)
def test_nothing_is_frozen_that_does_not_work(begin: Callable[..., Lifecycle], fault: tuple[str, ...]) -> None:
    with pytest.raises(StartFailed, match="llama-server"):
        begin(*fault).prepare()
    assert children() == []


def test_nothing_is_frozen_while_a_connection_is_open(
    begin: Callable[..., Lifecycle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUIESCE_SECONDS", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        lifecycle = begin()
        with socket.create_connection(listener.getsockname()), pytest.raises(StillOpen, match="tcp"):
            lifecycle.prepare()
        assert children() == [psutil.Process(child_of(lifecycle).pid)]


def test_what_was_open_before_is_the_platforms(begin: Callable[..., Lifecycle]) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0],
    ):
        begin().prepare()


def test_copies_draw_different_numbers(begin: Callable[..., Lifecycle]) -> None:
    lifecycle = begin()
    lifecycle.prepare()
    frozen = random.getstate()
    drawn = set()
    for _ in range(2):
        random.setstate(frozen)
        lifecycle.resume(restored=True)
        drawn.add(random.random())
    random.setstate(frozen)
    assert len(drawn | {random.random()}) == 3


def test_a_supervisor_goes_on_with_the_server_it_is_given_and_starts_the_next_itself(
    begin: Callable[..., Lifecycle],
) -> None:
    lifecycle = begin()
    lifecycle.prepare()
    running = lifecycle.resume(restored=True)
    assert running is not None

    async def main() -> None:
        supervisor = Supervisor(lifecycle._launch, running)
        owner = asyncio.create_task(supervisor.run())
        status = await supervisor.wait_for(State.READY)
        assert [state for state, _ in status.history] == [State.READY]
        assert (status.pid, status.starts, status.start) == (running.child.pid, 1, "restored")
        running.child.kill()
        await supervisor.wait_for(State.BACKOFF)
        status = await supervisor.wait_for(State.READY)
        assert (status.starts, status.start, list(status.phases)) == (2, "cold", ["load", "warm_up"])
        supervisor.stop()
        await owner

    run(main())
    assert children() == []
