"""W3C's trace context: which trace something belongs to, and below which span.

https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace
from typing import Final

_HEADER: Final = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
SAMPLED: Final = 1
"""The flag that says that somebody keeps this trace."""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span's place.

    Attributes:
        trace_id: 128 bits, not 0.
        span_id: 64 bits, not 0.
        flags: Of the eight bits we know `SAMPLED`.
    """

    trace_id: int
    span_id: int
    flags: int = SAMPLED

    @classmethod
    def made(cls) -> TraceContext:
        """Return the place of the first span of a new trace.

        The ids come from the system: copies of a snapshot would all draw the same ones from `random`.
        """
        return cls(_some_bits(128), _some_bits(64))

    @classmethod
    def parse(cls, traceparent: str | None) -> TraceContext | None:
        """Return what a `traceparent` header says, or None for what is none. A later version may say more."""
        found = _HEADER.fullmatch(traceparent or "")
        if found is None or (found["version"] == "00" and found["more"] is not None):
            return None
        return cls(int(found["trace"], 16), int(found["span"], 16), int(found["flags"], 16))

    def child(self) -> TraceContext:
        """Return the place of a new span below this one."""
        return replace(self, span_id=_some_bits(64))

    def __str__(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.flags:02x}"


def as_it_came(traceparent: str | None) -> str | None:
    """Return what whoever takes no part in a trace passes on: the same, if it is a trace context."""
    return traceparent if TraceContext.parse(traceparent) is not None else None


def _some_bits(number: int) -> int:
    return secrets.randbits(number) or 1
