"""Where llama-server comes from: an explicit path, `PATH`, our cache of builds, or the `xllamacpp` wheel."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.failure import CommandFailure

if TYPE_CHECKING:
    from pathlib import Path

EXECUTABLE = "llama-server"
WHEEL = "xllamacpp"
WHEEL_SERVER = "server_supervisor.xllamacpp_server"


@dataclass(frozen=True, slots=True)
class Engine:
    """A command that takes llama-server's flags.

    Attributes:
        command: What to put before the flags.
        origin: Where it was found, for people.
    """

    command: tuple[str, ...]
    origin: str


def find_engine(explicit: Path | None, cache_dir: Path) -> Engine:
    """Return the first engine that there is.

    Args:
        explicit: The one to use and no other, if given.
        cache_dir: Holds builds of ours as `engines/NAME/llama-server`.

    Raises:
        CommandFailure: There is none, or the explicit one cannot be run.
    """
    if explicit is not None:
        return _explicit(explicit.expanduser())
    if on_path := shutil.which(EXECUTABLE):
        return Engine((on_path,), f"{on_path} (PATH)")
    builds = [path for path in cache_dir.glob(f"engines/*/{EXECUTABLE}") if _is_executable(path)]
    if builds:
        newest = max(builds, key=lambda path: path.stat().st_mtime)
        return Engine((str(newest),), f"{newest} (cache)")
    if importlib.util.find_spec(WHEEL) is not None:
        # -P: the directory we were started in must not be able to replace a module
        return Engine((sys.executable, "-P", "-m", WHEEL_SERVER), f"{WHEEL} wheel")
    raise CommandFailure(
        f"No engine was found: put {EXECUTABLE} on PATH, name one with --llama-server, or run `make install`, "
        f"which brings the {WHEEL} wheel."
    )


def _explicit(path: Path) -> Engine:
    if not path.exists():
        raise CommandFailure(f"The engine {path} does not exist.")
    if not _is_executable(path):
        raise CommandFailure(f"The engine {path} is not an executable file.")
    return Engine((str(path.resolve()),), f"{path} (--llama-server)")


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
