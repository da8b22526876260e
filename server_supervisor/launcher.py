"""Runs in the child between fork and exec, so that nothing of it outlives the supervisor, and becomes llama-server.

A file to be run and not a module to be imported: `preexec_fn` is unsafe in a process with threads, so the few lines
that must run in the child get an interpreter of their own (15 ms): `python -I -S launcher.py PARENT LIFELINE ARGV...`.
"""

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
MOST_DESCRIPTORS = 64  # far more than are open here


def die_with_parent(parent: int) -> None:
    """Be killed as soon as the thread that spawned us ends, also when it was killed with SIGKILL (Linux only)."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os.kill(os.getpid(), signal.SIGKILL)


def guard_group(lifeline: int) -> None:
    """Leave a process behind that kills our whole group, children of ours included, once the supervisor is gone.

    It waits on the supervisor's pipe: a byte says that there is nothing left to guard, its end that the supervisor
    was killed.
    """
    group = os.getpgid(0)
    if os.fork():
        os.wait()
        os.close(lifeline)
        return
    os.setsid()
    if os.fork():  # the guard must be nobody's child here: llama-server would never reap it
        os._exit(0)
    os.closerange(0, lifeline)  # above all the log's pipe, which ends when its last writer does
    os.closerange(lifeline + 1, MOST_DESCRIPTORS)
    if not os.read(lifeline, 1):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    if sys.platform == "linux":
        die_with_parent(int(sys.argv[1]))
    guard_group(int(sys.argv[2]))
    try:
        os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606 -- no shell is what is wanted
    except OSError as error:
        sys.exit(f"cannot run {sys.argv[3]}: {error.strerror}")
