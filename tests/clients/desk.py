"""Command-line agents at work: a home and a project of their own, no network but the gateway."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TURN_SECONDS = 240


@dataclass(frozen=True)
class Desk:
    """Where an agent works.

    Attributes:
        home: Its home directory.
        project: The directory that it is started in; `marker.txt` is the only file.
        marker: What that file says.
    """

    home: Path
    project: Path
    marker: str

    @classmethod
    def make(cls, directory: Path) -> Desk:
        """Make both directories in an empty one."""
        desk = cls(directory / "home", directory / "project", f"marker-{secrets.token_hex(4)}")
        desk.home.mkdir()
        desk.project.mkdir()
        (desk.project / "marker.txt").write_text(desk.marker + "\n")
        return desk

    def run(self, command: list[str], **environment: str) -> str:
        """Run an agent to its end, in an environment without anything of ours. Returns what it printed.

        Raises:
            AssertionError: It failed, or it went looking for the internet.
        """
        with socket.create_server(("127.0.0.1", 0)) as outside:
            proxy = f"http://127.0.0.1:{outside.getsockname()[1]}"
            base = {"PATH": os.environ["PATH"], "HOME": str(self.home), "NO_PROXY": "127.0.0.1"}
            result = subprocess.run(
                command,
                cwd=self.project,
                env=base | {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy} | environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TURN_SECONDS,
                check=False,
            )
            assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
            assert _nobody_called(outside), "it tried to reach something else than the gateway"
        return result.stdout


def _nobody_called(listener: socket.socket) -> bool:
    listener.setblocking(False)
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return True
    return False
