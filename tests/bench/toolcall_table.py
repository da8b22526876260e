"""What came of each question of the tool-call benchmark -> the figures, and their table."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VALID = "valid"
REFUSED = "refused"
"""The outcomes that a client can rely on. Any other is named by what the client got."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one question led to.

    Attributes:
        outcome: `VALID`, `REFUSED`, or words for anything else.
        seconds: How long it took.
        tokens: What the model wrote, in tokens; none if the answer does not say.
        attempts: How many answers of the model it took; none if the answer does not say.
        message: The error's, if it was one.
    """

    outcome: str
    seconds: float
    tokens: int | None = None
    attempts: int | None = None
    message: str = ""


Pair = tuple[Result, Result]
"""The same question, asked directly and through the gateway."""


def spread(values: Sequence[float]) -> str:
    """Return the median, and between which values four of five lie."""
    if not values:
        return "-"
    cuts = statistics.quantiles(values, n=10, method="inclusive") if len(values) > 1 else [values[0]] * 9
    return f"{cuts[4]:.2f} ({cuts[0]:.2f}-{cuts[8]:.2f})"


def figures(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return how often each outcome was, directly and through the gateway, and what the gateway's answers took."""
    direct, through = ([pair[side] for pair in pairs] for side in (0, 1))
    tokens = [(before.tokens, after.tokens) for before, after in pairs if before.tokens and after.tokens]
    return {
        "questions": len(pairs),
        "direct": dict(Counter(result.outcome for result in direct)),
        "warmgate": dict(Counter(result.outcome for result in through)),
        "attempts": spread([result.attempts for result in through if result.attempts]),
        "tokens_added": spread([after - before for before, after in tokens]),
        "tokens_ratio": spread([after / before for before, after in tokens]),
        "time_ratio": spread([after.seconds / before.seconds for before, after in pairs]),
    }


def broken(pairs: Sequence[Pair]) -> int:
    """Return how many answers through the gateway were neither a valid call nor a refusal: there must be none."""
    return sum(after.outcome not in {VALID, REFUSED} for _before, after in pairs)


HEAD = (
    "model",
    "tool_choice",
    "asked",
    "questions",
    "valid",
    "refused",
    "anything else",
    "attempts",
    "added tokens",
    "tokens, ratio",
    "time, ratio",
)


def table(runs: Mapping[tuple[str, str], Sequence[Pair]]) -> str:
    """Return the Markdown table of runs, which are told apart by model and choice."""
    lines = [HEAD, ("---",) * len(HEAD)]
    for (model, choice), pairs in runs.items():
        if pairs:
            found = figures(pairs)
            costs = [found[name] for name in ("attempts", "tokens_added", "tokens_ratio", "time_ratio")]
            lines.append((model, choice, "directly", *_shares(found["direct"]), *[""] * len(costs)))
            lines.append((model, choice, "through warmgate", *_shares(found["warmgate"]), *costs))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shares(outcomes: dict[str, int]) -> tuple[str, ...]:
    total = sum(outcomes.values())
    others = [f"{_share(n, total)} {name}" for name, n in sorted(outcomes.items()) if name not in {VALID, REFUSED}]
    valid, refused = (_share(outcomes.get(name, 0), total) for name in (VALID, REFUSED))
    return str(total), valid, refused, ", ".join(others) or "0.0 %"


def _share(part: int, total: int) -> str:
    return f"{100 * part / total:.1f} %"
