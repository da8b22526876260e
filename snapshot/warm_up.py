"""The requests that make a loaded server a warm one: the first answer pays for what is set up on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

ANSWER_SECONDS = 60.0

_REQUEST = {
    "messages": [{"role": "user", "content": "Hi"}],
    "max_tokens": 1,
    "temperature": 0,
    # No trace of it may be found by a user: neither in a slot's cache nor in what its next prompt is compared with.
    "cache_prompt": False,
}


async def warm_up(client: httpx.AsyncClient) -> None:
    """Have the server decode one token.

    Args:
        client: A client of the loaded server, which must not keep connections open: a snapshot with an open socket
            cannot be restored.

    Raises:
        httpx.HTTPError: It did not answer, or not with a success.
    """
    response = await client.post("/v1/chat/completions", json=_REQUEST, timeout=ANSWER_SECONDS)
    response.raise_for_status()
