"""The request's stop texts, found in the answer's text.

Here and not upstream: llama-server looks for them in all that the model writes, so that a stop text within the thought
would end the answer before it began, and it does not say which one it found.
"""

from __future__ import annotations


class StopFilter:
    """Passes text on until a stop text appears in it. Pure; the text may come in any pieces."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""

    def feed(self, text: str) -> tuple[str, str | None]:
        """Return what of the text so far may be passed on, and the stop text that ends it, or None.

        What could be the beginning of a stop text is held back.
        """
        text = self._held + text
        found = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            at, stop = min(found, key=lambda hit: (hit[0] + len(hit[1]), hit[0]))  # the first to be complete
            self._held = ""
            return text[:at], stop
        keep = self._longest_beginning(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], None

    def end(self) -> str:
        """Return what was held back: no stop text came of it."""
        held, self._held = self._held, ""
        return held

    def _longest_beginning(self, text: str) -> int:
        """Return the length of the longest end of `text` that is a stop text's beginning."""
        longest = min(len(text), max(map(len, self._stops)) - 1)
        return next(
            (size for size in range(longest, 0, -1) if any(stop.startswith(text[-size:]) for stop in self._stops)), 0
        )
