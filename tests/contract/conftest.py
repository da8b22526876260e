"""One llama-server and one `warmgate` for all contract tests, both with the contract model."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from conftest import END_SECONDS, KEY, Warmgate, clean_environment

from contract.scenes import MODEL
from contract.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

READY = "listening on "


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """Return the real llama-server, without anything before it.

    The same module is started as `warmgate serve` starts, from the same wheel. Its template is the model's own.
    """
    argv = [sys.executable, "-P", "-m", "server_supervisor.xllamacpp_server", "--model", str(MODEL), "--port", "0"]
    argv += ["--ctx-size", "32768", "--parallel", "2", "--threads", "1", "--offline"]
    process = subprocess.Popen(argv, env=clean_environment(), stderr=subprocess.PIPE, text=True)
    log: list[str] = []
    try:
        client = Upstream(_address(process, log), log)
        yield client
        client.close()
    finally:
        process.kill()
        process.wait(END_SECONDS)


def _address(process: subprocess.Popen[str], log: list[str]) -> str:
    """Wait until it listens, and go on reading its log, or it would block on a full pipe."""
    assert process.stderr is not None
    for line in process.stderr:
        log.append(line)
        if line.startswith("xllamacpp: " + READY):
            threading.Thread(target=_drain, args=(process.stderr, log), daemon=True).start()
            return line.partition(READY)[2].partition(",")[0]
    raise AssertionError("llama-server ended before it listened:\n" + "".join(log))


def _drain(lines: Any, log: list[str]) -> None:
    with lines:
        log.extend(lines)


@pytest.fixture(scope="session")
def contract_warmgate() -> Iterator[Warmgate]:
    """Return one `warmgate serve` with the contract model, for all tests that leave it as they found it."""
    process = Warmgate(
        "serve", "--port", "0", "--model", str(MODEL), "--set", "slots=4", env={"WARMGATE_API_KEYS": f"tests:{KEY}"}
    )
    try:
        yield process.ready()
    finally:
        process.process.kill()
        process.process.wait(END_SECONDS)
