"""`tool_choice: none` for a model that calls all the same.

llama-server then shows a call's own syntax as the answer's text (b11549). Gemma 4 begins each call with one token that
means nothing else: without it there are words. The prompt keeps its tools, so that it stays cached.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.request import GenerationRequest

CALL_MARK: Final = "<|tool_call>"
NEVER: Final = -100
"""The bias of a token that is never to come."""


def bar_calls(request: GenerationRequest) -> GenerationRequest:
    """Return the request of a model that writes `CALL_MARK`, without that token if no tool may be called.

    llama-server takes texts beside token numbers, and biases each of their tokens. The mark is one.
    """
    if not request.tools or request.tool_choice.mode != "none":
        return request
    biased = {**request.sampling.get("logit_bias", {}), CALL_MARK: NEVER}
    return replace(request, sampling={**request.sampling, "logit_bias": biased})
