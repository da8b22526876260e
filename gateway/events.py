"""The events of one answer, the same for every dialect.

An answer is one `PromptRead`, any number of deltas and calls, then one `Finish`, then one `Usage`. A failure is an
exception instead. Upstream's own stream has `ToolCallDelta` and `Counts` too; `gateway.answers` makes of them what the
dialects see.
"""

from __future__ import annotations

import msgspec


class Alternative(msgspec.Struct, frozen=True, gc=False):
    """A token that could have stood here. Fields as in OpenAI's `top_logprobs`."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprob(Alternative, frozen=True, gc=False, kw_only=True):
    """A token that stands in the answer, and what else could have."""

    top_logprobs: list[Alternative] = []


class PromptRead(msgspec.Struct, frozen=True, gc=False):
    """The prompt has been read, and the answer begins. `cached_tokens` of it did not have to be computed again."""

    prompt_tokens: int
    cached_tokens: int


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of the answer. `logprobs` are those of exactly its tokens, if they were asked for."""

    text: str
    logprobs: list[TokenLogprob] | None = None


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of the thought."""

    text: str


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """One whole tool call. `id` is unique and without a dialect's prefix; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


class Finish(msgspec.Struct, frozen=True, gc=False):
    """Why the answer ends.

    Attributes:
        reason: `stop`, `length` or `tool_calls`.
        stop: Which of the request's stop texts ended it, or None.
    """

    reason: str
    stop: str | None = None


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Token counts.

    Attributes:
        prompt_tokens: The whole prompt.
        completion_tokens: Thought, answer, calls and the marks between them.
        cached_tokens: That part of the prompt which did not have to be computed.
        reasoning_tokens: That part of the completion which is thought.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Return what two attempts took together."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


Event = PromptRead | TextDelta | ReasoningDelta | ToolCall | Finish | Usage


class ToolCallDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of one tool call: the first carries `id` and `name`, all carry a part of the arguments' JSON text."""

    index: int
    id: str | None
    name: str | None
    arguments: str


class Counts(msgspec.Struct, frozen=True, gc=False):
    """Tokens read and written up to here; comes after the pieces of each chunk."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


UpstreamEvent = TextDelta | ReasoningDelta | ToolCallDelta | Counts | Finish | Usage
