"""A process and its descendants (Linux)."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from pathlib import Path

PROC = Path("/proc")


def process_tree(root: int) -> list[int]:
    """Return the process ids of `root` and of all its descendants, each after its parent."""
    children = defaultdict(list)
    for stat in PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            children[_parent_in(stat.read_text())].append(int(stat.parent.name))
    tree = [root]
    for pid in tree:  # grows as it goes
        tree += children[pid]
    return tree


def _parent_in(stat: str) -> int:
    """Return the fourth field. The second is a name in brackets, in which anything may stand."""
    return int(stat.rpartition(")")[2].split()[1])


def resident_bytes(root: int) -> int:
    """Return how much memory `root` and its descendants have in use, in bytes. What they share counts for each."""
    return sum(_resident_pages(pid) for pid in process_tree(root)) * os.sysconf("SC_PAGE_SIZE")


def _resident_pages(pid: int) -> int:
    try:
        return int((PROC / str(pid) / "statm").read_text().split()[1])
    except OSError:  # it has ended
        return 0
