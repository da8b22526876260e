"""How a request is called, and which trace it belongs to: what its headers say of that."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.auth.keys import KeyRing

ID_HEADER = b"x-request-id"
TRACE_HEADER = b"traceparent"

_SANE = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
"""What proxies and clients use: UUIDs, hexadecimal, `req_...`. Nothing that would need escaping in a log."""


def identify(headers: Iterable[tuple[bytes, bytes]], keys: KeyRing) -> tuple[str, str | None]:
    """Return a request's id, the client's own or a new one, and its `traceparent` as it came.

    An id is logged, so a key is not taken for one. Whether the trace can be read is for those to see who take part in
    it.
    """
    request_id, traceparent = None, None
    for name, value in headers:
        if name == ID_HEADER and _SANE.fullmatch(value) and keys.name_of(value.decode()) is None:
            request_id = value.decode()
        elif name == TRACE_HEADER:
            traceparent = value.decode("latin-1")
    return request_id or f"req_{secrets.token_hex(12)}", traceparent
