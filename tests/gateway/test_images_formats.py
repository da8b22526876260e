from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import bmp, gif, jpeg, png, png_chunk, segment

from gateway.images import formats
from gateway.images.formats import Picture, read_picture
from gateway.images.refusal import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 1_000_000


def refusal(data: bytes, max_pixels: int = MOST) -> Refused:
    with pytest.raises(Refused) as caught:
        read_picture(data, max_pixels)
    return caught.value


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (png((300, 20)), "image/png"),
        (gif((300, 20)), "image/gif"),
        (gif((300, 20)).replace(b"GIF89a", b"GIF87a"), "image/gif"),
        (bmp((300, 20)), "image/bmp"),
        (bmp((300, 20), upside_down=True), "image/bmp"),
        (b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 300, 20, 1, 24) + bytes(300 * 20 * 3), "image/bmp"),
        (jpeg((300, 20)), "image/jpeg"),
        (jpeg((300, 20), before=segment(0xE1, b"Exif\0\0" + bytes(60_000)) * 100), "image/jpeg"),
        (jpeg((300, 20), before=b"\xff" * 1000), "image/jpeg"),
        (jpeg((300, 20), before=bytes(1000)), "image/jpeg"),  # stb_image looks for the next marker too
        (jpeg((300, 20)) + b"\xff\xda" * 1000, "image/jpeg"),  # a film after the picture, as telephones do it
        (jpeg((300, 20), scans=90), "image/jpeg"),
    ],
)
def test_type_and_size_are_read_from_the_content(data: bytes, media_type: str) -> None:
    assert read_picture(data, MOST) == Picture(media_type, 300, 20)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"RIFF\x24\0\0\0WEBPVP8 ", "WebP"),
        (b"\0\0\0\x1cftypavif", "AVIF or HEIC"),
        (b"\0\0\0\x18ftypheic", "AVIF or HEIC"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"%PDF-1.7", "PDF"),
        (b'<?xml version="1.0"?><svg/>', "SVG or XML"),
        (b"\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG or XML"),
        (b"<!DOCTYPE html><title>Log in</title>", "a web page"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "something else"),  # llama-server would take it for sound
        (b"ID3\x04", "something else"),
        (b"\0\0\0\x18ftypmp42", "something else"),  # and this for a film
        (b"8BPS\0\x01", "something else"),
        (b"#?RADIANCE\n", "something else"),
        (b"P6 1 1 255 ", "something else"),
        (b"\x89PNG\n", "something else"),
        (b"\xff\xd8", "something else"),
        (b"GIF88a", "something else"),
        (b"x", "something else"),
    ],
)
def test_what_stb_image_does_not_read_or_we_do_not_know_is_refused_by_name(data: bytes, found: str) -> None:
    assert refusal(data).code == "unsupported_image_media_type"
    assert refusal(data).what == f"expected PNG, JPEG, GIF or BMP; its content is {found}."


@pytest.mark.parametrize("make", [png, gif, bmp, jpeg])
def test_a_picture_with_more_pixels_than_allowed_is_refused(make: Callable[[tuple[int, int]], bytes]) -> None:
    assert read_picture(make((10, 10)), 100).pixels == 100
    refused = refusal(make((10, 11)), 100)
    assert refused.code == "image_too_large"
    assert refused.what == "it has 10 x 11 pixels; the most are 100 pixels, and 32768 on a side."


@pytest.mark.parametrize("make", [png, gif, bmp, jpeg])
def test_a_very_long_or_empty_one_is_too(make: Callable[[tuple[int, int]], bytes]) -> None:
    assert refusal(make((40_000, 1))).code == "image_too_large"
    assert refusal(make((0, 1))).code == "image_parse_error"


@pytest.mark.parametrize("make", [png, gif, bmp, jpeg])
def test_one_whose_header_is_cut_off_is_damaged(make: Callable[[], bytes]) -> None:
    for length in range(3, 10):
        assert refusal(make()[:length]).code in {"image_parse_error", "unsupported_image_media_type"}


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_png_that_holds_more_than_its_size_is_a_bomb(interlaced: bool) -> None:
    bomb = png((8, 8), rows=bytes(20_000_000), interlaced=interlaced)
    assert len(bomb) < 100_000
    assert refusal(bomb).what == "it holds more than its size in pixels accounts for."


def test_a_png_whose_window_is_too_small_by_its_header_is_read_as_stb_image_reads_it() -> None:
    packed = b"\x08\x1d" + zlib.compress((b"\0" + bytes(300)) * 300)[2:]  # a window of 256 bytes
    assert read_picture(png((300, 300), packed=packed), MOST).pixels == 90_000


@pytest.mark.parametrize(
    "data",
    [
        png()[:-20],
        png(rows=b"\0\0"),
        png(packed=b""),
        png(packed=b"\x78\x9c\xff\xff"),
        png(before=png_chunk(b"CgBI")),
        png(before=b"\xff\xff\xff\xffIDAT"),
        png()[:16] + bytes(13),
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"tEXt") + png()[8:],
        png().replace(struct.pack(">IIBB", 4, 3, 8, 0), struct.pack(">IIBB", 4, 3, 8, 5)),
        jpeg()[:-40],
        b"\xff\xd8" + segment(0xE0, b"JFIF") + b"\xff\xd9",
        b"\xff\xd8" + segment(0xC3, b"\x08\0\x01\0\x01"),  # a lossless one
        b"\xff\xd8" + b"\xff" * 100_000,
        b"\xff\xd8" + segment(0xFE, b"") * 2000,
        jpeg(scans=101),
    ],
)
def test_damaged_ones_are_refused(data: bytes) -> None:
    assert refusal(data).code == "image_parse_error"


@given(st.sampled_from([png(), gif(), bmp(), jpeg()]), st.data())
def test_no_damage_is_an_error_of_ours(whole: bytes, data: st.DataObject) -> None:
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = read_picture(bytes(damaged[: data.draw(st.integers(0, len(whole)))]), MOST)
    except Refused:
        return
    assert 0 < picture.pixels <= MOST
    assert max(picture.width, picture.height) <= formats.MAX_SIDE
