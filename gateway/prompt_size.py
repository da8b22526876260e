"""Whether a prompt fits, found out before it waits: llama-server says it only when the request's slot starts."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from gateway.errors import GatewayError, PromptTooLong
from gateway.upstream.tokens import count_tokens

if TYPE_CHECKING:
    from gateway.readiness import Readiness
    from gateway.request import GenerationRequest
    from gateway.upstream.catalog import Catalog
    from gateway.upstream.target import Target

TEMPLATE_TOKENS = 512
"""More than a chat template adds of its own to what the JSON around a conversation takes."""

IMAGE_TOKENS = 2048
"""More than an image takes: Gemma 4 makes 280 of one if not told otherwise, and 1,120 at most."""

MOST_COUNTS = 4
"""So many prompts are counted at once: counting takes CPU time from decoding."""


class PromptCheck:
    """Refuses prompts that are too long for a slot, and lets pass what it cannot tell: llama-server checks it again."""

    def __init__(self, target: Target, readiness: Readiness, catalog: Catalog) -> None:
        self._target = target
        self._readiness = readiness
        self._catalog = catalog
        self._counting = asyncio.Semaphore(MOST_COUNTS)

    async def check(self, request: GenerationRequest) -> None:
        """Check a prompt, if the server is ready. It is not waited for.

        Raises:
            PromptTooLong: It cannot fit.
        """
        if not self._readiness.report().ready:
            return
        tokens = 0
        context = 0
        with contextlib.suppress(GatewayError):  # of the count; the request itself will meet it, or not
            context = (await self._catalog.current()).ctx_per_slot
            if may_exceed(request, context):
                tokens = len(request.messages)  # each has a token at least, and so many would take minutes to render
                if tokens < context:
                    async with self._counting:
                        tokens = await count_tokens(self._target, request)
        if tokens >= context > 0:
            raise PromptTooLong(tokens, context)


def may_exceed(request: GenerationRequest, context: int) -> bool:
    """Return whether a prompt could take `context` tokens or more. No token is shorter than a byte.

    False for images that are no `data:` URLs yet, because they cannot be counted.
    """
    urls = [source.part["image_url"]["url"] for source in request.images]
    if not all(url.startswith("data:") for url in urls):
        return False
    images = len(urls) * IMAGE_TOKENS - sum(map(len, urls))
    try:
        texts = len(msgspec.json.encode((request.messages, request.tools, request.response_format)))
    except RecursionError:
        return False  # sending it will fail with an error of its own
    return texts + images + TEMPLATE_TOKENS >= context
