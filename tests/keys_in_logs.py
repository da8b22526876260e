"""The log of a whole test run, grepped for every key that was used in it.

The programs that tests run print to pipes, which are read to their end; the gateways that run inside of tests log to
the process's own loggers, which are watched.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SECRETS = ("WARMGATE_API_KEYS", "WARMGATE_SEAL_SECRET", "WARMGATE_PUSHGATEWAY")
PRINTABLE = 6
"""What is shorter than this stands in a log by chance."""

_ENTRY = re.compile(r"\d{4}-\d\d-\d\d |\{")
"""How a line of the log begins. A key that was made for a first try is printed, but not there."""

_MADE = re.compile(r"\bwg-[\w-]{32}")


def secrets_in(environment: Mapping[str, str]) -> set[str]:
    """Return the keys and other secrets that a program is given."""
    values = (environment.get(name, "") for name in SECRETS)
    entries = (entry.strip() for value in values for entry in value.split(","))
    return {key for entry in entries if len(key := entry.rpartition(":")[2]) >= PRINTABLE}


def leaks(lines: Iterable[str], secrets: set[str]) -> list[str]:
    """Return the lines that hold a secret, and those of the log that hold a key which was made."""
    return [
        line
        for line in lines
        if any(secret in line for secret in secrets) or (_ENTRY.match(line) and _MADE.search(line))
    ]


class Watch(logging.Handler):
    """Keeps what this process logs with a secret in it.

    Attributes:
        found: Those entries.
    """

    def __init__(self, secrets: set[str]) -> None:
        super().__init__()
        self.found: list[str] = []
        self._secrets = secrets

    def emit(self, record: logging.LogRecord) -> None:
        written = f"{record.getMessage()} {record.__dict__.get('fields', '')}"
        self.found += leaks([written], self._secrets)
