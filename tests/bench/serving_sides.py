"""The servers that the serving benchmark compares: llama-server with stock flags, and warmgate with a profile."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.streams import Server

from app.engine import find_engine
from app.model_store import default_cache_dir, default_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

KEY: Final = "wg-serving-bench-0123456789abcdef"
START_SECONDS: Final = 180.0
ROOT: Final = Path(__file__).parents[2]
UNGUARDED: Final[Mapping[str, Any]] = {"reasoning_budget_tokens": 0}
"""What warmgate sends for a thought that is off, for those who ask llama-server themselves."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of those who are compared.

    Attributes:
        name: In the tables.
        server: Where it is asked.
        fields: What it is told besides the question.
    """

    name: str
    server: Server
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What all sides share.

    Attributes:
        model: The GGUF file.
        llama_server: The engine; None for the first one found.
        log_dir: Where each process' log goes.
    """

    model: Path | None
    llama_server: Path | None
    log_dir: Path

    @contextlib.contextmanager
    def bare(self, name: str, flags: Sequence[str]) -> Iterator[Server]:
        """Run llama-server with these flags."""
        cache_dir = default_cache_dir(os.environ)
        engine = find_engine(self.llama_server, cache_dir)
        port = _free_port()
        argv = [*engine.command, "-m", str(self.model or default_model(cache_dir)), *flags]
        with self._running(
            name, [*argv, "--host", "127.0.0.1", "--port", str(port)], f"http://127.0.0.1:{port}/health"
        ):
            yield Server(f"http://127.0.0.1:{port}")

    @contextlib.contextmanager
    def gateway(self, name: str, upstream: Server) -> Iterator[Server]:
        """Run the gateway alone before a server."""
        with self._warmgate(name, "gateway", "--upstream", upstream.url) as server:
            yield server

    @contextlib.contextmanager
    def serving(self, name: str, profile: str | None, overrides: Sequence[str]) -> Iterator[Server]:
        """Run `warmgate serve`."""
        chosen = {"--profile": profile, "--model": self.model, "--llama-server": self.llama_server}
        flags = [text for flag, value in chosen.items() if value is not None for text in (flag, str(value))]
        sets = [text for override in overrides for text in ("--set", override)]
        with self._warmgate(name, "serve", *flags, *sets) as server:
            yield server

    @contextlib.contextmanager
    def _warmgate(self, name: str, *words: str) -> Iterator[Server]:
        port = _free_port()
        argv = [sys.executable, "-c", "from app.cli import main; main()", *words, "--port", str(port)]
        with self._running(name, argv, f"http://127.0.0.1:{port}/readyz"):
            yield Server(f"http://127.0.0.1:{port}", KEY)

    @contextlib.contextmanager
    def _running(self, name: str, argv: Sequence[str], ready: str) -> Iterator[None]:
        env = {**os.environ, "WARMGATE_API_KEYS": KEY}
        with (self.log_dir / f"{name.replace(', ', '-').replace(' ', '-')}.log").open("wb") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log, env=env, cwd=ROOT)
            try:
                _wait(process, name, ready)
                yield
            finally:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=10)
                process.kill()


def _wait(process: subprocess.Popen[bytes], name: str, ready: str) -> None:
    """Wait until it is ready.

    Raises:
        SystemExit: It will not be.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{name} ended with {process.returncode}; its log says why")
        with contextlib.suppress(OSError), urllib.request.urlopen(ready, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise SystemExit(f"{name} did not become ready")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
