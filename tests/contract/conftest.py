"""One llama-server and one `warmgate` for all contract tests, both with the contract model."""

from __future__ import annotations

import queue
import re
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING

import pytest
from conftest import END_SECONDS, KEY, START_SECONDS, Warmgate, clean_environment

from contract.scenes import MODEL, SERVED
from contract.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

# Anywhere in a line: the engine and its library write to the same log, and one may cut in on the other.
READY = re.compile(r"xllamacpp: listening on (http://\S+), SIGTERM stops")


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """Return the real llama-server, without anything before it.

    The same module is started as `warmgate serve` starts, from the same wheel. Its template is the model's own.
    """
    argv = [sys.executable, "-P", "-m", "server_supervisor.xllamacpp_server", "--model", str(MODEL), "--port", "0"]
    argv += ["--ctx-size", "32768", "--parallel", "2", "--threads", "1", "--offline"]
    process = subprocess.Popen(argv, env=clean_environment(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    log: list[str] = []
    address: queue.SimpleQueue[str] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process.stderr, log, address))
    reader.start()
    try:
        url = address.get(timeout=START_SECONDS)
        assert url, "llama-server ended before it listened:\n" + "".join(log)
        client = Upstream(url, log)
        yield client
        client.close()
    finally:
        process.kill()
        process.wait(END_SECONDS)
        reader.join()


def _read(lines: IO[str], log: list[str], address: queue.SimpleQueue[str]) -> None:
    """Read the log to its end, or the server would block on a full pipe, and tell the address that is in it."""
    with lines:
        for line in lines:
            log.append(line)
            if found := READY.search(line):
                address.put(found[1])
    address.put("")


@pytest.fixture(scope="session")
def contract_warmgate() -> Iterator[Warmgate]:
    """Return one `warmgate serve` with the contract model, for all tests that leave it as they found it."""
    yield from _serving()


@pytest.fixture(scope="session")
def engine_sampled_warmgate() -> Iterator[Warmgate]:
    """Return another, whose answers are sampled in llama-server's own graph, wherever they can be."""
    yield from _serving(WARMGATE_BACKEND_SAMPLING="on")


def _serving(**env: str) -> Iterator[Warmgate]:
    argv = ["serve", "--port", "0", *SERVED, "--set", "slots=4"]
    process = Warmgate(*argv, env={"WARMGATE_API_KEYS": f"tests:{KEY}"} | env)
    try:
        yield process.ready()
    finally:
        process.process.kill()
        process.process.wait(END_SECONDS)
