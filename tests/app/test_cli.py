"""The ways to start the program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import clean_environment

ROOT = Path(__file__).parents[2]
WARMGATE = str(Path(sys.executable).with_name("warmgate"))


def outcome(*command: str) -> tuple[int, str]:
    """Return the status and the words that a command ends with."""
    done = subprocess.run(command, env=clean_environment(), cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("module", ["app", "app.cli"])
def test_run_as_a_module_it_is_the_same_program(module: str) -> None:
    arguments = ("plan", "--card", "H200")
    status, said = outcome(sys.executable, "-m", module, *arguments)
    assert said == "warmgate: There is no card 'H200'; did you mean 'H100'?\n"
    assert (status, said) == outcome(WARMGATE, *arguments)


@pytest.mark.parametrize("group", [(), ("models",), ("snapshot",)])
def test_without_a_command_there_is_the_help(group: tuple[str, ...]) -> None:
    status, said = outcome(WARMGATE, *group)
    assert status != 0
    assert (0, said) == outcome(WARMGATE, *group, "--help")
