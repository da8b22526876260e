"""What one stream of llama-server's amounts to: its events read, counted, cut at a stop text, calls put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import events
from gateway.stopping import StopFilter
from gateway.toolcalls.assembly import CallAssembler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.request import GenerationRequest


class Attempt:
    """Reads one upstream stream. Pure: batches in, batches out.

    Attributes:
        has_thought, has_text, has_calls: What has come so far.
        finish: How it ended, once it has.
        usage: What it took: counted while it comes, and upstream's own word at the end.
    """

    def __init__(self, request: GenerationRequest) -> None:
        self.has_thought = False
        self.has_text = False
        self.has_calls = False
        self.finish: events.Finish | None = None
        self._stop = StopFilter(request.stop) if request.stop else None
        self._logprobs: list[events.TokenLogprob] = []
        self._calls = CallAssembler()
        self._prompt: events.PromptRead | None = None
        self._written = 0
        self._thought_tokens = 0
        self._usage: events.Usage | None = None

    @property
    def usage(self) -> events.Usage:
        """Return the token counts up to here."""
        counted = self._usage or events.Usage(
            self._prompt.prompt_tokens if self._prompt else 0,
            self._written,
            self._prompt.cached_tokens if self._prompt else 0,
        )
        return events.Usage(
            counted.prompt_tokens, counted.completion_tokens, counted.cached_tokens, self._thought_tokens
        )

    def feed(self, batch: Sequence[events.UpstreamEvent]) -> list[events.Event]:
        """Read a batch. What comes after a stop text is dropped; `finish` is set then."""
        out: list[events.Event] = []
        thinking = False
        for event in batch:
            if self.finish is not None and not isinstance(event, events.Usage):
                continue
            match event:
                case events.TextDelta():
                    thinking = False
                    self._text(out, event)
                case events.ReasoningDelta():
                    thinking = self.has_thought = True
                    out.append(event)
                case events.Counts():
                    self._count(out, event, thinking=thinking)
                    thinking = False
                case events.ToolCallDelta():
                    self._add_calls(out, self._calls.feed(event))
                case events.Finish():
                    self._end(out, event)
                case events.Usage():
                    self._usage = event
        return out

    def _text(self, out: list[events.Event], event: events.TextDelta) -> None:
        if self._stop is None:
            self.has_text = True
            out.append(event)
            return
        self._logprobs += event.logprobs or []
        text, stop = self._stop.feed(event.text)
        self._pass_on(out, text)
        if stop is not None:
            self.finish = events.Finish("stop", stop)

    def _pass_on(self, out: list[events.Event], text: str) -> None:
        """Add text that no stop text can begin in, with the log-probabilities of the tokens that it is made of."""
        if not text:
            return
        self.has_text = True
        tokens: list[events.TokenLogprob] = []
        length = 0
        while self._logprobs and length < len(text):
            tokens.append(self._logprobs.pop(0))
            length += len(tokens[-1].token)
        out.append(events.TextDelta(text, tokens or None))

    def _count(self, out: list[events.Event], counts: events.Counts, *, thinking: bool) -> None:
        if self._prompt is None:
            self._prompt = events.PromptRead(counts.prompt_tokens, counts.cached_tokens)
            out.insert(0, self._prompt)
        if thinking:
            # the first piece of a thought comes with the marks that open it, which are no part of it
            self._thought_tokens += counts.completion_tokens - self._written if self._thought_tokens else 1
        self._written = counts.completion_tokens

    def _end(self, out: list[events.Event], finish: events.Finish) -> None:
        if self._stop is not None:
            self._pass_on(out, self._stop.end())
        self._add_calls(out, self._calls.end())
        self.finish = finish

    def _add_calls(self, out: list[events.Event], calls: list[events.ToolCall]) -> None:
        self.has_calls = self.has_calls or bool(calls)
        out += calls
