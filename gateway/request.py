"""What a client asks for, whatever the dialect it asks in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One answer to be generated. `None` leaves a value to the server's default.

    Attributes:
        messages: The conversation as llama-server's chat endpoint takes it, holding only checked fields.
        max_tokens: Upper bound of thought and answer together, in tokens.
        stop: Texts that end the answer.
        logprobs: How many alternatives to report for each token, 0 for the chosen one alone.
        tools: Function declarations in OpenAI's shape.
        tool_choice: `none`, `auto` or `required`.
        sampling: Sampler settings under llama-server's names.
        template_kwargs: The chat template's switches; only `enable_thinking` is ever put there.
    """

    messages: list[dict[str, Any]]
    max_tokens: int | None = None
    stop: list[str] | None = None
    logprobs: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    template_kwargs: dict[str, bool] = field(default_factory=dict)
