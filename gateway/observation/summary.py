"""What a request took: its tokens by kind, its seconds by what they were spent on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.observation.record import RequestRecord


def tokens_by_kind(record: RequestRecord) -> dict[str, int]:
    """Return a request's tokens. `cached` is part of `prompt`; the others are what was written, each kind apart."""
    usage, repair = record.usage, record.calls.tokens
    return {
        "prompt": usage.prompt_tokens,
        "cached": usage.cached_tokens,
        "thought": usage.reasoning_tokens,
        "answer": max(0, usage.completion_tokens - usage.reasoning_tokens - repair),
        "repair": repair,
    }


def seconds_by_part(record: RequestRecord) -> dict[str, float]:
    """Return how long a request took, and parts of that; those that there were.

    `queue` is from asking for a slot to getting one, `server` from there to a server that is ready, `prefill` from
    asking the model to the first that it wrote; `first_token` and `total` are from the request's arrival.
    """
    first = record.attempts[0] if record.attempts else None
    spans = {
        "queue": (record.queued, record.admitted),
        "server": (record.admitted, record.found),
        "prefill": (first.sent, first.first_piece) if first is not None else (None, None),
        "first_token": (record.started, record.first_piece),
        "total": (record.started, record.ended),
    }
    return {name: until - since for name, (since, until) in spans.items() if since is not None and until is not None}
