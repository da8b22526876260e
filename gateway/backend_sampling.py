"""Which answers are sampled on the GPU: those that llama-server can, when it pays.

llama-server samples on the CPU, one slot after another: 1 ms each over Gemma 4's 262,144 tokens, which is half of the
time of a step at 16 streams. With `backend_sampling` in a request the sampler is a part of the GPU's own graph. That
costs each request a new graph, at its begin and at its end, for which all slots wait; so a short answer is not worth
it, nor is one that is alone: with few streams little is gained (docs/performance.md has the figures).

llama-server drops the wish where it cannot be: with a grammar, for log-probabilities, and with a thought's budget,
which is a sampler on the CPU. A budget is more than a wish, so it is kept in another way where the model begins its
thoughts with a token that means nothing else: a thought that may not be is barred by it, and one that is bounded is
counted as it comes, cut off at its last token and closed (`gateway.answers.answer`).
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from gateway.barring import bar_thought

if TYPE_CHECKING:
    from gateway.observation.record import RequestRecord
    from gateway.request import GenerationRequest
    from gateway.upstream.catalog import ModelInfo

FEWEST_STREAMS: Final = 2
FEWEST_TOKENS: Final = 128
"""From here on an answer gains more than its two graphs cost, at 4 to 16 streams alike: the more there are, the more
wait for the graph, and the more is gained with each token."""

FEWEST_THOUGHT: Final = 256
"""A thought that may be shorter is likely to be cut off, and its answer then waits for another slot and two graphs."""

SMOOTHING: Final = 0.1
"""Weight of the newest answer in the running mean of their lengths."""


class BackendSampling(StrEnum):
    """When to sample on the GPU.

    Attributes:
        OFF: Never.
        AUTO: When it pays.
        ON: Whenever llama-server can.
    """

    OFF = "off"
    AUTO = "auto"
    ON = "on"


class SamplingChoice:
    """Chooses for each request, by what is in flight and by how long answers are. An observer of ended requests.

    Attributes:
        typical_tokens: The running mean of the answers' lengths; at first as if it paid.
    """

    def __init__(self, mode: BackendSampling) -> None:
        self._mode = mode
        self.typical_tokens: float = 2 * FEWEST_TOKENS

    def finished(self, record: RequestRecord) -> None:
        """Learn how long an answer was."""
        if record.outcome == "ok" and record.usage.completion_tokens:
            each = record.usage.completion_tokens / record.choices
            self.typical_tokens += SMOOTHING * (each - self.typical_tokens)

    def choose(self, request: GenerationRequest, model: ModelInfo, in_flight: int) -> GenerationRequest:
        """Return the request, sampled on the GPU if it is to be.

        Args:
            request: As it would be sent.
            model: Who answers it.
            in_flight: How many requests hold a slot, this one among them.
        """
        if not (can_be(request) and self._is_wanted(request, in_flight)):
            return request
        if model.marks_calls:
            request = _without_budget(request)
        return replace(request, sampling={**request.sampling, "backend_sampling": True})

    def _is_wanted(self, request: GenerationRequest, in_flight: int) -> bool:
        if self._mode is not BackendSampling.AUTO:
            return self._mode is BackendSampling.ON
        if request.thinking.budget and request.thinking.budget < FEWEST_THOUGHT:
            return False
        expected = min(self.typical_tokens, request.max_tokens or self.typical_tokens)
        return in_flight >= FEWEST_STREAMS and expected >= FEWEST_TOKENS


def _without_budget(request: GenerationRequest) -> GenerationRequest:
    """Keep llama-server from bounding the thought: it is barred, or bounded as it is read."""
    if not request.thinking.enabled:
        return bar_thought(request)
    return replace(request, thinking=replace(request.thinking, budget=None))


def can_be(request: GenerationRequest) -> bool:
    """Return whether llama-server can sample the answer on the GPU, as far as we know.

    An answer that is to be the same each time, by its seed, is always sampled in one place.
    """
    has_grammar = request.response_format is not None or bool(request.tools and request.tool_choice.mode != "none")
    goes_on = request.messages[-1]["role"] == "assistant"  # what it thinks can then be bounded by llama-server only
    return not (has_grammar or goes_on or request.logprobs is not None or "seed" in request.sampling)
