"""What one build of llama-server knows, by its own account, and how it spells what a plan says.

llama.cpp renames and removes flags without notice, and an unknown flag ends llama-server at once. So its `--help` is
read first, and each flag is spelled as that build wants it. The build's number decides nothing here: one that was
compiled outside of git, or from a shallow clone, does not have it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence  # noqa: TC003 -- what is kept in files is checked against the annotations
from dataclasses import dataclass
from typing import Final

SMALLEST_NUMBER: Final = 1000
"""llama-server prints a number since b1500 or so. A smaller one counts the commits of a shallow clone."""

# Since b10470 `version: 0.6.0-dev (build 11549, commit 1a2b3c4)`, before `version: 8689 (20efe75cf)`.
_NUMBER: Final = re.compile(r"^version: (?:\S+ \(build (\d+), commit |(\d+) \()", re.MULTILINE)

# An entry of the help begins at the line's start; what it takes follows one space, what it does three or more
# (`common_arg::to_string` in llama.cpp's common/arg.cpp).
_ENTRY: Final = re.compile(r"^(-[^\s,]+(?:, +-[^\s,]+)*)(?: (\S+))?(.*(?:\n .*)*)", re.MULTILINE)
_GONE: Final = "the argument has been removed"


@dataclass(frozen=True, slots=True)
class Build:
    """One build of llama-server.

    Attributes:
        number: The N of its tag bN; None if it does not tell.
        flags: What each flag takes, such as `N`, by its spelling; empty for a switch.
    """

    number: int | None
    flags: Mapping[str, str]

    @property
    def name(self) -> str:
        """What to call it in a sentence."""
        return "a build without a number" if self.number is None else f"build b{self.number}"

    def knows(self, flag: str, *, valued: bool) -> bool:
        """Say whether there is such a flag, and whether it takes a value or is a switch."""
        return flag in self.flags and bool(self.flags[flag]) == valued


def read_number(version: str) -> int | None:
    """Return the number that `llama-server --version` prints, or None if that is not one."""
    found = _NUMBER.search(version)
    number = int(found[1] or found[2]) if found else 0
    return number if number >= SMALLEST_NUMBER else None


def read_flags(usage: str) -> dict[str, str]:
    """Return the flags that `llama-server --help` lists and what each takes, without those that only say goodbye."""
    return {
        flag: metavar
        for names, metavar, text in _ENTRY.findall(usage)
        if _GONE not in " ".join(text.split())
        for flag in names.replace(",", " ").split()
    }


class UnknownFlag(Exception):
    """A build cannot be told what a flag says.

    Attributes:
        words: The flag and its value.
        since: Where upstream added it; empty if we do not know.
        instead: The same flag with values that need not be said to such a build.
    """

    def __init__(self, words: str, since: str = "", instead: Sequence[str] = ()) -> None:
        super().__init__(words)
        self.words = words
        self.since = since
        self.instead = instead


ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class _Older:
    """How builds without a flag are told what it says.

    Attributes:
        since: Where the flag came from, in llama.cpp's pull requests.
        why: Why this says the same.
        ways: By the flag's value, what to say instead; the first way that a build knows counts, and {} stands for
            the value. An empty way says nothing: then such a build does what was meant by itself.
    """

    since: str
    why: str
    ways: Mapping[str, tuple[str, ...]]


OLDER: Final[Mapping[str, _Older]] = {
    "--load-mode": _Older(
        since="#20834, July 2026; the older switches went in b10884 with #28334",
        why="three switches became one value; without them the file is mapped, and --mlock pins what is mapped",
        ways={
            "auto": ("",),
            "none": ("--no-mmap",),
            "mmap": ("--mmap", ""),
            "mlock": ("--no-mmap --mlock",),
            "mmap+mlock": ("--mlock",),
            "dio": ("--direct-io",),
        },
    ),
    "--flash-attn": _Older(
        since="#15434, August 2025, which gave it a value",
        why="a switch before; off was the default, and nothing was decided by itself",
        ways={"on": ("--flash-attn",), "off": ("",), "auto": ("",)},
    ),
    "--no-ui": _Older(
        since="May 2026, see #24817",
        why="renamed; before #10751 there was no switch, and nobody but the gateway can reach the page",
        ways={ANY: ("--no-webui", "")},
    ),
    "--ctx-checkpoints": _Older(
        since="#16382, October 2025",
        why="renamed; before #15293 no checkpoints were made, which keeps within any limit",
        ways={ANY: ("--swa-checkpoints {}", "")},
    ),
    "--cache-ram": _Older(
        since="#16391, October 2025",
        why="a limit; before, prompts were not kept in host memory at all",
        ways={ANY: ("",)},
    ),
    "--no-cache-idle-slots": _Older(
        since="#20993, spring 2026",
        why="before, idle slots were not copied",
        ways={ANY: ("--no-clear-idle", "")},
    ),
    "--fit": _Older(
        since="#16653, December 2025",
        why="before, nothing was fitted to the memory",
        ways={"off": ("",)},
    ),
    "--offline": _Older(
        since="#13804, May 2025",
        why="a model that is named by its file is never downloaded",
        ways={ANY: ("",)},
    ),
    "--sse-ping-interval": _Older(
        since="b9478, #24013, June 2026",
        why="before, no stream was ever pinged: one that thinks long looks like one that hangs",
        ways={"-1": ("",)},
    ),
}
"""Flags that some builds lack, though they can be told the same or need not be told."""


def spell(flag: str, value: str | None, build: Build | None) -> list[str]:
    """Return the words that tell `build` what a flag says in today's spelling.

    Args:
        flag: As current builds spell it.
        value: None for a switch.
        build: Who is told; None for a current one.

    Raises:
        UnknownFlag: There are no such words.
    """
    if build is None or build.knows(flag, valued=value is not None):
        return [flag] if value is None else [flag, value]
    older = OLDER.get(flag)
    if older is None:
        raise UnknownFlag(_shown(flag, value))
    for way in older.ways.get(value or ANY, older.ways.get(ANY, ())):
        words = way.split()
        takes_value = "{}" in words
        if all(build.knows(word, valued=takes_value) for word in words if word != "{}"):
            return [(value or "") if word == "{}" else word for word in words]
    unsaid = [f"{flag} {value}" for value, ways in older.ways.items() if "" in ways]
    raise UnknownFlag(_shown(flag, value), older.since, unsaid)


def _shown(flag: str, value: str | None) -> str:
    return flag if value is None else f"{flag} {value}"
