"""How llama-server is compiled: the pinned build, the recipe, and the steps from its source to our cache.

The recipe is `cmake_flags`, `configure_command` and `compile_command`, and nothing else knows one of its flags. They
only make lists of words and look at nothing, so that an image builder can use them as they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from app.engine import ENGINES, EXECUTABLE, GEMMA4_TEMPLATE
from app.engine_source import check_source, fetch_source, find_tree, unpack
from app.failure import CommandFailure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from app.engine_source import Report

LLAMA_CPP_TAG = "b11549"
"""The build of llama.cpp that everything here was tested with; the `xllamacpp` wheel in pyproject.toml is the same."""

SOURCE_URL = "https://github.com/ggml-org/llama.cpp/archive/refs/tags/{tag}.tar.gz"
RECORD = "build.json"

CUDA_HOME = Path("/usr/local/cuda")

_TAG = re.compile(r"b[1-9]\d*")
_CUDA_ARCH = re.compile(r"\d{2,3}[af]?(-real|-virtual)?|native|all|all-major")
_PERCENT = re.compile(r"\[\s*(\d+)%\]")  # make
_STEPS = re.compile(r"\[(\d+)/(\d+)\]")  # ninja
_ERROR = re.compile(r"\berror:|^CMake Error|\bfatal\b", re.IGNORECASE)
_NVIDIA_SMI_SECONDS = 30.0
_TAIL_LINES = 200


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is to be compiled.

    Attributes:
        tag: The build of llama.cpp, as bNNNNN.
        cuda_archs: For which GPUs, as CMake's CUDA_ARCHITECTURES; none for the CPU alone.
        native: For this machine's CPU; otherwise for any x86-64 CPU with AVX2, or any 64-bit Arm CPU.
    """

    tag: str = LLAMA_CPP_TAG
    cuda_archs: tuple[str, ...] = ()
    native: bool = True

    @property
    def name(self) -> str:
        """The name of its directory in the cache."""
        return f"{self.tag}-{'cuda' if self.cuda_archs else 'cpu'}"

    def check(self) -> None:
        """Refuse what CMake would only stumble over.

        Raises:
            CommandFailure: The tag or an architecture is none.
        """
        if not _TAG.fullmatch(self.tag):
            raise CommandFailure(f"--tag {self.tag}: llama.cpp's builds are called {LLAMA_CPP_TAG} and the like.")
        for arch in self.cuda_archs:
            if not _CUDA_ARCH.fullmatch(arch):
                raise CommandFailure(f"--cuda-arch {arch}: expected a number such as 89 (L4, L40S) or 90 (H100).")


def cmake_flags(cuda_archs: Sequence[str], native: bool) -> list[str]:
    """Return CMake's flags for a llama-server of one file, with nothing in it that we do not use.

    Args:
        cuda_archs: Such as `89` or `90-real`; none for a build without CUDA.
        native: Whether to use all that this machine's CPU has. An image that runs elsewhere must not.
    """
    flags = {
        "CMAKE_BUILD_TYPE": "Release",
        "BUILD_SHARED_LIBS": "OFF",  # one file, but for the system's own libraries and CUDA's
        "GGML_NATIVE": "ON" if native else "OFF",
        "LLAMA_BUILD_TESTS": "OFF",
        "LLAMA_BUILD_EXAMPLES": "OFF",
        "LLAMA_BUILD_APP": "OFF",
        "LLAMA_BUILD_UI": "OFF",  # the gateway is the only door
        "LLAMA_USE_PREBUILT_UI": "OFF",  # or it is downloaded while compiling
        "LLAMA_OPENSSL": "OFF",  # a serving process never downloads
        "LLAMA_CURL": "OFF",  # the same, in older builds
    }
    if cuda_archs:
        flags |= {
            "GGML_CUDA": "ON",
            "CMAKE_CUDA_ARCHITECTURES": ";".join(cuda_archs),
            "GGML_CUDA_NCCL": "OFF",  # one GPU serves; otherwise it is linked wherever it happens to be installed
        }
    return [f"-D{name}={value}" for name, value in flags.items()]


def configure_command(recipe: Recipe, source: Path, build_dir: Path) -> list[str]:
    """Return the command that prepares `build_dir`."""
    # An archive has no git history to count: without a number the engine could not say which build it is.
    number = f"-DLLAMA_BUILD_NUMBER={recipe.tag.removeprefix('b')}"
    return ["cmake", "-S", str(source), "-B", str(build_dir), *cmake_flags(recipe.cuda_archs, recipe.native), number]


def compile_command(build_dir: Path, jobs: int) -> list[str]:
    """Return the command that compiles what was prepared in `build_dir`, to `bin/llama-server` there."""
    return ["cmake", "--build", str(build_dir), "--target", EXECUTABLE, "--parallel", str(jobs)]


def build_engine(recipe: Recipe, source: Path | None, cache_dir: Path, jobs: int, report: Report) -> Path:
    """Compile an engine into the cache, or find it there: the same recipe, of the same source.

    The engine appears under its name when it is whole, or not at all.

    Args:
        recipe: What to compile.
        source: A directory or an archive with llama.cpp in it; None to fetch it from GitHub.
        cache_dir: Where our builds are kept.
        jobs: How many compilers may run at a time.
        report: Told of the progress, from this thread.

    Returns:
        The executable.

    Raises:
        CommandFailure: Something is missing, cannot be used, or does not compile.
    """
    recipe.check()
    source = source and check_source(source)
    home = cache_dir / ENGINES / recipe.name
    record = _record(recipe, source)
    from_directory = source is not None and source.is_dir()  # whose files may have changed
    if not from_directory and _is_built(home, record):
        return home / EXECUTABLE
    check_tools(recipe)
    _make(home.parent)
    workshop = tempfile.TemporaryDirectory(dir=cache_dir, prefix="building-", ignore_cleanup_errors=True)
    with _ended_by_signals(), workshop as name:
        bench = Path(name)
        archive = source or fetch_source(SOURCE_URL.format(tag=recipe.tag), bench / "source.tar.gz", report)
        tree = find_tree(archive if archive.is_dir() else unpack(archive, bench / "source", report))
        with (home.parent / f"{recipe.name}.log").open("w", buffering=1) as log:
            _run(configure_command(recipe, tree, bench / "build"), "configuring", log, report)
            _run(compile_command(bench / "build", jobs), "compiling", log, report)
        _publish(_collect(tree, bench / "build", bench / "engine", record), home, bench / "replaced")
    return home / EXECUTABLE


def check_tools(recipe: Recipe) -> None:
    """Make sure of what compiling needs.

    Raises:
        CommandFailure: Something is missing; the message says what to install.
    """
    missing = [
        tool
        for tool, there in {
            "cmake": shutil.which("cmake"),
            "a C compiler": os.environ.get("CC") or _first_of("cc", "gcc", "clang"),
            "a C++ compiler": os.environ.get("CXX") or _first_of("c++", "g++", "clang++"),
            "make or ninja": _first_of("ninja", "make"),
            "nvcc, of the CUDA toolkit (or give --cpu)": not recipe.cuda_archs or _nvcc(),
        }.items()
        if not there
    ]
    if missing:
        raise CommandFailure(
            f"Compiling llama-server needs {', '.join(missing)}; "
            "on Debian and Ubuntu, `apt install cmake g++ ninja-build` brings all but CUDA."
        )


def local_cuda_archs() -> tuple[str, ...]:
    """Return the architectures of this machine's NVIDIA GPUs; none if there is no driver."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"],  # noqa: S607 -- the driver's own tool
            capture_output=True,
            text=True,
            timeout=_NVIDIA_SMI_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(sorted({f"{capability.replace('.', '')}-real" for capability in answer.stdout.split()}))


def _first_of(*names: str) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)


def _nvcc() -> str | None:
    """Return CUDA's compiler, from where CMake looks for it."""
    return os.environ.get("CUDACXX") or shutil.which("nvcc", path=f"{os.environ.get('PATH', '')}:{CUDA_HOME / 'bin'}")


# The steps.


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandFailure(f"The cache {folder} cannot be made: {error.strerror}.") from None


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end us as SIGINT does: by way of every `finally`."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    heard = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(command: Sequence[str], what: str, log: TextIO, report: Report) -> None:
    report(what, None)
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    with subprocess.Popen(  # noqa: S603 -- the recipe's own command, and there is no shell
        command,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # so that whatever compiles can be ended with it
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101 -- for the type checker: we asked for a pipe
            for line in process.stdout:
                log.write(line)
                tail.append(line.strip())
                if (done := _done(line)) is not None:
                    report(what, done)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode != 0:
        raise CommandFailure(f"{what.capitalize()} llama.cpp failed: {_reason(tail)} (all of it is in {log.name}).")


def _environment() -> dict[str, str]:
    """Return ours, with what CMake does not find out for itself: the faster tool, and where CUDA's compiler is."""
    found = {"CMAKE_GENERATOR": "Ninja" if shutil.which("ninja") else None, "CUDACXX": _nvcc()}
    return {name: value for name, value in found.items() if value} | os.environ | {"NINJA_STATUS": "[%f/%t] "}


def _done(line: str) -> float | None:
    if found := _PERCENT.match(line):
        return int(found[1]) / 100
    if found := _STEPS.match(line):
        return int(found[1]) / int(found[2])
    return None


def _reason(tail: Sequence[str]) -> str:
    """Return the first line that speaks of an error, and where it ends in a colon, the next that says something."""
    lines = iter(tail)
    first = next((line for line in lines if _ERROR.search(line)), None)
    if first is None:
        return next((line for line in reversed(tail) if line), "it printed nothing")
    return f"{first} {next((line for line in lines if line), '')}".strip() if first.endswith(":") else first


def _collect(tree: Path, build_dir: Path, engine: Path, record: dict[str, object]) -> Path:
    """Put together what is kept of a build: the executable, Gemma 4's template, and how it was made."""
    engine.mkdir()
    executable = Path(shutil.copy2(build_dir / "bin" / EXECUTABLE, engine / EXECUTABLE))
    template = tree / "models" / "templates" / GEMMA4_TEMPLATE
    if template.is_file():  # older builds have none
        (engine / "templates").mkdir()
        shutil.copyfile(template, engine / "templates" / GEMMA4_TEMPLATE)
    (engine / RECORD).write_text(json.dumps(record | {"sha256": _sha256(executable)}, indent=2) + "\n")
    return engine


def _publish(engine: Path, home: Path, aside: Path) -> None:
    if home.exists():
        home.rename(aside)  # a server that runs from there keeps its open file
    engine.rename(home)


# What is kept about a build.


def _record(recipe: Recipe, source: Path | None) -> dict[str, object]:
    return {
        "tag": recipe.tag,
        "cmake_flags": cmake_flags(recipe.cuda_archs, recipe.native),
        "source": str(source.absolute()) if source else SOURCE_URL.format(tag=recipe.tag),
        "source_sha256": _sha256(source) if source and source.is_file() else None,
    }


def _is_built(home: Path, record: dict[str, object]) -> bool:
    try:
        built: object = json.loads((home / RECORD).read_text())
        return built == record | {"sha256": _sha256(home / EXECUTABLE)}
    except (OSError, ValueError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
