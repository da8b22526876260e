"""Thoughts that are given back: Gemma 4 wants the thought that led to a tool call back with that call.

Where the client's API has a place for a thought, it keeps the thought itself, sealed: any process with the same secret
can open it, so that nothing needs to be stored here. Where there is none, see `gateway.thoughts.memory`.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import TYPE_CHECKING, Final, Protocol, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX: Final = "wgt1."
"""Of what is sealed: the format's name and version. It is authenticated, too."""

NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32
PURPOSE: Final = b"warmgate: sealed thoughts, version 1"


class ThoughtSeal(Protocol):
    """Makes of a thought what a client can keep and give back, but neither read nor forge."""

    def seal(self, thought: str) -> str:
        """Return the sealed thought, as URL-safe text."""
        ...

    def open(self, sealed: str) -> str | None:
        """Return the thought, or None if it was not sealed with our key."""
        ...


class SecretSeal:
    """AES-256-GCM with a random nonce, and a key derived from a secret (HKDF-SHA256).

    GCM's random nonces of 96 bits are good for some 2^32 seals with one key (NIST SP 800-38D, 8.3).
    """

    def __init__(self, secret_texts: Sequence[bytes]) -> None:
        """Derive the keys.

        Args:
            secret_texts: The first seals and all open, so that a secret can be replaced while thoughts sealed with
                the old one are still under way. At least one; none may be empty.
        """
        if not secret_texts or not all(secret_texts):
            raise ValueError("a seal needs a secret")
        self._ciphers = [AESGCM(_derive(secret)) for secret in secret_texts]

    @classmethod
    def made_up(cls) -> Self:
        """Return one whose secret nobody else has: only this process can open what it seals."""
        return cls([secrets.token_bytes(KEY_BYTES)])

    def seal(self, thought: str) -> str:
        """Return the sealed thought, as URL-safe text."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        # a model may write half of a surrogate pair, and it is no less its thought
        sealed = self._ciphers[0].encrypt(nonce, thought.encode("utf-8", "surrogatepass"), PREFIX.encode())
        return PREFIX + base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def open(self, sealed: str) -> str | None:
        """Return the thought, or None if it was not sealed with one of our secrets, or was changed since."""
        blob = _decode(sealed)
        if blob is None:
            return None
        for cipher in self._ciphers:
            try:
                thought = cipher.decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], PREFIX.encode())
                return thought.decode("utf-8", "surrogatepass")
            except (InvalidTag, UnicodeDecodeError):
                continue
        return None


def _derive(secret: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=PURPOSE).derive(secret)


def _decode(sealed: str) -> bytes | None:
    """Return nonce and ciphertext, or None if they cannot be that. There is one way to write each seal."""
    if not sealed.startswith(PREFIX):
        return None
    text = sealed.removeprefix(PREFIX)
    try:
        blob = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    canonical = base64.urlsafe_b64encode(blob).decode().rstrip("=") == text
    return blob if canonical and len(blob) > NONCE_BYTES else None
