"""Real children. What they are told to do is in `fake_llama_server.py`."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from supervising import ENV, PATIENCE_SECONDS, eventually, fake_server, is_gone

from server_supervisor import process
from server_supervisor.child_log import KEPT_LINES, LONGEST_LINE
from server_supervisor.process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Spawn = Callable[..., ChildProcess]

SHORT_GRACE_SECONDS = 0.05
LAUNCHER = Path(process.__file__).with_name("launcher.py")

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
with_waitid = pytest.mark.skipif(not hasattr(os, "waitid"), reason="without waitid a group cannot be cleared safely")

# A process of its own that starts what its arguments say, and tells when that has begun to run
PARENT = """
import signal, sys, time
from server_supervisor.process import ChildProcess
child = ChildProcess(sys.argv[1:], {})
while not child.log.tail():
    time.sleep(0.002)
print(child.pid, flush=True)
signal.pause()
"""

# The same, in a process that inherited `trap '' CHLD` from a shell
PARENT_THAT_IGNORES_SIGCHLD = """
import signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from server_supervisor.process import ChildProcess
child = ChildProcess(sys.argv[1:], {})
print(child.exited.result())
"""


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Return a function that starts a fake server; what it started is ended with the test."""
    children: list[ChildProcess] = []

    def start(*flags: str, argv: list[str] | None = None, env: dict[str, str] | None = None) -> ChildProcess:
        children.append(ChildProcess(argv or fake_server(*flags), env or ENV))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.exited.result(PATIENCE_SECONDS)


def exit_code(child: ChildProcess) -> int:
    return child.exited.result(PATIENCE_SECONDS)


def line(child: ChildProcess, start: str) -> str:
    """Wait for a line of the child's that begins so, and return the rest of it."""

    def find() -> list[str]:
        return [text for text in child.log.tail() if text.startswith(start)]

    return eventually(find)[0].removeprefix(start).strip()


def grandchild(child: ChildProcess) -> psutil.Process:
    return psutil.Process(int(line(child, "grandchild ")))


# --- output and exit code ---------------------------------------------------------------------------------------


def test_its_last_words_and_its_exit_code_are_there_once_it_has_ended(spawn: Spawn) -> None:
    child = spawn("--print", "one\ntwo", "--exit", "7")
    assert exit_code(child) == 7
    assert child.log.tail() == ["one", "two"]


def test_what_it_says_can_be_read_while_it_runs(spawn: Spawn) -> None:
    child = spawn("--print", "hello")
    line(child, "hello")
    assert not child.exited.done()


def test_a_child_ended_by_a_signal_reports_the_signals_negative(spawn: Spawn) -> None:
    child = spawn()
    line(child, "waiting")
    os.kill(child.pid, signal.SIGUSR1)
    assert exit_code(child) == -signal.SIGUSR1


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _: None, "No such file or directory"),
        (lambda path: path.mkdir(), "Permission denied"),
        (lambda path: path.write_bytes(b"\x7fELF damaged"), "Permission denied"),
        (lambda path: (path.write_bytes(b"\x7fELF damaged"), path.chmod(0o755)), "Exec format error"),
    ],
    ids=["missing", "folder", "not executable", "damaged"],
)
def test_an_engine_that_cannot_be_run_is_reported_like_one_that_failed(
    make: Callable[[Path], object], reason: str, tmp_path: Path, spawn: Spawn
) -> None:
    engine = tmp_path / "llama-server"
    make(engine)
    child = spawn(argv=[str(engine), "--model", "m.gguf"])
    assert exit_code(child) == 1
    assert child.log.tail() == [f"cannot run {engine}: {reason}"]


def test_a_flood_without_newlines_neither_blocks_it_nor_grows(spawn: Spawn) -> None:
    child = spawn("--flood", str(20_000_000))
    line(child, "flooded")
    assert len(child.log.tail()) <= KEPT_LINES
    assert max(map(len, child.log.tail())) <= LONGEST_LINE


# --- what it gets -----------------------------------------------------------------------------------------------


def test_it_gets_exactly_the_environment_that_it_was_given(spawn: Spawn) -> None:
    env = {"LC_ALL": "C", "PATH": os.environ["PATH"], "CUDA_VISIBLE_DEVICES": "1"}
    child = spawn(argv=["env"], env=env)
    exit_code(child)
    assert dict(text.split("=", 1) for text in child.log.tail()) == env


def test_it_gets_the_arguments_as_they_are_without_a_shell(spawn: Spawn) -> None:
    awkward = "$HOME `id` 'x' \"y\" * ; &"
    child = spawn("--print", awkward, "--exit", "0")
    exit_code(child)
    assert child.log.tail() == [awkward]


def test_it_has_nothing_to_read_and_none_of_our_files(spawn: Spawn, tmp_path: Path) -> None:
    program = "import os, sys; print(repr(sys.stdin.read()), sorted(map(int, os.listdir('/dev/fd')))[:-1])"
    with (tmp_path / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        child = spawn(argv=[sys.executable, "-I", "-S", "-c", program])
        exit_code(child)
    assert child.log.tail() == ["'' [0, 1, 2]"]


def test_it_is_out_of_reach_of_our_terminals_signals(spawn: Spawn) -> None:
    child = spawn()
    line(child, "waiting")
    assert os.getsid(child.pid) == os.getpgid(child.pid) == child.pid


# --- the stop ladder --------------------------------------------------------------------------------------------


def test_stop_is_polite_first(spawn: Spawn) -> None:
    child = spawn()
    line(child, "waiting")
    assert child.stop() == -signal.SIGTERM


def test_stop_kills_what_ignores_sigterm_and_all_of_its_group(spawn: Spawn) -> None:
    child = spawn("--ignore-sigterm", "--grandchild", "plain")
    other = grandchild(child)
    line(child, "waiting")
    assert child.stop(SHORT_GRACE_SECONDS) == -signal.SIGKILL
    assert "got SIGTERM" in child.log.tail()
    eventually(lambda: is_gone(other))


def test_stop_may_be_called_again(spawn: Spawn) -> None:
    child = spawn()
    line(child, "waiting")
    assert child.stop() == child.stop() == -signal.SIGTERM


def test_stop_of_one_that_has_ended_by_itself_reports_its_own_code(spawn: Spawn) -> None:
    child = spawn("--exit", "3")
    exit_code(child)
    child.kill()
    assert child.stop() == 3


def test_no_child_gets_a_second_sigterm(spawn: Spawn) -> None:
    child = spawn("--ignore-sigterm")
    line(child, "waiting")
    child.terminate()
    line(child, "got SIGTERM")
    child.terminate()
    os.kill(child.pid, signal.SIGCONT)  # a later number: were both waiting, SIGTERM would come first
    line(child, "got SIGCONT")
    assert child.log.tail().count("got SIGTERM") == 1


@with_waitid
def test_a_stop_that_meets_the_childs_own_end_still_learns_its_code_and_clears_its_group(
    spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_look = threading.Event()
    waitid = os.waitid

    def late_waitid(kind: int, number: int, options: int) -> object:
        may_look.wait(PATIENCE_SECONDS)
        return waitid(kind, number, options)

    monkeypatch.setattr(os, "waitid", late_waitid)
    child = spawn("--grandchild", "plain", "--exit", "3")
    other = grandchild(child)
    eventually(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    child.terminate()  # must not reap it behind the reaper's back
    may_look.set()
    assert exit_code(child) == 3
    eventually(lambda: is_gone(other))


# --- what it leaves behind --------------------------------------------------------------------------------------


@with_waitid
def test_a_child_that_ends_leaves_no_grandchild(spawn: Spawn) -> None:
    child = spawn("--grandchild", "plain")
    other = grandchild(child)
    line(child, "waiting")
    os.kill(child.pid, signal.SIGKILL)
    assert exit_code(child) == -signal.SIGKILL
    eventually(lambda: is_gone(other))


@with_waitid
def test_a_grandchild_out_of_reach_that_holds_the_pipe_does_not_hold_up_the_exit_code(
    spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LAST_LINES_SECONDS", SHORT_GRACE_SECONDS)
    child = spawn("--grandchild", "escaped")
    other = grandchild(child)
    try:
        line(child, "waiting")
        assert child.stop() == -signal.SIGTERM
        assert not is_gone(other)
    finally:
        other.kill()
        eventually(lambda: not child._reader.is_alive())


def test_children_that_have_ended_hold_no_file_descriptors_and_no_threads(spawn: Spawn) -> None:
    us = psutil.Process()
    exit_code(spawn(argv=["true"]))
    before = us.num_fds(), threading.active_count()
    for _ in range(20):
        exit_code(spawn(argv=["true"]))
    eventually(lambda: threading.active_count() <= before[1])  # the reaper's last act is to say so
    assert us.num_fds() <= before[0]


# --- who waits for it -------------------------------------------------------------------------------------------


def test_a_waiter_that_is_cancelled_does_not_take_the_exit_code_from_the_others(spawn: Spawn) -> None:
    child = spawn()

    async def wait_and_leave() -> None:
        waiter = asyncio.wrap_future(child.exited)
        waiter.cancel()
        await asyncio.sleep(0)

    asyncio.run(wait_and_leave())
    assert child.stop() == -signal.SIGTERM


# --- the parent's end -------------------------------------------------------------------------------------------


@linux_only
def test_it_dies_with_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, *fake_server()], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.cmdline() == fake_server()  # the launcher has done its work
        parent.kill()
        eventually(lambda: is_gone(child))


def test_a_parent_that_is_killed_takes_the_grandchildren_with_it() -> None:
    command = [sys.executable, "-c", PARENT, *fake_server("--grandchild", "plain")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        (grandchild,) = eventually(child.children)
        parent.kill()
        eventually(lambda: is_gone(child) and is_gone(grandchild))


def test_nothing_guards_a_child_that_has_ended(spawn: Spawn) -> None:
    assert exit_code(spawn("--print", "guarded", "--exit", "0")) == 0
    eventually(
        lambda: not any("guarded" in (other.info["cmdline"] or ()) for other in psutil.process_iter(["cmdline"]))
    )


@linux_only
def test_it_does_not_even_begin_when_its_parent_is_already_dead() -> None:
    not_its_parent = str(os.getppid())
    begun = subprocess.run(
        [sys.executable, "-I", "-S", LAUNCHER, not_its_parent, "0", "echo", "begun"],
        stdout=subprocess.PIPE,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (begun.returncode, begun.stdout) == (-signal.SIGKILL, b"")


@linux_only
def test_it_ends_with_the_thread_that_started_it(spawn: Spawn) -> None:
    children: list[ChildProcess] = []
    may_end = threading.Event()

    def start_and_end() -> None:
        children.append(spawn())
        may_end.wait(PATIENCE_SECONDS)

    starter = threading.Thread(target=start_and_end)
    starter.start()
    line(eventually(lambda: children)[0], "waiting")
    may_end.set()
    starter.join()
    assert exit_code(children[0]) == -signal.SIGKILL


@with_waitid
def test_its_end_is_noticed_even_where_sigchld_is_ignored() -> None:
    noticed = subprocess.run(
        [sys.executable, "-c", PARENT_THAT_IGNORES_SIGCHLD, *fake_server("--exit", "3")],
        stdout=subprocess.PIPE,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert noticed.stdout == b"0\n"  # the kernel keeps no code of it; Popen says 0
