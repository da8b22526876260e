"""Chat streams, many at once, every piece with its time: what a serving benchmark measures with.

A client of its own, on asyncio's streams: a general one takes longer for a piece than the differences that are to be
seen here.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

CHAT = "/v1/chat/completions"
LONGEST_LINE_BYTES = 1 << 20
CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where to ask.

    Attributes:
        url: `http://HOST:PORT` or `unix:PATH`.
        key: The API key, or nothing.
    """

    url: str
    key: str = ""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection."""
        async with asyncio.timeout(CONNECT_SECONDS):
            if self.url.startswith("unix:"):
                path = self.url.removeprefix("unix:")
                return await asyncio.open_unix_connection(path, limit=LONGEST_LINE_BYTES)
            host, _, port = self.url.removeprefix("http://").rstrip("/").rpartition(":")
            return await asyncio.open_connection(host, int(port), limit=LONGEST_LINE_BYTES)


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer, as it came.

    Attributes:
        asked: When the request was sent, in `perf_counter` seconds.
        times: When each piece of thought or text came.
        text: All of it.
        tokens: How many tokens it has, by the server's own count.
        prompt_tokens: How many the prompt had.
    """

    asked: float
    times: tuple[float, ...]
    text: str
    tokens: int
    prompt_tokens: int

    @property
    def first_ms(self) -> float:
        """Time to the first piece, in milliseconds."""
        return (self.times[0] - self.asked) * 1000

    def gaps_ms(self, since: float = 0.0, until: float = float("inf")) -> list[float]:
        """Return the times between pieces, in milliseconds, of those that ended between two moments."""
        return [(after - before) * 1000 for before, after in pairwise(self.times) if since <= after <= until]


class Refused(Exception):
    """The server answered with something else than a stream."""


async def read_stream(server: Server, body: dict[str, Any]) -> Reading:
    """Ask for one answer and read it to its end.

    Raises:
        Refused: It is no stream, or one without an end.
    """
    payload = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
    auth = f"Authorization: Bearer {server.key}\r\n" if server.key else ""
    head = f"POST {CHAT} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n{auth}"
    reader, writer = await server.connect()
    try:
        asked = time.perf_counter()
        writer.write(f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload)
        lines: list[tuple[float, bytes]] = []
        status = await reader.readline()
        if b" 200 " not in status:
            raise Refused((status + await reader.read(4096)).decode(errors="replace"))
        while line := await reader.readline():
            if line.startswith(b"data: [DONE]"):
                return _reading(asked, lines)
            if line.startswith(b"data: "):
                lines.append((time.perf_counter(), line))
        raise Refused(f"the stream broke off after {lines[-1:]}")
    finally:
        writer.close()


def _reading(asked: float, lines: Sequence[tuple[float, bytes]]) -> Reading:
    """Make sense of what came. Afterwards, so that reading takes no time while there is something to measure."""
    times: list[float] = []
    text: list[str] = []
    usage: dict[str, int] = {}
    for moment, line in lines:
        chunk = json.loads(line.removeprefix(b"data: "))
        if "error" in chunk:
            raise Refused(str(chunk["error"]))
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices") or []:
            if piece := choice["delta"].get("content") or choice["delta"].get("reasoning_content"):
                times.append(moment)
                text.append(piece)
    return Reading(asked, tuple(times), "".join(text), usage["completion_tokens"], usage["prompt_tokens"])


async def read_together(server: Server, bodies: Sequence[dict[str, Any]]) -> list[Reading]:
    """Ask for several answers at once."""
    return list(await asyncio.gather(*(read_stream(server, body) for body in bodies)))


def decode_rate(readings: Sequence[Reading]) -> float:
    """Return the tokens a second of all streams, while all of them were being written.

    That is from the last one's first piece to the first one's last. A piece may be more than a token: the server's
    count of tokens is spread over the pieces.
    """
    since, until = max(each.times[0] for each in readings), min(each.times[-1] for each in readings)
    if until <= since:
        return 0.0
    tokens = sum(
        sum(since < moment <= until for moment in each.times) * each.tokens / len(each.times) for each in readings
    )
    return tokens / (until - since)
