"""The check of the key that a request carries."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from gateway.errors import Unauthorized

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.auth.keys import KeyRing


KEY_HEADERS = frozenset({b"authorization", b"x-api-key"})


def authenticate(keys: KeyRing, headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the name of the key that a request carries.

    A key comes as `Authorization: Bearer KEY`, as the password of `Basic`, which is how a person's browser can open the
    documentation page, or as Anthropic's clients send it, as `x-api-key: KEY`.

    Raises:
        Unauthorized: There is none, or it is not one of ours.
    """
    sent: dict[bytes, str] = {}
    for name, value in headers:
        if name in KEY_HEADERS:
            sent.setdefault(name, value.decode("utf-8", "surrogateescape"))
    if b"authorization" in sent:
        key = _key(sent[b"authorization"])
    elif b"x-api-key" in sent:
        key = sent[b"x-api-key"].strip()
    else:
        raise Unauthorized("No API key: send it as 'Authorization: Bearer KEY'.", reason="missing")
    owner = keys.name_of(key)
    if owner is None:
        raise Unauthorized("Incorrect API key.")
    return owner


def _key(value: str) -> str:
    scheme, _, rest = value.strip().partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip()
        case "basic":
            return _password(rest)
    raise Unauthorized("The Authorization header must be 'Bearer KEY'.", reason="malformed")


def _password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")[2]
    except ValueError:  # not ASCII, not base64, or not UTF-8 inside
        raise Unauthorized("The Authorization header cannot be read.", reason="malformed") from None
