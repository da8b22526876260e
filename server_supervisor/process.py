"""One child process: spawn, exit, the stop ladder. Mechanism only: no event loop, no opinion about restarts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import TYPE_CHECKING

from server_supervisor.child_log import ChildLog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TERM_GRACE_SECONDS = 3.0
"""llama-server needs 0.3-0.5 s when idle. With an open non-streamed request it would hang for ever on SIGTERM,
and a second SIGTERM can deadlock it: so one SIGTERM, this long, then SIGKILL."""

LAST_LINES_SECONDS = 1.0
"""So long an ended child's output is still read. What it left behind outside its group can hold the pipe for ever."""

_LAUNCHER = Path(__file__).with_name("launcher.py")


class ChildProcess:
    """A running child in a process group of its own, all of which dies with its parent.

    Attributes:
        pid: Its process id, which is also its group's.
        log: Its last lines of output.
        exited: Resolves to the return code (negative: killed by that signal) once the child has ended, its group
            is gone and its last line has been read. Cannot be cancelled: many may wait for it.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Start `argv` with exactly the environment `env` (in the C locale Python adds its `LC_CTYPE=C.UTF-8`).

        Must be called from a thread that lives as long as the child should: on Linux the kernel ends the child
        when the thread that spawned it ends (`PR_SET_PDEATHSIG` in prctl(2)).

        Raises:
            OSError: The interpreter that launches it cannot be started.
        """
        self.log = ChildLog()
        self.exited: Future[int] = Future()
        self.exited.set_running_or_notify_cancel()
        self._terminated = False
        self._reaping = threading.Lock()  # held while the child is signalled or reaped: its id is ours until then
        self._popen, self._lifeline = _launch(argv, env)
        self.pid = self._popen.pid
        self._reader = threading.Thread(target=self._read_log, name="child-log", daemon=True)
        self._reader.start()
        threading.Thread(target=self._reap, name="child-reaper", daemon=True).start()

    def stop(self, grace_seconds: float = TERM_GRACE_SECONDS) -> int:
        """End the child, politely and then not, and return its return code. Blocks; may be called twice."""
        self.terminate()
        try:
            return self.exited.result(grace_seconds)
        except FutureTimeoutError:
            self.kill()
            return self.exited.result()

    def terminate(self) -> None:
        """Send SIGTERM to the child, if it still runs. Only the first call does: see `TERM_GRACE_SECONDS`."""
        with self._reaping, contextlib.suppress(ProcessLookupError):
            # not Popen.send_signal: it would reap the child behind _reap's back
            if self._popen.returncode is None and not self._terminated:
                self._terminated = True
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the child's whole group, if the child still runs."""
        with self._reaping:
            if self._popen.returncode is None:
                self._kill_group()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
            os.killpg(self.pid, signal.SIGKILL)

    def _read_log(self) -> None:
        assert self._popen.stdout is not None  # noqa: S101 -- for the type checker: we asked for a pipe
        self.log.drain(self._popen.stdout)

    def _reap(self) -> None:
        if hasattr(os, "waitid"):
            with contextlib.suppress(ChildProcessError):  # SIGCHLD is ignored: the kernel itself has reaped it
                # Wait without reaping: while the leader is a zombie its group's id cannot be taken by anyone else,
                # so that whatever it left behind can be killed without a race.
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
                with self._reaping:
                    self._kill_group()
                    self._popen.wait()
        returncode = self._popen.wait()
        with contextlib.suppress(BrokenPipeError):  # it ended before there was a guard
            os.write(self._lifeline, b"x")
        os.close(self._lifeline)
        self._reader.join(LAST_LINES_SECONDS)
        self.exited.set_result(returncode)


def _launch(argv: Sequence[str], env: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start the launcher. Returns it, and the pipe whose end tells its guard that we are gone."""
    guarded, lifeline = os.pipe()
    try:
        popen = subprocess.Popen(  # noqa: S603 -- argv comes from a typed plan, and there is no shell
            [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), str(guarded), *argv],
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(guarded,),
        )
    except BaseException:
        os.close(lifeline)
        raise
    finally:
        os.close(guarded)
    return popen, lifeline
