"""The few steps that every raw ASGI route takes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from gateway import errors
from gateway.errors import BodyTooLarge

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from starlette.types import Receive, Scope, Send

T = TypeVar("T")

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"

Header = tuple[bytes, bytes]


class ClientDisconnected(Exception):
    """The client has left; there is nobody to answer."""


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the request's body.

    Raises:
        BodyTooLarge: It has more than `limit` bytes.
        ClientDisconnected: It broke off.
    """
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than {limit} bytes.")


async def wait_for_disconnect(receive: Receive) -> None:
    """Wait until the client has left. To be called after the body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_disconnected(answering: Coroutine[Any, Any, T], receive: Receive) -> T | None:
    """Answer, but for as long as the client is there. Returns what came of it, or None if the client left.

    To be called after the body was read.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 -- a coroutine that runs is one's
    has_left = False

    async def watch() -> None:
        nonlocal has_left
        await wait_for_disconnect(receive)
        has_left = True
        task.cancel()

    watching = asyncio.create_task(watch())
    try:
        return await answering
    except asyncio.CancelledError:
        if not has_left or task.uncancel():
            raise
        return None
    finally:
        watching.cancel()


async def start(send: Send, status: int, content_type: bytes, headers: Sequence[Header] = ()) -> None:
    """Send status and headers."""
    all_headers = [(b"content-type", content_type), *headers]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})


async def finish(send: Send, body: bytes = b"") -> None:
    """Send the last piece of the body."""
    await send({"type": "http.response.body", "body": body})


async def send_json(send: Send, status: int, body: Any, headers: Sequence[Header] = ()) -> None:
    """Send a whole JSON answer. `body` is encoded unless it is bytes already."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    await start(send, status, JSON, [(b"content-length", str(len(content)).encode()), *headers])
    await finish(send, content)


async def send_error(send: Send, error: errors.GatewayError, body: Any = None, headers: Sequence[Header] = ()) -> None:
    """Send an error instead of an answer; in OpenAI's shape unless `body` says otherwise."""
    content = errors.openai_body(error) if body is None else body
    await send_json(send, error.status, content, [*errors.headers(error), *headers])
