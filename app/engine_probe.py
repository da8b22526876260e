"""What an engine says of itself: its build, the flags it knows, where it can compute, whether it knows Gemma 4."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import server_supervisor.llama_flags
from app.failure import CommandFailure
from server_supervisor.build import Build, UnknownFlag, read_flags, read_number
from server_supervisor.environment import child_environment
from server_supervisor.failures import classify_exit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.engine import Engine
    from server_supervisor.plan import Endpoint, LaunchPlan

ANSWER_SECONDS = 30.0
"""How long an engine may take for an answer: 10 ms without a GPU, some seconds at the first use of one."""

FIRST_WITH_GEMMA4 = 8665
NEWER_THAN_GEMMA4 = frozenset({"--load-mode", "--sse-ping-interval"})
"""Flags that came after Gemma 4: they tell a build without a number that is new enough."""

_CACHE_FORMAT = 1  # of what is remembered, and of how answers are read
_NVIDIA_DRIVER = Path("/dev/nvidiactl")

# A device in --list-devices; the CUDA backend's word, also where there is no GPU; the word on one loaded from a file.
_BACKEND_SIGNS = (
    r"^  ([A-Za-z]+)\d*: .+ MiB free\)$",
    r"\bggml_cuda_init: (?:found \d+|failed to initialize) (\w+)",
    r"\bload_backend: loaded (\S+) backend from",
)


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine said.

    Attributes:
        build: Its number, if it tells, and the flags that it knows.
        backends: Where it can compute, as far as it tells; the CPU last.
    """

    build: Build
    backends: tuple[str, ...]

    @property
    def gemma4(self) -> bool | None:
        """Whether it can serve Gemma 4; None if that cannot be told."""
        if self.build.number is not None:
            return self.build.number >= FIRST_WITH_GEMMA4
        return True if NEWER_THAN_GEMMA4 & self.build.flags.keys() else None


def probe_engine(engine: Engine, cache_dir: Path) -> EngineInfo:
    """Ask an engine what it is, or remember what the very same files answered before.

    Args:
        engine: Whom to ask.
        cache_dir: Where answers are remembered. If it cannot be used, the engine is asked each time.

    Raises:
        CommandFailure: It cannot be run, does not answer, or is no llama-server.
    """
    identity = _identity(engine)
    note = cache_dir / "probed" / f"{hashlib.sha256(identity).hexdigest()[:16]}.json"
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(note.read_bytes(), type=EngineInfo)
    info = _ask(engine)
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_bytes(msgspec.json.encode(info))  # half of it would not be read
    return info


def check_gemma4(engine: Engine, info: EngineInfo) -> str | None:
    """Refuse an engine that is known to be too old for Gemma 4.

    Returns:
        What a person should know if it cannot be told, else None.

    Raises:
        CommandFailure: It is too old; the message says what to do.
    """
    need = f"Gemma 4 needs b{FIRST_WITH_GEMMA4} or newer"
    if info.gemma4 is False:
        raise CommandFailure(
            f"The engine {engine.origin} is {info.build.name}, and {need}: update it, "
            "name another with --llama-server, or compile one with `warmgate engine build`."
        )
    return None if info.gemma4 else f"the engine {engine.origin} is {info.build.name}; {need}"


def engine_argv(engine: Engine, info: EngineInfo, plan: LaunchPlan, endpoint: Endpoint) -> list[str]:
    """Return the whole command line that starts `plan` on this very engine.

    Raises:
        CommandFailure: The engine lacks a flag and cannot be told the same otherwise.
    """
    try:
        return [*engine.command, *plan.argv(endpoint, info.build)]
    except UnknownFlag as unknown:
        since = f" (new in llama.cpp {unknown.since})" if unknown.since else ""
        instead = "".join(f", or do with `{words}`" for words in unknown.instead)
        raise CommandFailure(
            f"The engine {engine.origin} is {info.build.name}, which does not know `{unknown.words}`{since}: "
            f"update it, compile one with `warmgate engine build`{instead}."
        ) from None


def _ask(engine: Engine) -> EngineInfo:
    usage = _answer(engine, "--help")
    flags = read_flags(usage.stdout)
    if "--model" not in flags:
        raise CommandFailure(f"The engine {engine.origin} is no llama-server: its --help knows no --model.")
    version = _answer(engine, "--version")
    answers = [usage, version, *([_answer(engine, "--list-devices")] if "--list-devices" in flags else [])]
    number = read_number(version.stdout + version.stderr)
    return EngineInfo(Build(number, flags), _backends(answer.stdout + answer.stderr for answer in answers))


def _answer(engine: Engine, question: str) -> subprocess.CompletedProcess[str]:
    try:
        answer = subprocess.run(  # noqa: S603 -- the user's own engine, and there is no shell
            [*engine.command, question],
            env=child_environment(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CommandFailure(
            f"The engine {engine.origin} did not answer {question} within {ANSWER_SECONDS:g} s."
        ) from None
    except OSError as error:
        raise CommandFailure(f"The engine {engine.origin} cannot be run: {error.strerror}.") from None
    if answer.returncode != 0:
        failure = classify_exit(answer.returncode, (answer.stdout + answer.stderr).splitlines(), was_ready=False)
        who = "" if failure.kind == "engine_missing" else f"The engine {engine.origin} does not answer {question}: "
        raise CommandFailure(who + failure.message)
    return answer


def _backends(answers: Iterable[str]) -> tuple[str, ...]:
    said = "\n".join(answers)
    found = dict.fromkeys(name for sign in _BACKEND_SIGNS for name in re.findall(sign, said, re.MULTILINE))
    return (*(name for name in found if name != "CPU"), "CPU")


def _identity(engine: Engine) -> bytes:
    """Return what changes whenever the engine's answers may: its files, and whether there is a GPU to be found."""
    files = [engine.path, *sorted(engine.path.parent.glob("lib*"))]  # it may be a shell around libraries beside it
    if engine.found == "wheel":
        files.append(Path(server_supervisor.llama_flags.__file__))
    facts = [_CACHE_FORMAT, engine.command, _NVIDIA_DRIVER.exists(), [_stamp(file) for file in files]]
    return msgspec.json.encode(facts)


def _stamp(path: Path) -> tuple[str, int, int]:
    try:
        stat = path.stat()
    except OSError:  # a dangling link beside the engine, or the engine itself, which is about to be asked
        return str(path), -1, -1
    return str(path.resolve()), stat.st_size, stat.st_mtime_ns
