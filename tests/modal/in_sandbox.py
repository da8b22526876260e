"""Runs a container's entry point, as Modal's workers do, with files in the place of what their sandbox shows in /proc.

`python in_sandbox.py FOLDER`: FOLDER/environ for /proc/gvisor/spec_environ, and FOLDER/verdict for
/proc/gvisor/checkpoint, which says after a snapshot whether this is the original (`resume`) or a copy (`restore`), or
that the GPU's part failed (`error`).
"""

import runpy
import sys
from pathlib import Path

from modal._runtime import gpu_memory_snapshot, task_lifecycle_manager

if __name__ == "__main__":
    folder = Path(sys.argv.pop())
    task_lifecycle_manager.SPEC_ENVIRON_PATH = str(folder / "environ")
    gpu_memory_snapshot.RUNTIME_CHECKPOINT_WAIT_PATH = str(folder / "verdict")
    runpy.run_module("modal._container_entrypoint", run_name="__main__", alter_sys=True)
