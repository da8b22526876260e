"""A whole answer, for a client that wants it in one piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import events

if TYPE_CHECKING:
    from collections.abc import Sequence

Item = events.ReasoningDelta | events.TextDelta | events.ToolCall


class CompleteAnswer:
    """Collects an answer's events.

    Attributes:
        logprobs: Of all tokens of the text, if they were asked for.
        finish: Why it ended.
        usage: What it took.
    """

    def __init__(self) -> None:
        self.logprobs: list[events.TokenLogprob] = []
        self.finish = events.Finish("stop")
        self.usage = events.Usage(0, 0)
        self._items: list[Item] = []
        self._open: type[events.ReasoningDelta | events.TextDelta] = events.TextDelta
        self._pieces: list[str] = []  # of the item that is not complete yet
        self._logprobs: list[events.TokenLogprob] = []  # the same

    def add(self, batch: Sequence[events.Event]) -> None:
        """Collect a batch of events."""
        for event in batch:
            match event:
                case events.TextDelta(text, logprobs):
                    self._add_piece(events.TextDelta, text)
                    self.logprobs += logprobs or ()
                    self._logprobs += logprobs or ()
                case events.ReasoningDelta(text):
                    self._add_piece(events.ReasoningDelta, text)
                case events.ToolCall():
                    self._close()
                    self._items.append(event)
                case events.Finish():
                    self.finish = event
                case events.Usage():
                    self.usage = event
                case events.PromptRead():
                    pass

    @property
    def items(self) -> list[Item]:
        """Thoughts, texts and calls in the order in which they came, each in one piece."""
        self._close()
        return self._items

    @property
    def text(self) -> str:
        """All text together."""
        return "".join(item.text for item in self.items if isinstance(item, events.TextDelta))

    @property
    def reasoning(self) -> str:
        """All thought together."""
        return "".join(item.text for item in self.items if isinstance(item, events.ReasoningDelta))

    @property
    def calls(self) -> list[events.ToolCall]:
        """All calls."""
        return [item for item in self.items if isinstance(item, events.ToolCall)]

    def _add_piece(self, kind: type[events.ReasoningDelta | events.TextDelta], text: str) -> None:
        if kind is not self._open:
            self._close()
            self._open = kind
        self._pieces.append(text)

    def _close(self) -> None:
        if not self._pieces:
            return
        text = "".join(self._pieces)
        if self._open is events.TextDelta:
            self._items.append(events.TextDelta(text, self._logprobs or None))
        else:
            self._items.append(events.ReasoningDelta(text))
        self._pieces = []
        self._logprobs = []
