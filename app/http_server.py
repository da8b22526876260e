"""uvicorn, with the order of shutting down in our hands."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from typing import TYPE_CHECKING

import uvicorn

from app.failure import CommandFailure
from app.garbage import spare_answers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.types import ASGIApp

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75  # longer than the 60 s of common load balancers, so that they close first
FORCED_CLOSE_SECONDS = 2  # after the drain nothing should be open; what is, is stuck


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
    except OSError as error:
        raise CommandFailure(
            f"Cannot listen on {host}:{port}: {error.strerror or error}. Choose another address with --host and --port."
        ) from None


def base_url(listener: socket.socket) -> str:
    """Return the URL under which this machine reaches a listening socket."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 -- compared, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.asynccontextmanager
async def listening(application: ASGIApp, listener: socket.socket) -> AsyncIterator[asyncio.Event]:
    """Answer HTTP inside the context. Yields the event that the first SIGTERM or SIGINT sets; a second one kills."""
    spare_answers()
    with _stop_on_signal() as stop:
        async with serving(application, listener):
            yield stop


@contextlib.asynccontextmanager
async def serving(application: ASGIApp, listener: socket.socket) -> AsyncIterator[None]:
    """Answer HTTP inside the context."""
    config = uvicorn.Config(
        application,
        http="httptools",
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
    yield stop
