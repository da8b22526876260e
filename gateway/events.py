"""The events of one answer, the same for every dialect.

A stream is any number of deltas, then one `Finish`, then one `Usage`. A failure is an exception instead.
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


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of the answer. `logprobs` are those of exactly its tokens, if they were asked for."""

    text: str
    logprobs: list[TokenLogprob] | None = None


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of the thought."""

    text: str


class ToolCallDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of one tool call: the first carries `id` and `name`, all carry a part of the arguments' JSON text."""

    index: int
    id: str | None
    name: str | None
    arguments: str


class Finish(msgspec.Struct, frozen=True, gc=False):
    """Why the model stopped: `stop`, `length` or `tool_calls`."""

    reason: str


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Token counts. `cached_tokens` is that part of `prompt_tokens` which did not have to be computed."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


Event = TextDelta | ReasoningDelta | ToolCallDelta | Finish | Usage
