"""The few environment variables that reach llama-server.

It is an allow-list, because llama-server lets `LLAMA_ARG_*` variables and configuration files below `HOME` and
`XDG_CONFIG_HOME` change what the command line says, and because our own secrets must not be inherited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PASSED_ON = frozenset({"PATH", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"})
PASSED_ON_PREFIXES = ("CUDA_", "NVIDIA_", "OMP_")

FIXED = {
    "HOME": "/nonexistent",
    "XDG_CONFIG_HOME": "/nonexistent",
    # On abort ggml forks a debugger to print a backtrace; under a supervisor that only delays the restart.
    "GGML_NO_BACKTRACE": "1",
}


def child_environment(parent: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for llama-server, out of the supervisor's own."""
    passed = {name: value for name, value in parent.items() if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)}
    return passed | FIXED
