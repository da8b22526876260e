"""Prometheus, its tools and its Pushgateway: `apt install prometheus prometheus-pushgateway` on Debian."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import subprocess
import threading
from typing import IO, TYPE_CHECKING

import pytest
from conftest import END_SECONDS, START_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUIRED = "TESTS_NEED_PROMETHEUS"
"""Set where the packages are known to be there, as in CI: what would be skipped without them then fails."""

_LISTENING = re.compile(r'msg="Listening on" address=(\S+)')


def tool(name: str) -> str:
    """Return the path of a program, the calling test skipped if there is none."""
    path = shutil.which(name)
    if path is None and os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set, but {name} is not installed")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@contextlib.contextmanager
def listening(name: str, *args: str) -> Iterator[str]:
    """Run one of Prometheus' servers on a free port. Yields its URL."""
    argv = [tool(name), "--web.listen-address=127.0.0.1:0", *args]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    address: queue.SimpleQueue[str] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process.stderr, address))
    reader.start()
    try:
        yield f"http://{address.get(timeout=START_SECONDS)}"
    finally:
        process.kill()
        process.wait(END_SECONDS)
        reader.join()


def _read(lines: IO[str], address: queue.SimpleQueue[str]) -> None:
    """Read the log to its end, or the server would block on a full pipe, and tell the address that is in it."""
    with lines:
        for line in lines:
            if found := _LISTENING.search(line):
                address.put(found[1])
