"""What an image's bytes are, by their content, and how large the picture is.

llama-server reads images with stb_image, and hands what that cannot read to ffmpeg as video, if there is one. So only
what stb_image reads in any build goes there: PNG, JPEG, GIF (its first frame) and BMP. Headers are read in its way
(vendor/stb/stb_image.h in llama.cpp), since a picture must not be larger there than it is here.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.images.png import check_png
from gateway.images.refusal import Refused, damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_SIDE = 32_768
"""Pixels. The largest camera pictures have less than half of it."""

MAX_SEGMENTS = 1024
"""In a JPEG. Large colour profiles and maker notes take some two hundred."""

MAX_SCANS = 100
"""In a JPEG. Each may touch all of the picture; a progressive JPEG has about ten."""

FOUND_INSTEAD = (
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "WebP"),
    (re.compile(rb".{4}ftyp(?:avif|avis|heic|heix|hevc|mif1|msf1)", re.DOTALL), "AVIF or HEIC"),
    (re.compile(rb"II\*\0|MM\0\*"), "TIFF"),
    (re.compile(rb"%PDF"), "PDF"),
    (re.compile(rb"\s*(?:<\?xml|<!--|<svg)", re.IGNORECASE), "SVG or XML"),
    (re.compile(rb"\s*<(?:!doctype|html|head)", re.IGNORECASE), "a web page"),
)


@dataclass(frozen=True, slots=True)
class Picture:
    """What a header says.

    Attributes:
        media_type: Such as `image/png`.
        width: In pixels.
        height: In pixels.
    """

    media_type: str
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """How many it has."""
        return self.width * self.height


def read_picture(data: bytes, max_pixels: int) -> Picture:
    """Look at an image.

    Raises:
        Refused: It is of another kind, damaged where we look, or too large for `max_pixels`.
    """
    found = next((known for known in _FORMATS if data.startswith(known[0])), None)
    if found is None:
        raise _other_format(data)
    _, media_type, read_size = found
    try:
        picture = Picture(media_type, *read_size(data))
    except (struct.error, IndexError):
        raise damaged() from None
    _check_size(picture, max_pixels)
    if media_type == "image/png":
        check_png(data)
    return picture


def _check_size(picture: Picture, max_pixels: int) -> None:
    size = f"{picture.width} x {picture.height} pixels"
    if not picture.pixels:
        raise Refused("image_parse_error", f"it has {size}.")
    if picture.pixels > max_pixels or max(picture.width, picture.height) > MAX_SIDE:
        limits = f"{max_pixels} pixels, and {MAX_SIDE} on a side"
        raise Refused("image_too_large", f"it has {size}; the most are {limits}.")


def _other_format(data: bytes) -> Refused:
    found = next((name for pattern, name in FOUND_INSTEAD if pattern.match(data)), "something else")
    return Refused("unsupported_image_media_type", f"expected PNG, JPEG, GIF or BMP; its content is {found}.")


def _png_size(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise damaged()
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _gif_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


_OS2_HEADER = 12  # bytes


def _bmp_size(data: bytes) -> tuple[int, int]:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == _OS2_HEADER else "<Ii", data, 18)
    return width, abs(height)  # a negative one says that the rows begin at the top


_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive
_SCAN = 0xDA
_END = 0xD9
_OTHERS = frozenset({0xC4, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})  # tables, comments, applications' own
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # not what is within a scan


def _jpeg_size(data: bytes) -> tuple[int, int]:
    size: tuple[int, int] | None = None
    scans = 0
    for marker, at in _jpeg_segments(data):
        scans += marker == _SCAN
        if marker in _FRAMES and size is None:
            height, width = struct.unpack_from(">HH", data, at + 3)
            size = width, height
    if scans > MAX_SCANS:
        raise Refused("image_parse_error", f"it is a JPEG of {scans} scans; the most are {MAX_SCANS}.")
    if size is None or not scans:
        raise damaged()
    return size


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield each segment's marker and where what follows it begins."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None or data[found.end() - 1] == _END:
            return
        at = found.end()
        marker = data[at - 1]
        if marker != _SCAN and marker not in _FRAMES | _OTHERS:
            raise damaged()
        yield marker, at
        at += struct.unpack_from(">H", data, at)[0]
    raise damaged()


_FORMATS: tuple[tuple[bytes, str, Callable[[bytes], tuple[int, int]]], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png", _png_size),
    (b"\xff\xd8\xff", "image/jpeg", _jpeg_size),
    (b"GIF87a", "image/gif", _gif_size),
    (b"GIF89a", "image/gif", _gif_size),
    (b"BM", "image/bmp", _bmp_size),
)
