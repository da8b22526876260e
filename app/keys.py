"""Which keys open the gateway, and the one that is made for a first try."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.failure import CommandFailure
from gateway.auth.keys import KeyRing, parse_keys

if TYPE_CHECKING:
    from app.settings import Settings

MADE_KEY_PREFIX = "wg-"


@dataclass(frozen=True, slots=True)
class Keys:
    """The key ring, and the key to show once if we had to make one."""

    ring: KeyRing
    made: str | None = None


def resolve_keys(settings: Settings) -> Keys:
    """Return the configured keys, or a new one where only this machine can reach us.

    Raises:
        CommandFailure: The setting cannot be read, or there is none and the address is a public one.
    """
    text = settings.api_keys.get_secret_value() if settings.api_keys else ""
    try:
        configured = parse_keys(text)
    except ValueError as error:
        raise CommandFailure(f"WARMGATE_API_KEYS cannot be used: {error}.") from None
    if configured:
        return Keys(KeyRing(configured))
    if not is_loopback(settings.host):
        raise CommandFailure(
            f"{settings.host} can be reached from other machines, so a key is needed: "
            "set WARMGATE_API_KEYS, for example to `me:$(openssl rand -hex 24)`."
        )
    made = MADE_KEY_PREFIX + secrets.token_urlsafe(24)
    return Keys(KeyRing({"made": made}), made)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
