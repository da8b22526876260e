"""The clients that come from npm: `make test` installs them from the lockfile in tests/clients/node."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

NODE = Path(__file__).with_name("node")
REQUIRED = "TESTS_NEED_NODE"
"""Set where Node is known to be there, as in CI: what would be skipped without it then fails."""


def node_command(script: str) -> list[str]:
    """Return the command that runs a script in tests/clients/node, the calling test skipped if that is impossible."""
    node = shutil.which("node")
    if node is None:
        _unavailable("Node is not installed")
    elif not (NODE / "node_modules").is_dir():
        _unavailable("the npm packages are not installed; `make test` does it where there is npm")
    return [node or "", str(NODE / script)]


def _unavailable(reason: str) -> None:
    if os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set, but {reason}")
    pytest.skip(reason)
