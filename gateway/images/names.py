"""From a host's name to the addresses that may be connected to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING

from gateway.images.addresses import is_public
from gateway.images.remote import not_public

if TYPE_CHECKING:
    from gateway.images.addresses import Address

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolve_name(host: str, port: int) -> list[str]:
    """Ask the system's resolver for all addresses of a name, the one to try first in front.

    Raises:
        OSError: There are none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


async def public_addresses(host: str | Address, port: int, resolve: Resolve) -> list[Address]:
    """Return the addresses of a host.

    Raises:
        Refused: There are none, or not all are public. A name with one private address among public ones is an attack,
            or a network that is set up strangely.
    """
    if not isinstance(host, str):
        addresses = [host]
    else:
        try:
            addresses = list(dict.fromkeys(map(ip_address, await resolve(host, port))))
        except (OSError, ValueError):  # a scope, as in fe80::1%eth0, is read; what is not an address is not
            raise not_public() from None
    if not addresses or not all(map(is_public, addresses)):
        raise not_public()
    return addresses
