"""Are greedy answers the same wherever they are sampled?

Two equally likely tokens have no order: where answers part, both tokens' log-probabilities are looked up.
"""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

ANSWER_SECONDS = 120.0
SAME_LOGPROB = 1e-3


@dataclass(frozen=True, slots=True)
class Parting:
    """Where two answers part.

    Attributes:
        at: After how many tokens.
        tokens: The two tokens there.
        logprobs: And their log-probabilities; None for one that is not among the likeliest.
    """

    at: int
    tokens: tuple[int, int]
    logprobs: tuple[float | None, float | None]

    @property
    def is_tie(self) -> bool:
        """Whether both were equally likely."""
        one, other = self.logprobs
        return one is not None and other is not None and abs(one - other) < SAME_LOGPROB


def compare(url: str, prompt: str, tokens: int, change: Mapping[str, Any]) -> Parting | None:
    """Return where a greedy answer leaves the one that is sampled with `change`, or None if it does not.

    Args:
        url: A llama-server's.
        prompt: What to go on from.
        tokens: How long the answers are.
        change: Fields that may not make a difference.
    """
    body = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "cache_prompt": False, "return_tokens": True}
    one, other = _ask(url, body)["tokens"], _ask(url, {**body, **change})["tokens"]
    at = next((i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    if at is None:
        return None
    looked_up = _ask(url, {**body, "n_predict": at + 1, "n_probs": 16})["completion_probabilities"][at]
    likely = {entry["id"]: entry["logprob"] for entry in looked_up["top_logprobs"]}
    return Parting(at, (one[at], other[at]), (likely.get(one[at]), likely.get(other[at])))


def _ask(url: str, body: Mapping[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{url}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
        return json.load(answer)
