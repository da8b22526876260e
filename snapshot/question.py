"""One question to a server, over a connection that does not outlive the answer, and without an event loop.

By the standard library's client: httpx's keeps nothing open either when told so, but leaves a socket to the garbage
collector when nobody listens (httpcore 1.0.9), and what is open here must be known.
"""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING, Any

from server_supervisor.plan import UnixEndpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server_supervisor.plan import Endpoint

ANSWER_SECONDS = 5.0


class Unanswered(Exception):
    """There was no answer, or none that says yes.

    Attributes:
        status: The answer's, if there was one.
    """

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


class _UnixConnection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("llama-server", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        """Connect, or leave nothing behind."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(
    endpoint: Endpoint, path: str, body: Mapping[str, Any] | None = None, *, seconds: float = ANSWER_SECONDS
) -> Any:
    """Return what a server answers, read as JSON.

    Args:
        endpoint: Where it listens.
        path: What is asked for.
        body: Sent as JSON with a POST; without one it is a GET.
        seconds: How long it may say nothing.

    Raises:
        Unanswered: It did not answer with a success.
    """
    connection = (
        _UnixConnection(str(endpoint.path), seconds)
        if isinstance(endpoint, UnixEndpoint)
        else http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=seconds)
    )
    try:
        headers = {"connection": "close", "content-type": "application/json"}
        connection.request("GET" if body is None else "POST", path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        content = response.read()
        if response.status != http.client.OK:
            raise Unanswered(f"{path} answers {response.status}: {content[:200]!r}", response.status)
        return json.loads(content)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unanswered(f"{path} does not answer: {error!r}") from error
    finally:
        connection.close()
