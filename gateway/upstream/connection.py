"""One HTTP exchange over a connection of its own.

Not a pool: llama-server closes the connection after every streamed answer without saying so, and a pooled client loses
answers in that race. Not httpx: on this path it costs twelve times the CPU and stalls at 64 streams. What is left is
small: httptools, the parser that uvicorn itself uses, behind an asyncio protocol.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import httptools

from gateway.errors import UpstreamDisconnected, UpstreamFailed, UpstreamSilent, UpstreamUnreachable

if TYPE_CHECKING:
    from gateway.errors import GatewayError
    from gateway.upstream.target import Target

CONNECT_SECONDS = 5.0
HIGH_WATER = 1 << 20  # bytes; above it we stop reading until the client has taken what is there


class Exchange(asyncio.Protocol):
    """A request that was sent and the answer that comes back. Use `post` to make one, and always `close` it.

    Attributes:
        status: The answer's HTTP status, once `started` has returned.
        headers: Its headers, names in lower case.
    """

    def __init__(self, silence_seconds: float) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self._silence_seconds = silence_seconds
        self._parser = httptools.HttpResponseParser(self)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._paused = False
        self._headers_complete = False
        self._complete = False
        self._error: GatewayError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._waits_since = 0.0
        self._silence: asyncio.TimerHandle | None = None

    # -- what the caller uses

    async def started(self) -> None:
        """Wait for the answer's status and headers.

        Raises:
            UpstreamUnreachable: The connection was closed before that.
            UpstreamSilent: Nothing came.
        """
        while not self._headers_complete:
            self._raise_error()
            await self._wait()

    async def receive(self) -> bytes:
        """Wait for more of the body, and return all that has arrived since the last time: nothing at its end.

        Raises:
            UpstreamDisconnected: It broke off before its end.
            UpstreamSilent: Nothing came for `silence_seconds`, not even a keep-alive comment.
            UpstreamFailed: It is not HTTP.
        """
        while not self._chunks:
            self._raise_error()  # what came before the failure is delivered first
            if self._complete:
                return b""
            await self._wait()
        return self._take()

    async def read(self) -> bytes:
        """Return the whole body."""
        chunks: list[bytes] = []
        while chunk := await self.receive():
            chunks.append(chunk)
        return b"".join(chunks)

    def close(self) -> None:
        """Close the connection, which also cancels the generation behind it."""
        if self._transport is not None:
            self._transport.abort()
        if self._silence is not None:
            self._silence.cancel()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came and wake the reader."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(UpstreamFailed(f"llama-server sent something that is not HTTP: {error}"))
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell an answer that ended from one that broke off."""
        del exc
        if not self._complete:
            if not self._headers_complete:
                self._fail(UpstreamUnreachable("llama-server closed the connection unanswered.", was_sent=True))
            elif b"content-length" in self.headers or b"transfer-encoding" in self.headers:
                self._fail(UpstreamDisconnected("llama-server ended in the middle of its answer."))
            self._complete = True
        self._wake()

    # -- httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Note the status."""
        self.status = self._parser.get_status_code()
        self._headers_complete = True

    def on_body(self, body: bytes) -> None:
        """Queue a piece of the body, and stop reading when the client is slower than the model."""
        self._chunks.append(body)
        self._size += len(body)
        if self._size > HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Note the end of the body."""
        self._complete = True

    # -- internals

    def _take(self) -> bytes:
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        self._waits_since = self._loop.time()
        if self._silence is None:
            self._silence = self._loop.call_later(self._silence_seconds, self._look_at_silence)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _look_at_silence(self) -> None:
        """Look at the clock now and then: one timer for a stream, instead of one for each of its pieces."""
        self._silence = None
        if self._waiter is None:
            return
        left = self._waits_since + self._silence_seconds - self._loop.time()
        if left > 0:
            self._silence = self._loop.call_later(left, self._look_at_silence)
        else:
            self._fail(UpstreamSilent(f"llama-server sent nothing for {self._silence_seconds:g} s."))
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: GatewayError) -> None:
        self._error = self._error or error

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


async def post(
    target: Target, path: bytes, body: bytes, *, silence_seconds: float, traceparent: str | None = None
) -> Exchange:
    """Send a JSON body to `path` over a new connection and return the exchange, before anything of it came.

    Args:
        target: Where to send it.
        path: And to what there.
        body: What to send.
        silence_seconds: How long nothing may come.
        traceparent: The trace that it belongs to, if any.

    Raises:
        UpstreamUnreachable: Nobody listens, or not within `CONNECT_SECONDS`.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            if target.socket_path:
                transport, exchange = await loop.create_unix_connection(
                    lambda: Exchange(silence_seconds), target.socket_path
                )
            else:
                transport, exchange = await loop.create_connection(
                    lambda: Exchange(silence_seconds), target.host, target.port
                )
    except (OSError, TimeoutError) as error:
        raise UpstreamUnreachable("llama-server does not accept connections.", was_sent=False) from error
    transport.write(
        b"POST %b HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n"
        % (path, target.host_header, len(body), b"traceparent: %b\r\n" % traceparent.encode() if traceparent else b"")
        + body
    )
    return exchange
