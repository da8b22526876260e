from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import data_url, png

from gateway.images.data_urls import is_data_url, read_data_url, write_data_url
from gateway.images.refusal import Refused

LIMIT = 1000
TEXT = base64.b64encode(png()).decode()


@given(st.binary(min_size=1, max_size=LIMIT))
def test_what_is_written_is_read_again(data: bytes) -> None:
    assert read_data_url(write_data_url("image/png", data), LIMIT) == data


@pytest.mark.parametrize(
    "url",
    [
        data_url(png()),
        f"DATA:IMAGE/PNG;BASE64,{TEXT}",
        f"data:image/jpeg;base64,{TEXT}",  # what it is, its content says
        f"data:image/png;charset=utf-8;base64,{TEXT}",
        f"data:image/png;name=cat.png;base64,{TEXT}",
        f"data:image/png;base64,{quote(TEXT, safe='')}",
        f"data:image/png;base64,{base64.encodebytes(png()).decode()}",
        f"data:image/png;base64, {TEXT}\r\n",
    ],
)
def test_it_is_read_as_clients_write_it(url: str) -> None:
    assert is_data_url(url)
    assert read_data_url(url, LIMIT) == png()


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("data:", "invalid_image_url"),
        ("data:,", "invalid_image_url"),
        (f"data:;base64,{TEXT}", "invalid_image_url"),
        (f"data:text/html;base64,{TEXT}", "invalid_image_url"),
        (f"data:audio/wav;base64,{TEXT}", "invalid_image_url"),
        (f"data:video/mp4;base64,{TEXT}", "invalid_image_url"),
        (f"data:{'image/png' * 100};base64,{TEXT}", "invalid_image_url"),
        (f"data:image/png,{TEXT}", "invalid_image_url"),
        (f"data:image/png;base64;charset=utf-8,{TEXT}", "invalid_image_url"),
        ("data:image/svg+xml;utf8,<svg/>", "invalid_image_url"),
        ("data:image/png;base64", "invalid_image_url"),
        ("data:image/png;base64,", "invalid_base64_image"),
        (f"data:image/png;base64,{TEXT[:-1]}", "invalid_base64_image"),
        (f"data:image/png;base64,{TEXT[:-3]}", "invalid_base64_image"),
        (f"data:image/png;base64,{TEXT}{TEXT}", "invalid_base64_image"),
        (f"data:image/png;base64,{TEXT},{TEXT}", "invalid_base64_image"),
        (f"data:image/png;base64,-_{TEXT[2:]}", "invalid_base64_image"),
        (f"data:image/png;base64,é{TEXT[1:]}", "invalid_base64_image"),
        ("data:image/png;base64,====", "invalid_base64_image"),
        (data_url(bytes(LIMIT + 1)), "image_too_large"),
        (data_url(bytes(LIMIT * 9)), "image_too_large"),
    ],
)
def test_anything_else_is_refused(url: str, code: str) -> None:
    with pytest.raises(Refused) as caught:
        read_data_url(url, LIMIT)
    assert caught.value.code == code


def test_as_much_as_is_allowed_is_taken() -> None:
    assert read_data_url(data_url(bytes(LIMIT)), LIMIT) == bytes(LIMIT)
