"""Is a deployed endpoint up, and how long do its first and its next answer take?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from app.failure import CommandFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

COLD_SECONDS = 900.0
"""A first start reads the weights and takes the snapshot; meanwhile a proxy may send the waiting client to itself."""

MOST_REDIRECTS = 20
START_HEADER = "x-warmgate-cold-start"
QUESTION = {
    "messages": [{"role": "user", "content": "Say hello in five words."}],
    "max_tokens": 32,
    "stream": True,
    "thinking_budget": 0,
}


@dataclass(frozen=True, slots=True)
class Timing:
    """How one answer came.

    Attributes:
        first_seconds: Until its first byte.
        seconds: Until its last.
        start: What the server said of its start; empty if it was up already.
    """

    first_seconds: float
    seconds: float
    start: str


def smoke_test(url: str, key: str) -> Iterator[str]:
    """Ask twice, and yield what is to be shown, as it comes.

    Raises:
        CommandFailure: There was no answer.
    """
    yield f"{url}/v1"
    with httpx.Client(
        base_url=url,
        headers={"authorization": f"Bearer {key}"},
        timeout=COLD_SECONDS,
        follow_redirects=True,
        max_redirects=MOST_REDIRECTS,
    ) as client:
        for name in ("first", "next"):
            timing = _ask(client)
            start = timing.start or "it was up already"
            why = f" ({start})" if name == "first" else ""
            yield f"{name} answer: {timing.first_seconds:.2f} s to its first byte, {timing.seconds:.2f} s in all{why}"


def _ask(client: httpx.Client) -> Timing:
    began = time.monotonic()
    try:
        with client.stream("POST", "/v1/chat/completions", json=QUESTION) as response:
            if response.is_error:
                response.read()
                raise CommandFailure(f"{response.url} answers {response.status_code}: {response.text[:500]}")
            start = response.headers.get(START_HEADER, "")
            first: float | None = None
            for _ in response.iter_raw():
                first = first or time.monotonic() - began
    except httpx.HTTPError as error:
        raise CommandFailure(f"{client.base_url} does not answer: {error!r}.") from None
    seconds = time.monotonic() - began
    return Timing(first or seconds, seconds, start)
