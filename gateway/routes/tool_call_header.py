"""The header in which a client says how far the tool-call contract goes, and is told what became of its calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import InvalidRequest
from gateway.toolcalls.policy import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME = b"x-warmgate-tool-calls"


def asked_mode(headers: Iterable[tuple[bytes, bytes]]) -> Mode | None:
    """Return the mode that a request's headers ask for, or None if they do not.

    Raises:
        InvalidRequest: There is no such mode.
    """
    value = next((value for name, value in headers if name == NAME), None)
    if value is None:
        return None
    try:
        return Mode(value.decode("latin-1").strip().lower())
    except ValueError:
        modes = ", ".join(Mode)
        raise InvalidRequest(
            f"Invalid header {NAME.decode()!r}: expected one of {modes}.", param=NAME.decode()
        ) from None


def answered(calls: str) -> list[tuple[bytes, bytes]]:
    """Return the header of an answer in one piece; none if there were no calls."""
    return [(NAME, calls.encode())] if calls else []


def commented(calls: str) -> bytes:
    """Return the same for a stream, whose headers are long gone: a comment, which clients skip."""
    return b": %b: %b\n\n" % (NAME, calls.encode()) if calls else b""
