"""llama-server's lines, without what they quote of prompts and answers."""

from __future__ import annotations

import logging
import re
from typing import Final

_PREFIX: Final = re.compile(r"\d+\.\d\d\.\d{3}\.\d{3} [DIWE] ")
"""How an entry begins; what does not is the rest of the one before."""

_QUOTING: Final = re.compile(
    r"got exception: |, error: |for grammar:|failed to apply template: |Tool call mismatch: "
    r"|old: \.\.\. |new: \.\.\. |as expected: |error parsing grammar: "
)
"""What a quotation follows (b11434, b11549): the model's words, the client's grammar or messages, parts of prompts."""

CUT: Final = "[WARMGATE_LOG_CONTENT=true shows the rest]"


class WithoutContent(logging.Filter):
    """Cuts quotations off. One reader thread logs a server's lines, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self._quoting = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is logged. What it quotes is cut off."""
        line = record.getMessage()
        if not _PREFIX.match(line):
            return not self._quoting
        quoted = _QUOTING.search(line)
        self._quoting = quoted is not None
        if quoted is not None:
            record.msg, record.args = "%s", (line[: quoted.end()] + CUT,)
        return True
