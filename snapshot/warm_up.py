"""The requests that make a loaded server a warm one: the first answer pays for what is set up on first use."""

from __future__ import annotations

import base64
import logging
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from snapshot.question import Unanswered, ask

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from server_supervisor.plan import Endpoint

logger = logging.getLogger("warmgate.snapshot")

ANSWER_SECONDS = 60.0
IMAGE_PIXELS = 448  # on each side: some hundred tokens for an image encoder
LONG_PROMPT_WORDS = 520  # more than one batch of llama-server's 512, which whole prompts are computed in

PATH = "/v1/chat/completions"
TEXT: Mapping[str, Any] = {
    "messages": [{"role": "user", "content": "Hi"}],
    "max_tokens": 1,
    "temperature": 0,
    # No trace of it may be found by a user: neither in a slot's cache nor in what its next prompt is compared with.
    "cache_prompt": False,
}
_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


async def warm_up(client: httpx.AsyncClient) -> None:
    """Have the server decode one token: what a start pays before its first answer.

    Args:
        client: A client of the loaded server, which must not keep connections open: a snapshot with an open socket
            cannot be restored.

    Raises:
        httpx.HTTPError: It did not answer, or not with a success.
    """
    response = await client.post(PATH, json=TEXT, timeout=ANSWER_SECONDS)
    response.raise_for_status()


def answer_once(endpoint: Endpoint, seconds: float = ANSWER_SECONDS) -> None:
    """Do the same without an event loop, waiting so long for the answer.

    Raises:
        Unanswered: It did not answer, or not with a success.
    """
    ask(endpoint, PATH, TEXT, seconds=seconds)


def warm_up_fully(endpoint: Endpoint, *, slots: int, images: bool) -> None:
    """Have the server do all that it can be asked for: what a snapshot pays once, for every start from it.

    Text must be answered. What else a model cannot do it cannot do after a restore either: that is logged.

    Args:
        endpoint: Where it listens. Each request has a connection of its own.
        slots: How many answers are decoded side by side; that takes other kernels than one.
        images: Whether there is an image projector.

    Raises:
        Unanswered: It did not answer, or a text not with a success.
    """
    answer_once(endpoint)
    with ThreadPoolExecutor(slots) as together:
        list(together.map(lambda _: _ask(endpoint, {"max_tokens": 4}), range(slots)))
    for what, request in _abilities(images=images).items():
        try:
            _ask(endpoint, request)
        except Unanswered as refusal:
            if refusal.status is None:
                raise
            logger.warning("the model cannot be warmed up with %s: %s", what, refusal)


def _ask(endpoint: Endpoint, request: Mapping[str, Any]) -> None:
    ask(endpoint, PATH, {**TEXT, **request}, seconds=ANSWER_SECONDS)


def _abilities(*, images: bool) -> dict[str, Mapping[str, Any]]:
    """Return a request for each of them, by its name."""
    requests: dict[str, Mapping[str, Any]] = {
        "a long prompt": {"messages": [_said("warm " * LONG_PROMPT_WORDS)]},
        "tools": {"tools": [_TOOL], "max_tokens": 4},
        "a schema": {"response_format": {"type": "json_schema", "json_schema": {"schema": _SCHEMA}}, "max_tokens": 4},
        "thinking": {
            "chat_template_kwargs": {"enable_thinking": True},
            "reasoning_budget_tokens": 2,
            "max_tokens": 4,
        },
    }
    if images:
        picture = {"type": "image_url", "image_url": {"url": _grey_picture(IMAGE_PIXELS)}}
        requests["an image"] = {"messages": [_said([picture, {"type": "text", "text": "Hi"}])]}
    return requests


def _said(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


def _grey_picture(side: int) -> str:
    """Return a grey square as a `data:` URL with a PNG (https://www.w3.org/TR/png-3/)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    lines = (b"\0" + b"\x80" * side) * side
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
