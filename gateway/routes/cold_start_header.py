"""The header that tells the first client of a server what its start took: `restored; restore=3.1s, probe=0.2s`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.readiness import Readiness

NAME = b"x-warmgate-cold-start"


class ColdStart:
    """Remembers which start has been told of: each is told once, with the first answer after it."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._told: tuple[int, Mapping[str, float]] = (0, {})

    def header(self) -> list[tuple[bytes, bytes]]:
        """Return the header for an answer that begins now; none if a client has got it already."""
        value = self._take()
        return [(NAME, value)] if value else []

    def comment(self) -> bytes:
        """Return the same for a stream whose headers are long gone: a comment, which clients skip."""
        value = self._take()
        return b": %b: %b\n\n" % (NAME, value) if value else b""

    def _take(self) -> bytes:
        report = self._readiness.report()
        start = (report.generation, report.phases)
        if not report.ready or not report.phases or start == self._told:
            return b""
        self._told = start
        phases = ", ".join(f"{name}={seconds:.1f}s" for name, seconds in report.phases.items())
        return f"{report.start}; {phases}".encode()
