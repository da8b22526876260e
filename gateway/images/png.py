"""Whether a PNG's packed data is as large as its header says: a few kilobytes can unpack to gigabytes.

stb_image unpacks all that there is before it looks at the size. https://www.w3.org/TR/png-3/#5DataRep
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from gateway.images.refusal import Refused, damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
INTERLACED_EXTRA = 8  # bytes: a row becomes at most four, each with a byte for its filter and one that is not full
PIECE = 1 << 16  # bytes
ZLIB_HEADER = 2  # bytes; its window's size and the checksum at the end mean nothing to stb_image


def check_png(data: bytes) -> None:
    """Unpack a PNG for its length, piece by piece. Tenths of a second for a very large one, without the GIL.

    Raises:
        Refused: It is damaged, or holds more than its header says.
    """
    try:
        width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
        row = (width * depth * CHANNELS[colour] + 7) // 8 + 1
        limit = (row + INTERLACED_EXTRA if interlaced else row) * height
        unpacked = _unpacked_size(b"".join(_packed(data)), limit)
    except (struct.error, KeyError, zlib.error):
        raise damaged() from None
    if unpacked < row * height:
        raise damaged()
    if unpacked > limit:
        raise Refused("image_parse_error", "it holds more than its size in pixels accounts for.")


def _packed(data: bytes) -> Iterator[bytes]:
    """Yield the pieces of the packed data."""
    at = 8
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        begin, at = at + 8, at + length + 12
        if kind == b"IEND":
            return
        if at > len(data) or kind == b"CgBI":  # Apple's own kind, packed in another way
            raise damaged()
        if kind == b"IDAT":
            yield data[begin : begin + length]


def _unpacked_size(packed: bytes, limit: int) -> int:
    """Return the size of the data, or of as much of it as goes beyond `limit`."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    for at in range(ZLIB_HEADER, len(packed), PIECE):
        piece = packed[at : at + PIECE]
        while piece and size <= limit and not unpacker.eof:
            size += len(unpacker.decompress(piece, PIECE))
            piece = unpacker.unconsumed_tail
        if unpacker.eof or size > limit:
            break
    return size
