"""The keys that open the gateway. Only their SHA-256 digests are kept."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class KeyRing:
    """Named keys. A key's name may be logged and counted; the key itself is not even held.

    Attributes:
        names: Theirs.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self.names = frozenset(keys)
        self._digests = [(name, _digest(key)) for name, key in keys.items()]

    def name_of(self, key: str) -> str | None:
        """Return the name of a key, or None if it is not one of ours. Takes the same time for every key."""
        offered = _digest(key)
        found = None
        for name, digest in self._digests:
            if hmac.compare_digest(offered, digest):
                found = name
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def parse_keys(text: str) -> dict[str, str]:
    """Read `name:key` pairs, or bare keys, separated by commas; bare keys are named `key1`, `key2`, ...

    Raises:
        ValueError: A name stands twice, or a name or key is empty. The message holds no key.
    """
    keys: dict[str, str] = {}
    for position, entry in enumerate((part.strip() for part in text.split(",") if part.strip()), 1):
        name, separator, key = entry.partition(":")
        if not separator:
            name, key = f"key{position}", entry
        if not name.strip() or not key.strip():
            raise ValueError(f"entry {position} has an empty name or key")
        if name.strip() in keys:
            raise ValueError(f"the name {name.strip()!r} stands twice")
        keys[name.strip()] = key.strip()
    return keys
