"""What one stream of llama-server's amounts to: its events read, counted, cut, calls put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway import events
from gateway.answers.marks import MarkFilter
from gateway.answers.stopping import StopFilter
from gateway.thinking import OPENING_TOKENS
from gateway.toolcalls.assembly import CallAssembler, is_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.request import GenerationRequest
    from gateway.toolcalls.guard import CallGuard

MOST_UNSEEN: Final = 5
"""So many tokens at the end of a complete answer may leave no trace in it: the end of the turn, and an empty thought,
which Gemma 4 is known to add (four tokens). More is text that was lost: what follows a stray `<channel|>` or
`<|channel>` is dropped by llama-server's parser without a word (b11549)."""

MOST_PREFACE: Final = 64
"""Where a call is required, an answer that begins with so many characters of text will not become one."""


class Attempt:
    """Reads one upstream stream. Pure: batches in, batches out.

    Attributes:
        has_thought, has_text, has_calls: What has come so far.
        thought_tokens: How long the thought is that was passed on; never more than the request's budget.
        overthinks: Whether in the last batch a thought went beyond the budget. It is cut off there.
        finish: How it ended, once it has.
        usage: What it took: counted while it comes, and upstream's own word at the end.
    """

    def __init__(self, request: GenerationRequest, guard: CallGuard | None = None) -> None:
        """Begin to read.

        Args:
            request: What was asked.
            guard: Watches over the calls; None where they are not looked at.
        """
        self.has_thought = False
        self.has_text = False
        self.has_calls = False
        self.thought_tokens = 0
        self.overthinks = False
        self._guard = guard
        self._must_call = guard is not None and guard.must_call
        self._calls_begun = False
        self._preface = 0  # characters of text that were not passed on, because a call is required
        self._whole_thought: list[str] = []
        self.finish: events.Finish | None = None
        self._budget = request.thinking.budget
        self._is_plain = request.response_format is None
        self._stop = StopFilter(request.stop) if request.stop else None
        # who asks for log-probabilities wants to see every token
        self._marks = MarkFilter(request.messages) if request.logprobs is None else None
        self._logprobs: list[events.TokenLogprob] = []
        self._calls = CallAssembler()
        self._prompt: events.PromptRead | None = None
        self._continues = request.continue_final_message
        self._thought: list[events.ReasoningDelta] = []  # pieces whose tokens have not been counted yet
        self._in_thought = False
        self._cut_thought = False
        self._written = 0
        self._seen = 0  # tokens up to the last piece
        self._usage: events.Usage | None = None

    @property
    def usage(self) -> events.Usage:
        """Return the token counts up to here. What an answer goes on from was counted before."""
        counted = self._usage or events.Usage(
            self._prompt.prompt_tokens if self._prompt else 0,
            self._written,
            self._prompt.cached_tokens if self._prompt else 0,
        )
        prompt, cached = (0, 0) if self._continues else (counted.prompt_tokens, counted.cached_tokens)
        return events.Usage(prompt, counted.completion_tokens, cached, self.thought_tokens)

    @property
    def lost_text(self) -> bool:
        """Return whether the model went on to write after the last piece that llama-server passed on.

        Only where that is certain: the fences of a `response_format` and the marks of a call leave no trace either.
        """
        stopped = self.finish is not None and self.finish.reason == "stop" and self.finish.stop is None
        return (
            stopped
            and self._is_plain
            and not self.has_calls
            and self._prompt is not None  # it was counted at all
            and self.usage.completion_tokens - self._seen > MOST_UNSEEN
        )

    @property
    def spent_budget(self) -> bool:
        """Return whether the thought is as long as its budget: one that llama-server ended is exactly that."""
        return bool(self._budget) and self.thought_tokens >= (self._budget or 0)

    @property
    def is_cut(self) -> bool:
        """Return whether a thought is being written that has gone beyond the budget."""
        return self._cut_thought

    @property
    def strays(self) -> bool:
        """Return whether a call was required and text came instead."""
        return self._preface > MOST_PREFACE and not self._calls_begun

    def feed(self, batch: Sequence[events.UpstreamEvent]) -> list[events.Event]:
        """Read a batch. What comes after a stop text is dropped; `finish` is set then."""
        out: list[events.Event] = []
        self.overthinks = False
        has_piece = False
        for event in batch:
            if self.finish is not None and not isinstance(event, events.Counts | events.Usage):
                continue
            match event:
                case events.TextDelta():
                    has_piece = True
                    self._end_thought(out)
                    self._add_text(out, event)
                case events.ReasoningDelta():
                    has_piece = True
                    self._thought.append(event)
                case events.Counts():
                    self._count(out, event, has_piece=has_piece)
                    has_piece = False
                case events.ToolCallDelta():
                    has_piece = True
                    self._calls_begun = True
                    self._end_thought(out)
                    self._end_text(out)
                    self._add_calls(out, self._calls.feed(event))
                case events.Finish():
                    self._end(out, event)
                case events.Usage():
                    self._usage = event
        self._pass_thought(out, len(self._thought))
        return out

    def _count(self, out: list[events.Event], counts: events.Counts, *, has_piece: bool) -> None:
        if self._prompt is None:
            self._prompt = events.PromptRead(counts.prompt_tokens, counts.cached_tokens)
            out.insert(0, self._prompt)
        self._written = counts.completion_tokens
        if self._thought:
            # A thought's first piece comes with what opens it. That is no part of it, but the line feed is which
            # follows: llama-server counts so, too.
            opening = 0 if self._in_thought else OPENING_TOKENS
            self._pass_thought(out, max(0 if self._in_thought else 1, self._written - self._seen - opening))
        if has_piece:
            self._seen = self._written

    def _pass_thought(self, out: list[events.Event], tokens: int) -> None:
        """Pass on the pieces of thought that `tokens` tokens make up, if the budget still allows for them."""
        if not self._thought:
            return
        self.has_thought = self._in_thought = True
        if self._cut_thought or (self._budget is not None and self.thought_tokens + tokens > self._budget):
            self.overthinks = self.overthinks or not self._cut_thought
            self._cut_thought = True
        else:
            self.thought_tokens += tokens
            out += self._thought
            if self._guard is not None:
                self._whole_thought += [piece.text for piece in self._thought]
        self._thought = []

    def _end_thought(self, out: list[events.Event]) -> None:
        self._pass_thought(out, len(self._thought))
        self._in_thought = self._cut_thought = False

    def _add_text(self, out: list[events.Event], event: events.TextDelta) -> None:
        if self._stop is None and self._guard is None:
            self._pass_text(out, event.text, event.logprobs)
            return
        self._logprobs += event.logprobs or []
        text, stop = self._stop.feed(event.text) if self._stop is not None else (event.text, None)
        self._pass_on(out, text)
        if stop is not None:
            self._end_text(out)
            self.finish = events.Finish("stop", stop)

    def _logprobs_of(self, text: str) -> list[events.TokenLogprob] | None:
        """Take the log-probabilities of the tokens that `text` is made of."""
        tokens: list[events.TokenLogprob] = []
        length = 0
        while self._logprobs and length < len(text):
            tokens.append(self._logprobs.pop(0))
            length += len(tokens[-1].token)
        return tokens or None

    def _pass_on(self, out: list[events.Event], text: str) -> None:
        if self._guard is not None:
            text = self._guard.feed_text(text)
        self._pass_text(out, text, self._logprobs_of(text))

    def _pass_text(self, out: list[events.Event], text: str, logprobs: list[events.TokenLogprob] | None = None) -> None:
        """Pass on text that is certainly no call."""
        if self._marks is not None:
            text = self._marks.feed(text)
        if self._must_call:
            self._preface += len(text.strip())
        elif text:
            self.has_text = True
            out.append(events.TextDelta(text, logprobs))

    def _end_text(self, out: list[events.Event]) -> None:
        """Pass on the text that was held back, and the calls that it turned out to be."""
        if self._stop is not None:
            self._pass_on(out, self._stop.end())
        calls: list[events.ToolCall] = []
        if self._guard is not None:
            text, calls = self._guard.end_text()
            self._pass_text(out, text, self._logprobs_of(text))
        if self._marks is not None and (text := self._marks.end()) and not self._must_call:
            self.has_text = True
            out.append(events.TextDelta(text))
        self._pass_calls(out, calls)

    def _end(self, out: list[events.Event], finish: events.Finish) -> None:
        self._end_thought(out)
        self._end_text(out)
        calls = self._calls.end()
        if finish.reason == "length":
            calls = [call for call in calls if is_json(call.arguments)]  # the last one was cut off
        self._add_calls(out, calls)
        if self._guard is not None and finish.reason == "stop" and not (self.has_text or self.has_calls):
            self._pass_calls(out, self._guard.end_thought("".join(self._whole_thought)))
        self.finish = finish

    def _add_calls(self, out: list[events.Event], calls: list[events.ToolCall]) -> None:
        if self._guard is not None:
            calls = [passed for call in calls for passed in self._guard.feed_call(call)]
        self._pass_calls(out, calls)

    def _pass_calls(self, out: list[events.Event], calls: list[events.ToolCall]) -> None:
        waiting = self._guard is not None and bool(self._guard.waiting)
        self.has_calls = self.has_calls or waiting or bool(calls)
        out += calls
