from __future__ import annotations

import pytest

from gateway.auth.keys import KeyRing, parse_keys


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", {}),
        (" , ,", {}),
        ("abc", {"key1": "abc"}),
        ("abc,def", {"key1": "abc", "key2": "def"}),
        ("laptop:abc, phone : d:e ", {"laptop": "abc", "phone": "d:e"}),
        ("laptop:abc,def", {"laptop": "abc", "key2": "def"}),
    ],
)
def test_keys_are_read_from_text(text: str, keys: dict[str, str]) -> None:
    assert parse_keys(text) == keys


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:secret,a:hidden", "the name 'a' stands twice"),
        ("key2:secret,hidden", "the name 'key2' stands twice"),
        (":secret", "entry 1 has an empty name or key"),
        ("x:hidden,a: ", "entry 2 has an empty name or key"),
    ],
)
def test_a_broken_list_of_keys_is_refused_without_telling_a_key(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_keys(text)
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_key_has_a_name() -> None:
    ring = KeyRing({"laptop": "abc", "phone": "schlüssel"})
    assert ring.name_of("abc") == "laptop"
    assert ring.name_of("schlüssel") == "phone"


@pytest.mark.parametrize("key", ["", "ab", "abcd", "ABC", "laptop", "\udcff"])
def test_what_is_no_key_has_none(key: str) -> None:
    assert KeyRing({"laptop": "abc"}).name_of(key) is None


def test_without_keys_nobody_has_a_name() -> None:
    assert KeyRing({}).name_of("") is None


def test_a_ring_does_not_hold_the_keys_themselves() -> None:
    ring = KeyRing({"laptop": "very-secret"})
    assert "very-secret" not in repr(vars(ring))
