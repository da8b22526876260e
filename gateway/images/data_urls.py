"""`data:` URLs, both ways. https://www.rfc-editor.org/rfc/rfc2397 ."""

from __future__ import annotations

import binascii
import re
from urllib.parse import unquote

from gateway.images.refusal import Refused, too_large

_HEAD = re.compile(r"data:(?P<type>[^,;]*)(?P<parameters>(?:;[^,;]*)*),", re.IGNORECASE | re.ASCII)
_MAX_HEAD = 256  # characters
_WHITE = dict.fromkeys(map(ord, "\t\n\r "))  # some encoders break lines


def is_data_url(url: str) -> bool:
    """Return whether it is one, well-formed or not."""
    return url[:5].lower() == "data:"


def read_data_url(url: str, max_bytes: int) -> bytes:
    """Return the bytes of an image. What they are is not looked at.

    Raises:
        Refused: It is not base64, not an image by its own words, or too large.
    """
    head = _HEAD.match(url[:_MAX_HEAD])
    if head is None or not head["type"].strip().lower().startswith("image/"):
        raise Refused("invalid_image_url", "expected data:image/TYPE;base64, and then the image.")
    if not head["parameters"].lower().endswith(";base64"):
        raise Refused("invalid_image_url", "a data: URL must be in base64.")
    text = url[head.end() :]
    if "%" in text:  # `%3D` for `=`
        text = unquote(text)
    text = text.translate(_WHITE) if any(map(text.__contains__, "\t\n\r ")) else text
    if len(text) > -(-max_bytes // 3) * 4:  # before any work is done
        raise too_large(max_bytes)
    data = _decode(text)
    if len(data) > max_bytes:
        raise too_large(max_bytes)
    return data


def _decode(text: str) -> bytes:
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise Refused("invalid_base64_image", "its base64 is damaged or cut off.") from None
    if not data:
        raise Refused("invalid_base64_image", "it is empty.")
    return data


def write_data_url(media_type: str, data: bytes) -> str:
    """Return the URL in the one form that llama-server takes."""
    return f"data:{media_type};base64,{binascii.b2a_base64(data, newline=False).decode()}"
