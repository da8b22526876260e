from __future__ import annotations

from base64 import b64encode

import pytest

from gateway.auth.credentials import authenticate
from gateway.auth.keys import KeyRing
from gateway.errors import Unauthorized

KEYS = KeyRing({"laptop": "abc", "phone": "schlüssel", "colon": "a:b"})


def basic(text: str) -> bytes:
    return b"Basic " + b64encode(text.encode())


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"Bearer abc", "laptop"),
        (b"bearer abc", "laptop"),
        (b"  BEARER   abc  ", "laptop"),
        ("Bearer schlüssel".encode(), "phone"),
        (basic("anybody:abc"), "laptop"),
        (basic(":abc"), "laptop"),
        (basic("me:schlüssel"), "phone"),
        (basic("me:a:b"), "colon"),
        (b"basic " + b64encode(b"x:abc") + b" ", "laptop"),
    ],
)
def test_a_key_opens(value: bytes, name: str) -> None:
    assert authenticate(KEYS, [(b"accept", b"*/*"), (b"authorization", value)]) == name


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "must be 'Bearer KEY'"),
        (b"abc", "must be 'Bearer KEY'"),
        (b"Digest abc", "must be 'Bearer KEY'"),
        (b"Bearer", "Incorrect API key"),
        (b"Bearer ", "Incorrect API key"),
        (b"Bearer abcd", "Incorrect API key"),
        (b"Bearer abc abc", "Incorrect API key"),
        (b"Bearer schl\xfcssel", "Incorrect API key"),
        (b"Bearer \x00\xff\xfe", "Incorrect API key"),
        (basic("abc:abcd"), "Incorrect API key"),
        (basic("abc"), "Incorrect API key"),
        (b"Basic", "Incorrect API key"),
        (b"Basic !!!", "cannot be read"),
        (b"Basic \xc3\xbc", "cannot be read"),
        (b"Basic \xff", "cannot be read"),
        (b"Basic " + b64encode(b"x:\xff"), "cannot be read"),
    ],
)
def test_anything_else_does_not_open(value: bytes, message: str) -> None:
    with pytest.raises(Unauthorized, match=message) as caught:
        authenticate(KEYS, [(b"authorization", value)])
    assert caught.value.status == 401
    assert caught.value.code == "invalid_api_key"


def test_without_a_header_the_way_to_send_a_key_is_told() -> None:
    with pytest.raises(Unauthorized, match="Authorization: Bearer KEY"):
        authenticate(KEYS, [(b"accept", b"*/*")])


@pytest.mark.parametrize("value", [b"abc", b" abc "])
def test_anthropics_header_opens_too(value: bytes) -> None:
    assert authenticate(KEYS, [(b"x-api-key", value)]) == "laptop"


@pytest.mark.parametrize("value", [b"", b"abcd", b"Bearer abc", b"\xff"])
def test_anything_else_in_anthropics_header_does_not_open(value: bytes) -> None:
    with pytest.raises(Unauthorized, match="Incorrect API key"):
        authenticate(KEYS, [(b"x-api-key", value)])


def test_openais_header_counts_where_both_are_sent() -> None:
    with pytest.raises(Unauthorized):
        authenticate(KEYS, [(b"x-api-key", b"abc"), (b"authorization", b"Bearer wrong")])


def test_only_the_first_of_two_headers_counts() -> None:
    with pytest.raises(Unauthorized):
        authenticate(KEYS, [(b"authorization", b"Bearer wrong"), (b"authorization", b"Bearer abc")])
