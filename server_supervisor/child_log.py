"""The child's last lines of output: passed on to our log as they come, and kept for the day it fails."""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from typing import IO

logger = logging.getLogger("warmgate.llama_server")

KEPT_LINES = 400
LONGEST_LINE = 2000  # characters; a longer line is cut, so that the ring is bounded in bytes too

# llama.cpp's own prefix: `0.01.515.586 I srv  load_model: ...`
_PREFIX = re.compile(r"^\d+\.\d\d\.\d{3}\.\d{3} ([DIWE]) ")
_LEVELS = {"D": logging.DEBUG, "I": logging.INFO, "W": logging.WARNING, "E": logging.ERROR}


class ChildLog:
    """A bounded ring of the child's lines. Written by one reader thread, read from any."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._lock = threading.Lock()

    def add(self, line: str) -> None:
        """Keep one line and pass it on to our own log at the level it carries."""
        line = line.rstrip("\n")[:LONGEST_LINE]
        with self._lock:
            self._lines.append(line)
        prefix = _PREFIX.match(line)
        logger.log(_LEVELS[prefix[1]] if prefix else logging.DEBUG, "%s", line)

    def tail(self, count: int = KEPT_LINES) -> list[str]:
        """Return up to the last `count` lines, oldest first."""
        with self._lock:
            return list(self._lines)[-count:]

    def drain(self, stream: IO[bytes]) -> None:
        """Read `stream` to its end, adding each line. Returns when every writer has closed it."""
        with stream:
            # readline's bound keeps a flood without newlines from growing one line for ever
            while raw := stream.readline(LONGEST_LINE * 4):
                self.add(raw.decode("utf-8", "replace"))
