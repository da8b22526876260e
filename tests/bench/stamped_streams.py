"""Streams whose pieces say when they were written: how late each comes, how many come in a second, and what gets lost.

The other end is `fast_upstream.c`. What stands between is not looked at: a piece is its stamp, whatever dialect it is
wrapped in, so that reading costs the same for every contender.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable

STAMP: Final = re.compile(rb"@(\d{16})")
STAMP_BYTES: Final = 17
STAMP_NS: Final = 10**16
HTTP_END: Final = b"\r\n0\r\n\r\n"
ENDINGS: Final = (b"[DONE]", b"message_stop")
CONNECT_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked again and again.

    Attributes:
        host: Where.
        port: And on which port.
        request: The request, head and body.
        tokens: So many pieces make a whole answer.
        keeps: Whether the connection is used again. llama-server's is not: it closes it behind our back.
        pause: So many seconds after an answer's end the next is asked for.
    """

    host: str
    port: int
    request: bytes
    tokens: int
    keeps: bool
    pause: float = 0.0


@dataclass(slots=True)
class Readings:
    """What came in a window of time. Moments and times are nanoseconds of `time.monotonic_ns`.

    Attributes:
        since: When the window begins.
        until: When it ends.
        delays: How long each piece was under way.
        first_pieces: How long each request waited for its first piece.
        pieces: How many came.
        answers: How many answers came whole.
        lost: And how many did not: broken off, without an end, or not answered at all.
        refusals: What came instead of those.
        cpu_seconds: What the contender used.
    """

    since: int
    until: int
    delays: list[int] = field(default_factory=list)
    first_pieces: list[int] = field(default_factory=list)
    pieces: int = 0
    answers: int = 0
    lost: int = 0
    refusals: list[str] = field(default_factory=list)
    cpu_seconds: float = 0.0


class _Stream(asyncio.Protocol):
    """One connection, and the answer that is coming over it."""

    def __init__(self, question: Question, readings: Readings) -> None:
        self._question = question
        self._readings = readings
        self._transport: asyncio.Transport | None = None
        self._done: asyncio.Future[bool] | None = None
        self._asked = 0
        self._came = 0
        self._rest = b""
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self) -> asyncio.Future[bool]:
        """Send the request. Returns what will tell whether the answer came whole."""
        assert self._transport is not None
        self._done = asyncio.get_running_loop().create_future()
        self._came, self._rest = 0, b""
        self._asked = time.monotonic_ns()
        self._transport.write(self._question.request)
        return self._done

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        data = self._rest + data
        end = 0
        if (wanted := self._question.tokens - self._came) > 0:
            stamps = STAMP.findall(data)[:wanted]  # some dialects repeat the text at the end
            self._note(now, stamps)
            end = data.rfind(stamps[-1]) + STAMP_BYTES if stamps else 0
        self._rest = data[max(end, len(data) - 64) :]
        if data.endswith(HTTP_END):
            self._finish(any(ending in self._rest for ending in ENDINGS), data)

    def _note(self, now: int, stamps: list[bytes]) -> None:
        readings = self._readings
        if stamps and not self._came and readings.since <= self._asked and now <= readings.until:
            readings.first_pieces.append(now - self._asked)
        self._came += len(stamps)
        if readings.since <= now <= readings.until:
            readings.pieces += len(stamps)
            written = now % STAMP_NS
            readings.delays += [written - int(stamp) for stamp in stamps]

    def _finish(self, whole: bool, data: bytes) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(whole)
            if not whole:
                end = data[-300:].decode(errors="replace")
                self._readings.refusals.append(f"{self._came} pieces came, then: {end}")

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._finish(whole=False, data=repr(exc).encode())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def _ask_on(question: Question, readings: Readings, wait: float) -> None:
    """Ask again and again. A connection is kept for as long as the other side keeps it."""
    await asyncio.sleep(wait)
    stream: _Stream | None = None
    try:
        while True:
            if stream is None or stream.closed:
                stream = await _connect(question, readings)
            if await stream.ask():
                readings.answers += 1
                await asyncio.sleep(question.pause)
            else:
                readings.lost += 1
                await asyncio.sleep(PAUSE_SECONDS)
            if not question.keeps:
                stream.close()
                stream = None
    finally:
        if stream is not None:
            stream.close()


async def _connect(question: Question, readings: Readings) -> _Stream:
    async with asyncio.timeout(CONNECT_SECONDS):
        _, stream = await asyncio.get_running_loop().create_connection(
            lambda: _Stream(question, readings), question.host, question.port
        )
    return stream


async def read_streams(
    question: Question, streams: int, *, ramp: float, seconds: float, cpu_seconds: Callable[[], float]
) -> Readings:
    """Keep so many streams going, and read for a while.

    Args:
        question: What is asked.
        streams: How many at once.
        ramp: In so many seconds they begin, one after the other.
        seconds: How long is read then.
        cpu_seconds: Tells the CPU time that was used up to now.
    """
    since = time.monotonic_ns() + round(ramp * 1e9)
    readings = Readings(since, since + round(seconds * 1e9))
    asking = [asyncio.create_task(_ask_on(question, readings, ramp * i / streams)) for i in range(streams)]
    try:
        await asyncio.sleep(ramp)
        before = cpu_seconds()
        await asyncio.sleep(seconds)
        readings.cpu_seconds = cpu_seconds() - before
    finally:
        for task in asking:
            task.cancel()
        ended = await asyncio.gather(*asking, return_exceptions=True)
    readings.refusals += [repr(error) for error in ended if isinstance(error, Exception)]
    return readings
