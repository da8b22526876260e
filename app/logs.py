"""How the log is written: for a person, or as lines of JSON for a program.

It never holds a key, and unless `log_content` is set no prompt and no answer: not in the line of a request, not in the
words of an error, and not in what llama-server writes.
"""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec
from rich.logging import RichHandler

from app import console
from app.child_lines import WithoutContent

if TYPE_CHECKING:
    from types import TracebackType

    from app.settings import Settings

    ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

PLAIN: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
IN_TERMINAL: Final = "%(message)s"
CHILD: Final = "warmgate.llama_server"


class Lines(logging.Formatter):
    """Plain lines. Of an exception they tell where it was raised, and its words only where content may be logged."""

    def __init__(self, layout: str, *, content: bool) -> None:
        super().__init__(layout)
        self._content = content

    def formatException(self, ei: ExceptionInfo) -> str:  # noqa: N802 -- the library's name
        """Return a traceback."""
        error = ei[1]
        if self._content or error is None:
            return super().formatException(ei)
        return "".join(_wordless(error))


class JsonLines(Lines):
    """One JSON object a line: `time`, `level`, `logger`, `message`, and the entry's own fields."""

    def __init__(self, *, content: bool) -> None:
        super().__init__("", content=content)

    def format(self, record: logging.LogRecord) -> str:
        """Write an entry."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry, enc_hook=str).decode()


def set_up_logging(settings: Settings) -> None:
    """Log to standard error, with uvicorn's and all other libraries' warnings among our own entries."""
    handler, as_json = _handler(settings.log_content, settings.log_format), settings.log_format == "json"
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("warmgate").setLevel(settings.log_level.upper())
    # At each of its own levels it writes more than one wants to read of a server that is well.
    logging.getLogger(CHILD).setLevel(logging.DEBUG if settings.log_level == "debug" else logging.ERROR)
    if not settings.log_content:
        logging.getLogger(CHILD).addFilter(WithoutContent())
    console.err.quiet = as_json  # what is not of the log would not be JSON


def _handler(content: bool, layout: str) -> logging.Handler:
    if layout == "console" and console.err.is_terminal:
        handler: logging.Handler = RichHandler(console=console.err, show_path=False, log_time_format="%H:%M:%S")
        handler.setFormatter(Lines(IN_TERMINAL, content=content))
        return handler
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(content=content) if layout == "json" else Lines(PLAIN, content=content))
    return handler


def _wordless(error: BaseException) -> list[str]:
    """Return the tracebacks of an exception and of those that led to it, without what they say."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = [*_wordless(cause), "\nwhich led to\n\n"] if cause is not None else []
    frames = traceback.format_tb(error.__traceback__)
    return [*before, "Traceback (most recent call last):\n", *frames, f"{type(error).__name__}\n"]
