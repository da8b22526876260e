"""Small pictures, made by hand."""

from __future__ import annotations

import base64
import struct
import zlib

SIZE = (4, 3)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    size: tuple[int, int] = SIZE,
    *,
    grey: int = 128,
    rows: bytes | None = None,
    interlaced: bool = False,
    before: bytes = b"",
    packed: bytes | None = None,
) -> bytes:
    """Return a grey PNG; `rows` are put in for its own, `packed` for the packed rows."""
    rows = (b"\0" + bytes([grey]) * size[0]) * size[1] if rows is None else rows
    head = struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, interlaced)
    pieces = [(b"IHDR", head), (b"IDAT", zlib.compress(rows) if packed is None else packed), (b"IEND", b"")]
    chunks = [_png_chunk(*piece) for piece in pieces]
    return b"\x89PNG\r\n\x1a\n" + chunks[0] + before + b"".join(chunks[1:])


def png_chunk(kind: bytes, data: bytes = b"") -> bytes:
    return _png_chunk(kind, data)


def gif(size: tuple[int, int] = SIZE) -> bytes:
    """Return a GIF that holds one pixel of all that it says to have."""
    head = b"GIF89a" + struct.pack("<HHBBB", *size, 0x80, 0, 0) + bytes(3) + b"\xff" * 3
    return head + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02D\x01\0;"


def bmp(size: tuple[int, int] = SIZE, *, upside_down: bool = False) -> bytes:
    width, height = size
    pixels = b"\x80" * ((width * 3 + 3) // 4 * 4) * height
    head = struct.pack("<IiiHHIIiiII", 40, width, -height if upside_down else height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + head + pixels


def segment(marker: int, data: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def jpeg(size: tuple[int, int] = SIZE, *, before: bytes = b"", scans: int = 1) -> bytes:
    """Return a grey JPEG, with something `before` its size is said."""
    width, height = size
    one_code = bytes([1]) + bytes(15) + bytes(1)  # the code 0 for the symbol 0: nothing changes, nothing more comes
    blocks = max(1, -(-width // 8) * -(-height // 8))
    bits = "00" * blocks
    bits += "1" * (-len(bits) % 8)
    scan = segment(0xDA, b"\x01\x01\0\0\x3f\0") + int(bits, 2).to_bytes(len(bits) // 8, "big")
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"),
            before,
            segment(0xDB, b"\0" + b"\x01" * 64),
            segment(0xC0, struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\0"),
            segment(0xC4, b"\0" + one_code),
            segment(0xC4, b"\x10" + one_code),
            scan * scans,
            b"\xff\xd9",
        ]
    )


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
