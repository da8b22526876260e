"""Parking and restoring a process tree, with a driver of our own behind the real calls."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
from fake_gpu import COMPILER, FakeGpu

from server_supervisor.parking import NotParked
from snapshot.cuda import Driver, DriverTooOld, GpuError, NoGpu, OutOfMemory, ProcessState
from snapshot.gpu_state import CudaState
from snapshot.nvml import Nvml
from snapshot.process_tree import process_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="needs Linux and a C compiler")

GIB = 1 << 30
WAIT = "import sys; print(flush=True); sys.stdin.read()"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WAIT!r}, *sys.argv[1:]])"


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    fake = FakeGpu(tmp_path)
    monkeypatch.setenv("FAKE_GPU", str(tmp_path))
    return fake


@contextlib.contextmanager
def running(code: str, *arguments: str) -> Iterator[psutil.Process]:
    """Run some Python and yield its process, once it has printed a line."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield psutil.Process(process.pid)
        finally:
            for each in psutil.Process(process.pid).children():
                each.kill()
            process.kill()


@pytest.fixture
def server() -> Iterator[psutil.Process]:
    """Return a process that is on the GPU."""
    with running(WAIT, "--alias", "a") as process:
        yield process


def state_of(gpu: FakeGpu) -> CudaState:
    return CudaState(Driver(str(gpu.library)), Nvml(str(gpu.library)))


def is_stopped(process: psutil.Process) -> bool:
    return bool(process.status() == psutil.STATUS_STOPPED)


def test_a_parked_process_has_given_its_memory_back_and_a_restored_one_goes_on(
    gpu: FakeGpu, server: psutil.Process
) -> None:
    state = state_of(gpu)
    out = state.park(server.pid)
    assert (list(out), state.freed) == (["lock", "checkpoint"], (GIB, 0))
    assert is_stopped(server)
    assert state.has_room()
    back = state.restore()
    assert list(back) == ["restore", "unlock"]
    assert not is_stopped(server)
    assert gpu.calls() == ["Lock", "Checkpoint", "Restore", "Unlock"]


def test_it_can_be_parked_again(gpu: FakeGpu, server: psutil.Process) -> None:
    state = state_of(gpu)
    for _ in range(3):
        state.park(server.pid)
        state.restore()
    assert gpu.calls() == ["Lock", "Checkpoint", "Restore", "Unlock"] * 3


def test_of_a_tree_those_are_parked_that_are_on_the_gpu(gpu: FakeGpu) -> None:
    with running(PARENT, "--alias", "a") as parent:
        tree = process_tree(parent.pid)
        assert tree == [parent.pid, *(child.pid for child in parent.children())]
        state = state_of(gpu)
        state.park(parent.pid)
        assert state.freed == (2 * GIB, 0)
        assert gpu.calls() == ["Lock", "Lock", "Checkpoint", "Checkpoint"]
        state.restore()


def test_a_tree_without_anything_on_the_gpu_runs_on(gpu: FakeGpu) -> None:
    with running(WAIT) as process, pytest.raises(NotParked, match="is the engine built with CUDA"):
        state_of(gpu).park(process.pid)
    assert gpu.calls() == []


@pytest.mark.parametrize(
    ("function", "code", "calls"),
    [
        ("Lock", 999, ["Lock"]),
        ("Checkpoint", 2, ["Lock", "Checkpoint", "Unlock"]),
        ("GetState", 800, []),
    ],
)
def test_what_cannot_be_parked_runs_on(
    gpu: FakeGpu, server: psutil.Process, function: str, code: int, calls: list[str]
) -> None:
    gpu.has("refuse", f"cuCheckpointProcess{function} {code}")
    with pytest.raises(NotParked):
        state_of(gpu).park(server.pid)
    assert gpu.calls() == calls
    gpu.has_not("refuse")
    assert Driver(str(gpu.library)).state(server.pid) is ProcessState.RUNNING
    assert not is_stopped(server)


def test_what_somebody_else_has_locked_is_let_go(gpu: FakeGpu, server: psutil.Process) -> None:
    driver = Driver(str(gpu.library))
    driver.lock(server.pid)
    with pytest.raises(NotParked, match="refused cuCheckpointProcessLock"):
        state_of(gpu).park(server.pid)
    assert driver.state(server.pid) is ProcessState.RUNNING


def test_memory_that_others_took_is_seen_before_the_restore_that_would_fail(
    gpu: FakeGpu, server: psutil.Process
) -> None:
    state = state_of(gpu)
    state.park(server.pid)
    gpu.has("others", 8)
    assert not state.has_room()
    gpu.has("others", 7)
    assert state.has_room()
    gpu.has("others", 8)
    with pytest.raises(OutOfMemory, match="cuCheckpointProcessRestore"):
        state.restore()
    with pytest.raises(GpuError, match="lost its GPU state"):
        state.park(server.pid)


def test_without_a_driver_there_is_no_gpu() -> None:
    with pytest.raises(NoGpu, match=r"no-such-library\.so cannot be loaded"):
        Driver("no-such-library.so")
    with pytest.raises(NoGpu, match=r"no-such-library\.so cannot be loaded"):
        Nvml("no-such-library.so")


def test_a_driver_without_a_gpu_says_so(gpu: FakeGpu) -> None:
    gpu.has("init", 100)
    with pytest.raises(NoGpu, match="finds no GPU here"):
        Driver(str(gpu.library))


def test_a_driver_that_does_not_come_up_says_why(gpu: FakeGpu) -> None:
    gpu.has("init", 999)
    with pytest.raises(GpuError, match=r"refused cuInit: unknown error \(999\)"):
        Driver(str(gpu.library))


def test_a_driver_that_is_too_old_says_which_is_not(gpu: FakeGpu) -> None:
    gpu.has("version", 12040)
    with pytest.raises(DriverTooOld, match=r"\(CUDA 12\.4\) cannot take checkpoints: update it to 570 or newer"):
        Driver(str(gpu.library))
