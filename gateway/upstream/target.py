"""Where llama-server listens."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx


@dataclass(frozen=True, slots=True)
class Target:
    """A Unix socket, or a host and port that speaks plain HTTP.

    llama-server is reached over loopback or a private network, never over TLS.
    """

    socket_path: str | None = None
    host: str = "llama-server"
    port: int = 80

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read `unix:/PATH` or `http://HOST[:PORT]`.

        Raises:
            ValueError: It is neither; the message says what was expected.
        """
        if text.startswith("unix:"):
            path = text.removeprefix("unix:").removeprefix("//")
            if not path.startswith("/"):
                raise ValueError(f"{text!r}: a Unix socket is written unix:/PATH, with an absolute path")
            return cls(socket_path=path)
        url = urlsplit(text)
        if url.scheme != "http" or not url.hostname or url.path.strip("/") or url.query:
            raise ValueError(f"{text!r}: expected http://HOST:PORT or unix:/PATH")
        return cls(host=url.hostname, port=url.port or 80)

    def __str__(self) -> str:
        """Return the spelling that `parse` reads."""
        return f"unix:{self.socket_path}" if self.socket_path else f"http://{self._authority}"

    @property
    def _authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def host_header(self) -> bytes:
        """The value of the `Host` header."""
        return self._authority.encode()

    def control_client(self, timeout_seconds: float) -> httpx.AsyncClient:
        """Return a client for small JSON questions. It keeps no connection open between them."""
        transport = httpx.AsyncHTTPTransport(
            uds=self.socket_path,
            limits=httpx.Limits(max_keepalive_connections=0),
            verify=False,  # there is no TLS; the default reads all root certificates and stops the loop for 60 ms
        )
        return httpx.AsyncClient(
            transport=transport,
            base_url=f"http://{self._authority}",
            timeout=timeout_seconds,
        )
