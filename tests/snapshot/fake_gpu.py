"""A machine with a GPU, as far as its driver can tell: `fake_driver.c` says what it does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

COMPILER = shutil.which("cc")
SOURCE = Path(__file__).with_name("fake_driver.c")
LIBRARIES = ("libcuda.so.1", "libnvidia-ml.so.1")


class FakeGpu:
    """The folder through which a test talks with the driver.

    Attributes:
        library: The driver itself.
        environment: What makes a process find it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.library = folder / LIBRARIES[0]
        self.environment = {"FAKE_GPU": str(folder), "LD_LIBRARY_PATH": str(folder)}
        assert COMPILER is not None
        subprocess.run([COMPILER, "-shared", "-fPIC", "-o", self.library, SOURCE], check=True)
        # one file under both names, so that both have one memory
        (folder / LIBRARIES[1]).symlink_to(self.library)

    def has(self, name: str, value: object) -> None:
        """Set one of the things that the driver looks up."""
        (self._folder / name).write_text(str(value))

    def has_not(self, name: str) -> None:
        (self._folder / name).unlink()

    def calls(self) -> list[str]:
        """Return what was called to change something, in short: `Lock`, `Checkpoint`, `Restore`, `Unlock`."""
        path = self._folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        calls = [line.removeprefix("cuCheckpointProcess") for line in lines]
        return [call for call in calls if call in {"Lock", "Checkpoint", "Restore", "Unlock"}]
