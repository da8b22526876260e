"""Thoughts that are given back: Gemma 4 wants the thought that led to a tool call back with that call."""

from __future__ import annotations

from typing import Protocol


class ThoughtSeal(Protocol):
    """Makes of a thought what a client can keep and give back, but neither read nor forge."""

    def seal(self, thought: str) -> str:
        """Return the sealed thought, as URL-safe text."""
        ...

    def open(self, sealed: str) -> str | None:
        """Return the thought, or None if it was not sealed with our key."""
        ...
