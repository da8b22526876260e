"""The last requests and what became of them, for a person who looks."""

from __future__ import annotations

from collections import Counter, deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from gateway.observation.record import RequestRecord
    from gateway.toolcalls.policy import Outcome

KEPT_REQUESTS: Final = 200


class PastRequest(msgspec.Struct, frozen=True, gc=False):
    """A request that has ended. Nothing of what was said is kept.

    Attributes:
        id: Its id.
        at: When it arrived.
        key: The name of the client's key.
        route: The dialect's route.
        outcome: How it ended.
        queued_seconds: How long it waited for a slot; None if it never got one.
        first_token_seconds: From its arrival to the first piece of the answer; None if none came.
        seconds: From its arrival to its end.
        prompt_tokens: All of the prompt, and of those of repairs.
        completion_tokens: Thought, answer and calls.
        tool_calls: The worst that became of a call; None if there was none.
        attempts: How many answers of the model it took.
    """

    id: str
    at: datetime
    key: str
    route: str
    outcome: str
    queued_seconds: float | None
    first_token_seconds: float | None
    seconds: float
    prompt_tokens: int
    completion_tokens: int
    tool_calls: str | None
    attempts: int


class History:
    """Remembers the last requests with a key, and counts all of them.

    Attributes:
        last: The last ones, newest first.
        outcomes: How many ended how.
        tool_calls: How many calls ended how.
        asked_again: How often the model was asked again for a call.
    """

    def __init__(self) -> None:
        self.last: deque[PastRequest] = deque(maxlen=KEPT_REQUESTS)
        self.outcomes: Counter[str] = Counter()
        self.tool_calls: Counter[Outcome] = Counter()
        self.asked_again = 0

    def finished(self, record: RequestRecord) -> None:
        """Take a request that has ended."""
        if record.key:  # whoever knocks without one drives nobody out
            self.last.appendleft(_past(record))
        self.outcomes[record.outcome] += 1
        self.tool_calls.update(record.calls.outcomes)
        self.asked_again += record.calls.asked_again


def _past(record: RequestRecord) -> PastRequest:
    calls = record.calls
    return PastRequest(
        id=record.id,
        at=datetime.fromtimestamp(record.started_ns / 1e9, UTC),
        key=record.key,
        route=record.route,
        outcome=record.outcome,
        queued_seconds=_between(record.queued, record.admitted),
        first_token_seconds=_between(record.started, record.first_piece),
        seconds=_between(record.started, record.ended) or 0.0,
        prompt_tokens=record.usage.prompt_tokens,
        completion_tokens=record.usage.completion_tokens,
        tool_calls=calls.worst,
        attempts=len(record.attempts),
    )


def _between(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else round(end - begin, 6)
