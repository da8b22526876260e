"""What is done once for a deployment, and not in each container: the model, the engine, a look at whether it works."""

from __future__ import annotations

import getpass
import os
import sys
from typing import TYPE_CHECKING

from app import console
from app.engine_build import build_engine
from app.failure import CommandFailure
from app.hub import pull
from app.model_store import Store
from app.profiles import find_profile
from app.smoke_test import smoke_test

if TYPE_CHECKING:
    from pathlib import Path

    from app.engine_build import Recipe


def bring_model(profile: str, folder: Path) -> None:
    """Bring a profile's files to where `models_dir` will point, at their pinned revisions, checked.

    Raises:
        CommandFailure: It could not be done; the message says why.
    """
    files = find_profile(profile).files
    if files is None:
        raise CommandFailure(f"{profile} has no files to bring: choose a profile of the hub with WARMGATE_PROFILE.")
    report = _Steps()
    store = Store(folder / ".cache", folder)  # where it is remembered what has been verified
    model = pull(files, store, lambda what, done, total: report(what, done / (total or 1)))
    console.out.print(f"{profile} is here: {model.weights}")


def compile_engine(recipe: Recipe, folder: Path, jobs: int) -> None:
    """Compile an engine into a folder, or find it there.

    Raises:
        CommandFailure: It could not be done; the message says why.
    """
    report = _Steps()
    engine = build_engine(recipe, None, folder, jobs, lambda what, done: report(what, done or 0.0))
    console.out.print(f"llama-server {recipe.tag} is here: {engine}")


def show_smoke_test(url: str, key: str) -> None:
    """Print where an endpoint is, and how long its first and its next answer took.

    Args:
        url: Without `/v1`.
        key: If empty, the last of WARMGATE_API_KEYS, or else the one that is typed.

    Raises:
        CommandFailure: There was no answer, or no key.
    """
    for line in smoke_test(url, key or _find_key()):
        console.out.print(line, markup=False)


def _find_key() -> str:
    if configured := os.environ.get("WARMGATE_API_KEYS"):
        return configured.split(",")[-1].rpartition(":")[2]
    if not sys.stdin.isatty():
        raise CommandFailure("There is no key: set WARMGATE_API_KEYS, or run this in a terminal and type one.")
    console.out.print("A key of this deployment (it stays hidden):")  # a line: Modal's spinner wipes what is none
    return getpass.getpass("").strip()


class _Steps:
    """Prints a line for each tenth of something, since a remote log is no terminal."""

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, what: str, done: float) -> None:
        line = f"{what}: {int(done * 10) * 10} %"
        if line != self._said:
            self._said = line
            console.out.print(line, markup=False)
