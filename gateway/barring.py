"""Calls and thoughts that may not be, kept from being written, where llama-server has no other way.

Gemma 4 begins each call and each thought with one token that means nothing else: without it there are words.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.request import GenerationRequest

CALL_MARK: Final = "<|tool_call>"
THOUGHT_MARK: Final = "<|channel>"
NEVER: Final = -100
"""The bias of a token that is never to come: Gemma 4's logits lie between -30 and 30."""


def bar_calls(request: GenerationRequest) -> GenerationRequest:
    """Return the request of a model that writes `CALL_MARK`, without that token if no tool may be called.

    llama-server renders the tools all the same, and shows a call's own syntax as the answer's text (b11549). The prompt
    keeps its tools, so that it stays cached.
    """
    return _without(CALL_MARK, request) if request.tools and request.tool_choice.mode == "none" else request


def bar_thought(request: GenerationRequest) -> GenerationRequest:
    """Return the request of a model that writes `THOUGHT_MARK`, without that token, and so without need of a budget."""
    return replace(_without(THOUGHT_MARK, request), thinking=replace(request.thinking, budget=None))


def _without(mark: str, request: GenerationRequest) -> GenerationRequest:
    """llama-server takes texts beside token numbers, and biases each of their tokens. The mark is one."""
    biased = {**request.sampling.get("logit_bias", {}), mark: NEVER}
    return replace(request, sampling={**request.sampling, "logit_bias": biased})
