"""The questions the policy asks a running server."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import httpx

from server_supervisor.plan import UnixEndpoint

if TYPE_CHECKING:
    from server_supervisor.plan import Endpoint

ANSWER_SECONDS = 5.0

# llama-server is spoken to in the clear, and httpx's own default would read every known certificate first: 50 ms in
# which the event loop stands still.
_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def open_client(endpoint: Endpoint) -> httpx.AsyncClient:
    """Return a client for one-shot requests to `endpoint`: it keeps no connection open between them."""
    uds = str(endpoint.path) if isinstance(endpoint, UnixEndpoint) else None
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(
            uds=uds, verify=_NO_CERTIFICATES, limits=httpx.Limits(max_keepalive_connections=0)
        ),
        base_url="http://llama-server" if uds else endpoint.url,
        timeout=ANSWER_SECONDS,
    )


async def is_healthy(client: httpx.AsyncClient) -> bool:
    """Ask `/health`: False while it loads (503) or does not listen yet. It stays 200 when the server hangs."""
    try:
        return (await client.get("/health")).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


async def props(client: httpx.AsyncClient) -> dict[str, Any]:
    """Ask what the server is.

    Raises:
        httpx.HTTPError: It does not answer.
        ValueError: It does not answer with JSON.
    """
    response = await client.get("/props")
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


async def slot_positions(client: httpx.AsyncClient) -> list[object] | None:
    """Ask how far each slot is that has work; None when the main loop does not answer."""
    try:
        slots = (await client.get("/slots")).json()
        return [
            (
                slot.get("id_task"),
                slot.get("n_prompt_tokens"),
                slot.get("n_prompt_tokens_processed"),
                slot.get("next_token"),
            )
            for slot in slots
            if slot["is_processing"]
        ]
    except (httpx.HTTPError, ValueError, LookupError, AttributeError, TypeError):
        return None
