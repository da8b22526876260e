"""Where llama-server comes from: an explicit path, `PATH`, our cache of builds, or the `xllamacpp` wheel."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.failure import CommandFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

EXECUTABLE = "llama-server"
WHEEL = "xllamacpp"
WHEEL_SERVER = "server_supervisor.xllamacpp_server"
ENGINES = "engines"  # where in the cache our builds are, as engines/NAME/llama-server

GEMMA4_TEMPLATE = "google-gemma-4-31B-it-interleaved.jinja"
# Beside a build of ours; and in llama.cpp's tree, as seen from build/bin, where a build by hand lies.
_TEMPLATE_FOLDERS = ("templates", "../../models/templates")


@dataclass(frozen=True, slots=True)
class Engine:
    """A command that takes llama-server's flags.

    Attributes:
        command: What to put before the flags.
        found: Where it was found, in one word.
        path: The executable, or the wheel's library.
    """

    command: tuple[str, ...]
    found: Literal["--llama-server", "PATH", "cache", "wheel"]
    path: Path

    @property
    def origin(self) -> str:
        """Where it was found, for people."""
        return f"{WHEEL} wheel" if self.found == "wheel" else f"{self.path} ({self.found})"

    @property
    def gemma4_template(self) -> Path | None:
        """The chat template for Gemma 4 that this engine's own source came with, if it is still there."""
        folders = (self.path.resolve().parent / folder for folder in _TEMPLATE_FOLDERS)
        return next((file.resolve() for folder in folders if (file := folder / GEMMA4_TEMPLATE).is_file()), None)


def find_engine(explicit: Path | None, cache_dir: Path) -> Engine:
    """Return the first engine that there is.

    Args:
        explicit: The one to use and no other, if given.
        cache_dir: Holds builds of ours.

    Raises:
        CommandFailure: There is none, or the explicit one cannot be run.
    """
    engine = next(find_engines(explicit, cache_dir), None)
    if engine is None:
        raise CommandFailure(
            f"No engine was found: put {EXECUTABLE} on PATH, name one with --llama-server, compile one with "
            f"`warmgate engine build`, or run `make install`, which brings the {WHEEL} wheel."
        )
    return engine


def find_engines(explicit: Path | None, cache_dir: Path) -> Iterator[Engine]:
    """Yield all the engines that there are: the one to use first, then those that would take its place.

    Raises:
        CommandFailure: The explicit one cannot be run.
    """
    if explicit is not None:
        yield _explicit(explicit.expanduser())
    if on_path := shutil.which(EXECUTABLE):
        yield Engine((on_path,), "PATH", Path(on_path))
    builds = [path for path in cache_dir.glob(f"{ENGINES}/*/{EXECUTABLE}") if _is_executable(path)]
    for path in sorted(builds, key=lambda path: path.stat().st_mtime, reverse=True):
        yield Engine((str(path),), "cache", path)
    if library := _wheel_library():
        # -P: the directory we were started in must not be able to replace a module
        yield Engine((sys.executable, "-P", "-m", WHEEL_SERVER), "wheel", library)


def _explicit(path: Path) -> Engine:
    if not path.exists():
        raise CommandFailure(f"The engine {path} does not exist.")
    if not _is_executable(path):
        raise CommandFailure(f"The engine {path} is not an executable file.")
    return Engine((str(path.resolve()),), "--llama-server", path)


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _wheel_library() -> Path | None:
    spec = importlib.util.find_spec(WHEEL)  # looked up and not imported: it has 100 MB
    folders = (spec and spec.submodule_search_locations) or []
    return next((library for folder in folders for library in sorted(Path(folder).glob(f"{WHEEL}.*"))), None)
