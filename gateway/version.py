"""Which build of ours this is."""

from __future__ import annotations

from importlib import metadata
from typing import Final


def _installed() -> str:
    try:
        return metadata.version("warmgate")
    except metadata.PackageNotFoundError:  # run from a checkout without being installed
        return "unknown"


VERSION: Final = _installed()
