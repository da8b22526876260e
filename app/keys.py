"""Which keys open the gateway, and the one that is made for a first try."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.failure import CommandFailure
from gateway.auth.keys import KeyRing, parse_keys

if TYPE_CHECKING:
    from app.settings import Settings

MADE_KEY_PREFIX = "wg-"


@dataclass(frozen=True, slots=True)
class Keys:
    """The key ring, and what else is made of the keys.

    Attributes:
        ring: Opens the gateway.
        seal_secret: The same for every process with the same keys, and for no one who has but some of them.
        made: The key to show once, if we had to make one.
    """

    ring: KeyRing
    seal_secret: bytes = field(repr=False)
    made: str | None = None

    @classmethod
    def of(cls, keys: dict[str, str], made: str | None = None) -> Keys:
        """Make everything of named keys. What they are called and how they are ordered does not matter to the seal."""
        together = "\0".join(sorted(keys.values())).encode("utf-8", "surrogateescape")
        return cls(KeyRing(keys), hashlib.sha256(together).digest(), made)


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
        return Keys.of(configured)
    if not is_loopback(settings.host):
        raise CommandFailure(
            f"{settings.host} can be reached from other machines, so a key is needed: "
            "set WARMGATE_API_KEYS, for example to `me:$(openssl rand -hex 24)`."
        )
    made = MADE_KEY_PREFIX + secrets.token_urlsafe(24)
    return Keys.of({"made": made}, made)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
