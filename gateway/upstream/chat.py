"""A streamed chat completion as batches of events."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gateway.errors import GatewayError, UpstreamDisconnected
from gateway.events import Counts, Finish, Usage
from gateway.upstream import connection, wire
from gateway.upstream.sse import SSEDecoder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.events import UpstreamEvent
    from gateway.request import GenerationRequest
    from gateway.upstream.target import Target

OK = 200
DONE = b"[DONE]"
CONTROL_SECONDS = 5.0


class ChatStream:
    """One answer on its way. Always `close` it: that also cancels what is still being generated.

    Attributes:
        bounds_thought: Whether llama-server bounds the thought, and can be told to end it.
    """

    def __init__(
        self,
        target: Target,
        exchange: connection.Exchange,
        on_progress: Callable[[int], None],
        *,
        bounds_thought: bool,
    ) -> None:
        self.bounds_thought = bounds_thought
        self._target = target
        self._exchange = exchange
        self._on_progress = on_progress
        self._written = 0
        self._id = ""

    async def batches(self) -> AsyncIterator[list[UpstreamEvent]]:
        """Yield the events as they come: each batch is all that has arrived since the last.

        Raises:
            GatewayError: The answer broke off, or the server reported an error within it.
        """
        decoder = SSEDecoder()
        last: UpstreamEvent | None = None
        while data := await self._exchange.receive():
            batch: list[UpstreamEvent] = []
            try:
                done = self._decode(decoder, data, batch)
            except GatewayError:
                if batch:
                    yield batch  # what came before the failure, whether or not it came in the same piece
                raise
            if batch:
                last = batch[-1]
                self._on_progress(self._newly_written(last))
                yield batch
            if done and isinstance(last, Finish | Usage):
                return
            if done:
                break
        raise UpstreamDisconnected("llama-server's answer ended before it was complete.")

    async def end_thought(self) -> None:
        """Make the model end the thought that it is writing, if it still is. It can be that this does not succeed."""
        body = wire.end_thought_request(self._id)
        with contextlib.suppress(GatewayError):
            exchange = await connection.post(self._target, wire.CONTROL_PATH, body, silence_seconds=CONTROL_SECONDS)
            with contextlib.closing(exchange):
                await exchange.started()

    def close(self) -> None:
        """Free the connection, and with it the slot."""
        self._exchange.close()

    def _newly_written(self, last: UpstreamEvent) -> int:
        """Return how many tokens came with a batch that ends with `last`."""
        if not isinstance(last, Counts | Usage):
            return 0
        before, self._written = self._written, last.completion_tokens
        return self._written - before

    def _decode(self, decoder: SSEDecoder, data: bytes, batch: list[UpstreamEvent]) -> bool:
        """Add the events that `data` completes to `batch`. Returns whether the end mark was among them."""
        for payload in decoder.feed(data):
            if payload == DONE:
                return True
            if not self._id:
                self._id = wire.decode_id(payload)
            batch += wire.decode_events(payload)
        return False


async def open_chat(
    target: Target,
    request: GenerationRequest,
    *,
    silence_seconds: float,
    on_progress: Callable[[int], None] = lambda _: None,
    traceparent: str | None = None,
) -> ChatStream:
    """Send a request and wait until its answer begins.

    Args:
        target: Where to send it.
        request: What to send.
        silence_seconds: How long nothing may come, not even a keep-alive comment.
        on_progress: Called when a batch of events has come, with the number of tokens in it.
        traceparent: The trace that it belongs to, if any.

    Raises:
        UpstreamUnreachable: Nothing of an answer came: sending it again is safe.
        GatewayError: The server refused it.
    """
    body = wire.encode_request(request)
    exchange = await connection.post(
        target, wire.CHAT_PATH, body, silence_seconds=silence_seconds, traceparent=traceparent
    )
    try:
        await exchange.started()
        if exchange.status != OK:
            raise wire.decode_error(exchange.status, await exchange.read())
    except BaseException:
        exchange.close()
        raise
    return ChatStream(target, exchange, on_progress, bounds_thought=request.thinking.budget is not None)
