"""uvicorn, with the order of shutting down in our hands."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
from typing import TYPE_CHECKING, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.failure import CommandFailure
from app.garbage import spare_answers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.types import ASGIApp
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75  # longer than the 60 s of common load balancers, so that they close first
FORCED_CLOSE_SECONDS = 2  # after the drain nothing should be open; what is, is stuck


_HTTP2_OFFER = re.compile(rb"\r\nupgrade:[ \t]*h2c[ \t]*(?=\r\n|\Z)", re.IGNORECASE)


class _Protocol(HttpToolsProtocol):
    """Answers a request that offers to go on in HTTP/2 as if it did not: clients in Java offer it with each.

    uvicorn declines, and loses the request's body (0.54): https://github.com/Kludex/uvicorn/issues/2722
    """

    def data_received(self, data: bytes) -> None:
        """Take the offer out of a request's head."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        if b"h2c" in data and (cycle is None or not cycle.more_body):
            head, end, body = data.partition(b"\r\n\r\n")
            data = _HTTP2_OFFER.sub(b"", head) + end + body
        super().data_received(data)


class _Server(uvicorn.Server):
    """Leaves signals alone: answers are drained before connections are closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no handlers."""
        yield


def bind(host: str, port: int) -> socket.socket:
    """Listen on `host` and `port` before anything slow is started, so that a taken port is found at once.

    Raises:
        CommandFailure: The address cannot be used.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:  # the latter of a name that cannot be one, such as `a..b`
        why = "no such name" if isinstance(error, UnicodeError) else error.strerror or error
        raise CommandFailure(
            f"Cannot listen on {host}:{port}: {why}. Choose another address with --host and --port."
        ) from None


def base_url(listener: socket.socket) -> str:
    """Return the URL under which this machine reaches a listening socket."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.asynccontextmanager
async def listening(application: ASGIApp, listener: socket.socket) -> AsyncIterator[asyncio.Event]:
    """Answer HTTP inside the context. Yields the event that the first signal to end sets; a second one kills."""
    spare_answers()
    with _stop_on_signal() as stop:
        async with serving(application, listener):
            yield stop


@contextlib.asynccontextmanager
async def serving(application: ASGIApp, listener: socket.socket) -> AsyncIterator[None]:
    """Answer HTTP inside the context."""
    config = uvicorn.Config(
        application,
        http=_Protocol,
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=FORCED_CLOSE_SECONDS,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


@contextlib.contextmanager
def _stop_on_signal() -> Iterator[asyncio.Event]:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def handle_stop(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle_stop, number)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # the terminal is closed; nohup wants us to go on
        loop.add_signal_handler(signal.SIGHUP, handle_stop, signal.SIGHUP)
    yield stop
