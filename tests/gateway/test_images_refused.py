"""URLs that lead, or may lead, elsewhere than to the public internet. None of them is connected to."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import httpx
import pytest
from fake_upstream import scenario
from image_hosts import HOST, PUBLIC, PUBLIC_IPV6, Connections, ImageHost, Names, fetch, fetcher
from pictures import png

from gateway.images.fetching import Fetcher
from gateway.images.policy import ImagePolicy
from gateway.images.refusal import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

PRIVATE_ADDRESSES = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",  # Alibaba's metadata
    "127.0.0.1",
    "127.1.2.3",
    "168.63.129.16",  # Azure's host agent
    "169.254.0.1",
    "169.254.169.254",  # metadata of AWS, Google, Azure and others
    "169.254.170.2",  # AWS' containers' credentials
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",  # Oracle's metadata
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",  # compatible
    "::ffff:127.0.0.1",  # mapped
    "::ffff:169.254.169.254",
    f"::ffff:{PUBLIC}",
    "::ffff:0:127.0.0.1",  # translated
    "64:ff9b::127.0.0.1",  # NAT64
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",  # Teredo
    "2001:0:53aa:64c::7f00:1",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::",  # 6to4 of 127.0.0.1
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",  # AWS' metadata
    "fe80::1",
    "fec0::1",
    "ff02::1",
]

NAMES: dict[str, list[list[str]]] = {
    HOST: [[PUBLIC]],
    "both.example": [[PUBLIC, "10.0.0.1"]],
    "both6.example": [[PUBLIC, PUBLIC_IPV6, "::1"]],
    "scoped.example": [["fe80::1%2"]],
    "nothing.example": [[]],
    "junk.example": [["not an address"]],
    "localhost": [["127.0.0.1"]],
    "127.1": [["127.0.0.1"]],
    "2130706433": [["127.0.0.1"]],
    "metadata.google.internal": [[PUBLIC]],
    "public.localhost": [[PUBLIC]],
    "printer.local": [[PUBLIC]],
    "printer": [[PUBLIC]],
    "127.0.0.1.nip.example": [["127.0.0.1"]],
}

URLS = [
    *(f"https://[{address}]/" if ":" in address else f"https://{address}/" for address in PRIVATE_ADDRESSES),
    # names
    "https://both.example/",
    "https://both6.example/",
    "https://scoped.example/",
    "https://nothing.example/",
    "https://junk.example/",
    "https://unknown.example/",
    "https://127.0.0.1.nip.example/",
    "https://localhost/",
    "https://LOCALHOST/",
    "https://localhost./",
    "https://public.localhost/",
    "https://metadata.google.internal/computeMetadata/v1/",
    "https://printer.local/",
    "https://printer/",
    "https://-.example/",
    f"https://{'a' * 64}.example/",
    f"https://{'a.' * 130}example/",
    f"https://{HOST}./",
    f"https://.{HOST}/",
    f"https://{HOST}..example/",
    # other notations of addresses
    "https://2130706433/",
    "https://0x7f000001/",
    "https://017700000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://127.0.0.01/",
    "https://127.1/",
    "https://127.0.1/",
    "https://127.0.0.1./",
    "https://127.0.0.0x1/",
    "https://0/",
    "https://1.1.1.1.1/",
    "https://256.1.1.1/",
    "https://①②⑦.0.0.1/",
    "https://127。0。0。1/",
    "https://１２７.0.0.1/",  # noqa: RUF001
    "https://١٢٧.0.0.1/",
    "https://127%2e0%2e0%2e1/",
    "https://%31%32%37.0.0.1/",
    "https://loc%61lhost/",
    "https://ⓛocalhost/",
    "https://[::1%25lo]/",
    "https://[fe80::1%25eth0]/",
    "https://[::ffff:7f00:1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[v1.7f000001]/",
    "https://[127.0.0.1]/",
    "https://[::1/",
    "https://::1/",
    f"https://[{PUBLIC_IPV6}]x/",
    # user names
    f"https://{HOST}@127.0.0.1/",
    f"https://user:password@{HOST}/",
    f"https://@{HOST}/",
    f"https://127.0.0.1:443@{HOST}/",
    # ports
    f"https://{HOST}:80/",
    f"https://{HOST}:8443/",
    f"https://{HOST}:22/",
    f"https://{HOST}:0/",
    f"https://{HOST}:65536/",
    f"https://{HOST}:443:443/",
    f"https://{HOST}:-443/",
    f"https://{HOST}:４４３/",  # noqa: RUF001
    # what other programs read as something else
    f"https://127.0.0.1\\@{HOST}/",
    f"https:\\\\{HOST}/",
    f"https://{HOST}\t.127.0.0.1/",
    f"https://{HOST}\r\nHost: 127.0.0.1/",
    f"https://{HOST}/\r\nX-Injected: 1",
    f"https://{HOST}/a b",
    f" https://{HOST}/",
    f"https://{HOST}/\0",
    f"https://127.0.0.1#@{HOST}/",
    f"https://127.0.0.1?@{HOST}/",
    "https:///etc/passwd",
    "https://",
    "https:/127.0.0.1/",
    f"https:{HOST}/",
    f"https://{HOST}/{'a' * 9000}",
    # other schemes
    f"http://{HOST}/",
    "http://127.0.0.1/",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    f"ftp://{HOST}/cat.png",
    "gopher://127.0.0.1:6379/_INFO",
    "dict://127.0.0.1:11211/stats",
    "ldap://127.0.0.1/",
    "jar:https://images.example!/",
    f"blob:https://{HOST}/0f3c",
    "javascript:alert(1)",
    "about:blank",
    "unix:///var/run/docker.sock",
    f"wss://{HOST}/",
    f"view-source:https://{HOST}/",
    f"url:https://{HOST}/",
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
    "/etc/passwd",
    f"//{HOST}/cat.png",
    "cat.png",
    "",
]

# in a `Location` header these are proper ways to name a public host
FINE_AS_REDIRECTS = {f" https://{HOST}/", f"//{HOST}/cat.png"}


async def a_picture(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, stream=httpx.ByteStream(png()))


def dns() -> Names:
    return Names({name: [list(answer) for answer in answers] for name, answers in NAMES.items()})


def test_there_are_as_many_as_we_say() -> None:
    assert len(set(URLS)) == len(URLS) > 120


@pytest.mark.parametrize("url", URLS)
@scenario
async def test_a_url_that_does_not_lead_to_the_public_internet_is_refused_unconnected(url: str) -> None:
    connections = Connections(a_picture)
    with pytest.raises(Refused) as caught:
        await fetch(fetcher(dns(), connections), url)
    assert caught.value.code == "invalid_image_url"
    assert connections.requests == []


@pytest.mark.parametrize(
    "url", sorted({url for url in URLS if url.isascii() and url.isprintable()} - FINE_AS_REDIRECTS)
)
@scenario
async def test_a_redirect_to_one_is_refused_too(url: str) -> None:
    async def redirect(request: httpx.Request) -> httpx.Response:
        if request.headers["host"] == "start.example":
            return httpx.Response(302, headers={"location": url})
        return await a_picture(request)

    connections = Connections(redirect)
    names = dns()
    names.answers["start.example"] = [[PUBLIC]]
    with pytest.raises(Refused):  # some are relative, and so lead to the start again
        await fetch(fetcher(names, connections), "https://start.example/")
    assert {request.headers["host"] for request in connections.requests} == {"start.example"}
    assert set(connections.addresses) == {PUBLIC}


@pytest.mark.parametrize("address", PRIVATE_ADDRESSES)
@scenario
async def test_a_name_that_resolves_to_one_is_refused_even_among_public_ones(address: str) -> None:
    connections = Connections(a_picture)
    for answer in ([address], [PUBLIC, address], [address, PUBLIC_IPV6]):
        with pytest.raises(Refused, match="not a public one"):
            await fetch(fetcher(Names({"evil.example": [answer]}), connections), "https://evil.example/")
    assert connections.requests == []


@scenario
async def test_a_private_name_cannot_be_told_from_one_that_does_not_exist() -> None:
    said = set()
    for host in ("127.0.0.1.nip.example", "unknown.example", "nothing.example", "printer.local"):
        with pytest.raises(Refused) as caught:
            await fetch(fetcher(dns(), Connections(a_picture)), f"https://{host}/")
        said.add(caught.value.what)
    assert len(said) == 1


@scenario
async def test_a_name_that_is_rebound_is_resolved_once_and_the_checked_address_connected_to() -> None:
    names = Names({"rebind.example": [[PUBLIC], ["127.0.0.1"]]})
    connections = Connections(a_picture)
    assert await fetch(fetcher(names, connections), "https://rebind.example/") == png()
    assert names.asked == ["rebind.example"]
    assert connections.addresses == [PUBLIC]


@scenario
async def test_a_redirect_to_the_same_name_is_checked_against_its_new_address() -> None:
    async def redirect(_: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"location": "/again"})

    names = Names({"rebind.example": [[PUBLIC], ["127.0.0.1"]]})
    connections = Connections(redirect)
    with pytest.raises(Refused, match="not a public one"):
        await fetch(fetcher(names, connections), "https://rebind.example/")
    assert connections.addresses == [PUBLIC]


@scenario
async def test_with_no_urls_allowed_none_is_fetched() -> None:
    connections = Connections(a_picture)
    with pytest.raises(Refused, match="send the image itself"):
        await fetch(fetcher(dns(), connections, ImagePolicy(urls="none")), f"https://{HOST}/")
    assert connections.requests == []


@scenario
async def test_http_is_fetched_where_it_is_allowed_and_is_not_a_way_around() -> None:
    connections = Connections(a_picture)
    allowing = fetcher(dns(), connections, ImagePolicy(urls="http"))
    assert await fetch(allowing, f"http://{HOST}/") == png()
    assert [str(request.url) for request in connections.requests] == [f"http://{PUBLIC}/"]
    for url in (f"http://{HOST}:443/", f"http://{HOST}:8080/", "http://127.0.0.1/", "http://localhost/"):
        with pytest.raises(Refused):
            await fetch(allowing, url)
    assert len(connections.requests) == 1


@contextlib.contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen()
        listener.setblocking(False)
        yield listener


@pytest.mark.parametrize("url", [url for url in URLS if "127" in url or "localhost" in url.lower() or "::1" in url])
@scenario
async def test_a_socket_that_listens_there_sees_nothing(url: str) -> None:
    """All that is sent goes to that socket, wherever it was meant to go."""
    with listening("127.0.0.1") as listener:
        host = ImageHost({}, port=listener.getsockname()[1])
        with pytest.raises(Refused):
            await fetch(Fetcher(ImagePolicy(), dns().resolve, host.open_transport), url)
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "[::ffff:127.0.0.1]", "0", "0.0.0.0"]
)
@scenario
async def test_nor_does_it_through_the_real_resolver_and_the_real_transport(host: str) -> None:
    with listening("127.0.0.1") as listener:
        port = listener.getsockname()[1]
        fetcher = Fetcher(ImagePolicy(urls="http"))
        for url in (f"https://{host}:{port}/", f"http://{host}:{port}/", f"https://{host}/", f"http://{host}/"):
            with pytest.raises(Refused):
                await fetch(fetcher, url)
        with pytest.raises(BlockingIOError):
            listener.accept()


@scenario
async def test_the_query_of_a_url_is_in_no_message() -> None:
    secret = "signature=7f3a"
    for url in (f"https://127.0.0.1/?{secret}", f"ftp://{HOST}/?{secret}", f"https://{HOST}:1/?{secret}"):
        with pytest.raises(Refused) as caught:
            await fetch(fetcher(dns(), Connections(a_picture)), url)
        assert secret not in caught.value.what
