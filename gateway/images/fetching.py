"""From an `https:` URL to bytes, over a connection to an address that was checked.

The name is resolved here, once, and the connection goes to an address as digits: there is no second resolution that
could give another answer. Certificate and `Host` are the name's. Below is httpx's transport and not its client, which
would add cookies, proxies from the environment, redirects and decompression.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from typing import TYPE_CHECKING

import httpx

from gateway.images.names import public_addresses, resolve_name
from gateway.images.refusal import Refused, too_large
from gateway.images.remote import read_remote

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from gateway.images.addresses import Address
    from gateway.images.allowance import Allowance
    from gateway.images.names import Resolve
    from gateway.images.policy import ImagePolicy
    from gateway.images.remote import RemoteUrl

    OpenTransport = Callable[[], Awaitable[httpx.AsyncBaseTransport]]

MOST_REDIRECTS = 3
CONNECT_SECONDS = 4.0
"""For each address, TLS included; then the next one is tried."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})
HEADERS = {
    "User-Agent": "warmgate",  # some hosts refuse a client without a name
    "Accept": "image/png, image/jpeg, image/gif, image/bmp",
    "Accept-Encoding": "identity",
    "Connection": "close",
}

logger = logging.getLogger("warmgate.gateway")


async def open_transport() -> httpx.AsyncBaseTransport:
    """Return what carries one request. Nothing of the environment has a say in it."""
    context = await asyncio.to_thread(_tls_context)  # root certificates: 60 ms, the first time
    return httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


@functools.cache
def _tls_context() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


class Fetcher:
    """Fetches images, so many at once."""

    def __init__(
        self, policy: ImagePolicy, resolve: Resolve = resolve_name, open_transport: OpenTransport = open_transport
    ) -> None:
        self._policy = policy
        self._resolve = resolve
        self._open_transport = open_transport
        self._free = asyncio.Semaphore(policy.fetches)

    async def fetch(self, url: str, allowance: Allowance) -> bytes:
        """Return what is at `url`. Redirects are followed, each as strictly as the URL itself.

        Raises:
            Refused: It may not be fetched, cannot be, or is too large.
        """
        async with self._free:
            for _ in range(1 + MOST_REDIRECTS):
                remote = read_remote(url, self._policy.urls)
                async with self._get(remote) as response:
                    if response.status_code not in REDIRECTS:
                        return await self._read(response, allowance)
                    url = remote.joined(response.headers.get("location", ""))
        raise _failed(f"it redirects more than {MOST_REDIRECTS} times.")

    @contextlib.asynccontextmanager
    async def _get(self, remote: RemoteUrl) -> AsyncIterator[httpx.Response]:
        addresses = await public_addresses(remote.host, remote.port, self._resolve)
        async with await self._open_transport() as transport:
            response = await _first_answer(transport, remote, addresses)
            try:
                yield response
            finally:
                await response.aclose()

    async def _read(self, response: httpx.Response, allowance: Allowance) -> bytes:
        if response.status_code != httpx.codes.OK:
            raise _failed(f"its host answered with status {response.status_code}.")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise _failed("its host sent it compressed, though it was asked not to.")
        declared = response.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._policy.max_bytes:
            raise too_large(self._policy.max_bytes)
        data = bytearray()
        try:
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > self._policy.max_bytes:
                    raise too_large(self._policy.max_bytes)
                allowance.take_bytes(len(chunk))
        except httpx.TransportError:
            raise _failed("the connection to its host broke off.") from None
        return bytes(data)


async def _first_answer(
    transport: httpx.AsyncBaseTransport, remote: RemoteUrl, addresses: list[Address]
) -> httpx.Response:
    """Ask the first address that accepts a connection. Returns the head of its answer."""
    for address in addresses:
        try:
            return await transport.handle_async_request(_request(remote, address))
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            logger.debug("no connection to %s for an image: %s", remote.host, error)
        except httpx.TransportError:
            raise _failed("its host did not answer properly.") from None
    raise _failed("its host does not accept connections, or has no valid certificate.")


def _request(remote: RemoteUrl, address: Address) -> httpx.Request:
    return httpx.Request(
        "GET",
        httpx.URL(scheme=remote.scheme, host=str(address), port=remote.port, raw_path=remote.target.encode()),
        headers={"Host": remote.host_header, **HEADERS},
        extensions={"sni_hostname": str(remote.host), "timeout": {"connect": CONNECT_SECONDS}},
    )


def _failed(what: str) -> Refused:
    return Refused("failed_to_download_image", f"the image could not be fetched: {what}")
