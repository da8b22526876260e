"""The address that is listened on, the one that is shown, and requests with an offer that is declined."""

from __future__ import annotations

import asyncio
import re
import socket
from typing import TYPE_CHECKING

import pytest

from app.http_server import base_url, bind, serving

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("::", "[::1]")])
def test_the_url_that_is_shown_is_one_that_this_machine_reaches(host: str, shown: str) -> None:
    if ":" in host and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with bind(host, 0) as listener:
        port = listener.getsockname()[1]
        assert base_url(listener) == f"http://{shown}:{port}"
        socket.create_connection((shown.strip("[]"), port), timeout=5).close()


# -- requests that offer to go on in HTTP/2

OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
LONG = b"POST / HTTP/1.1\r\nHost: x\r\n" + OFFER + b"Content-Length: 5\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\n" + OFFER + b"Transfer-Encoding: chunked\r\n\r\n"
LOOKALIKE = b"\r\nUpgrade: h2c\r\n\r\n"
PLAIN = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(LOOKALIKE)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Send back what came."""
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def exchanged(*requests: tuple[bytes, ...]) -> list[bytes]:
    """Send requests over one connection, each in these packets, and return the bodies of the answers."""
    with bind("127.0.0.1", 0) as listener:
        async with serving(echo, listener), asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            found = []
            for packets in requests:
                for packet in packets:
                    writer.write(packet)
                    await asyncio.sleep(0.05)
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 "), head
                length = re.search(rb"content-length: (\d+)", head)
                assert length is not None
                found.append(await reader.readexactly(int(length[1])))
            writer.close()
            return found


@pytest.mark.parametrize(
    "request_",
    [(LONG + b"hello",), (LONG, b"hello"), (LONG, b"he", b"llo"), (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",)],
    ids=["at once", "head and body", "in pieces", "chunked"],
)
def test_an_offer_of_http2_is_left_and_the_request_answered(request_: tuple[bytes, ...]) -> None:
    assert asyncio.run(exchanged(request_, request_)) == [b"hello"] * 2


def test_a_body_that_looks_like_such_an_offer_stays_as_it_is() -> None:
    whole, apart = (PLAIN + LOOKALIKE,), (PLAIN, LOOKALIKE)
    assert asyncio.run(exchanged(whole, apart)) == [LOOKALIKE] * 2
