"""Runs in the child between fork and exec: asks the kernel to end it when its parent dies, then becomes llama-server.

A file to be run and not a module to be imported: `preexec_fn` is unsafe in a process with threads, so the few lines
that must run in the child get an interpreter of their own (`python -I -S launcher.py PARENT_PID ARGV...`, 15 ms).
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Be killed as soon as the thread that spawned us ends, also when it was killed with SIGKILL (Linux only)."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if sys.platform == "linux":
        die_with_parent(int(sys.argv[1]))
    try:
        os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 -- no shell is what is wanted
    except OSError as error:
        sys.exit(f"cannot run {sys.argv[2]}: {error.strerror}")
