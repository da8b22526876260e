from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.images.addresses import is_public


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.215.14", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "223.255.255.255"],
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", ["2606:4700::1111", "2001:4860:4860::8888", "2a00:1450:4001:82a::200e", "2003::1"])
def test_addresses_of_its_second_version_are_too(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.integers(0, 2**32 - 1))
def test_what_python_calls_local_is_never_public(number: int) -> None:
    address = IPv4Address(number)
    assert not is_public(address) or (address.is_global and not address.is_multicast)


@given(st.one_of(st.integers(0, 2**128 - 1), st.integers(0x2 << 124, (0x4 << 124) - 1)))
def test_the_same_for_the_second_version(number: int) -> None:
    address = IPv6Address(number)
    assert not is_public(address) or (address.is_global and not address.is_multicast)


@given(st.integers(0, 2**32 - 1))
def test_no_address_that_carries_another_is_public(number: int) -> None:
    carrying = [
        number,
        0xFFFF << 32 | number,  # mapped
        0xFFFF << 48 | number,  # translated
        0x0064FF9B << 96 | number,  # NAT64
        0x2002 << 112 | number << 80,  # 6to4
        0x20010000 << 96 | number ^ 0xFFFFFFFF,  # Teredo
    ]
    assert not any(is_public(IPv6Address(address)) for address in carrying)
