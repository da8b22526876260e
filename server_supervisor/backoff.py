"""How long to wait before the next start, and when to give up."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """Exponential backoff with jitter, and a budget of crashes per window.

    Attributes:
        first_delay_seconds: Before the first restart; doubled for each further crash within the window.
        longest_delay_seconds: Upper bound of a delay.
        budget: So many crashes within `window_seconds` are answered with a restart; one more is final.
        window_seconds: How long a crash counts.
    """

    first_delay_seconds: float = 0.25
    longest_delay_seconds: float = 30.0
    budget: int = 8
    window_seconds: float = 600.0


class CrashBudget:
    """Counts crashes against a policy. Times are of any one monotonic clock, in seconds."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._crashes: deque[float] = deque()

    def record(self, now: float) -> float | None:
        """Count a crash and return the delay before the next start, in seconds; None once the budget is spent."""
        while self._crashes and self._crashes[0] <= now - self._policy.window_seconds:
            self._crashes.popleft()
        self._crashes.append(now)
        if len(self._crashes) > self._policy.budget:
            return None
        delay = self._policy.first_delay_seconds * 2.0 ** (len(self._crashes) - 1)
        # Half of it is jitter, so that containers that fell together do not rise together.
        return min(delay, self._policy.longest_delay_seconds) * random.uniform(0.5, 1.0)  # noqa: S311
