"""Images from a real HTTPS server, whose certificate is checked against the name."""

from __future__ import annotations

import asyncio
import gzip
import logging
from typing import TYPE_CHECKING

import httpx
import pytest
from fake_upstream import scenario
from image_hosts import HOST, OTHER_HOST, PUBLIC, PUBLIC_IPV6, Connections, ImageHost, Names, fetch, fetcher, http
from pictures import png

from gateway.images.fetching import Fetcher, open_transport
from gateway.images.policy import ImagePolicy
from gateway.images.refusal import Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable

URL = f"https://{HOST}/cat.png"
SMALL = ImagePolicy(max_bytes=1000, max_total_bytes=1500)


def fetched(
    host: ImageHost, url: str = URL, names: Names | None = None, policy: ImagePolicy | None = None
) -> Awaitable[bytes]:
    names = names or Names({HOST: [[PUBLIC]], OTHER_HOST: [[PUBLIC_IPV6]]})
    return fetch(Fetcher(policy or ImagePolicy(), names.resolve, host.open_transport), url, policy)


async def refused(host: ImageHost, url: str = URL, policy: ImagePolicy | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        await fetched(host, url, policy=policy)
    return caught.value


@scenario
async def test_an_image_is_fetched_from_the_address_that_was_checked_under_its_hosts_name() -> None:
    async with ImageHost({"/cat.png?size=2&of=%20": [http(body=png())]}).listening() as host:
        assert await fetched(host, "https://IMAGES.example:443/cat.png?size=2&of=%20#top") == png()
    assert host.addresses == [PUBLIC]
    assert host.server_names == [HOST]
    (head,) = host.seen
    assert head == (
        b"GET /cat.png?size=2&of=%20 HTTP/1.1\r\nHost: images.example\r\nUser-Agent: warmgate\r\n"
        b"Accept: image/png, image/jpeg, image/gif, image/bmp\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n"
    )


@scenario
async def test_letters_that_a_path_may_not_hold_are_encoded() -> None:
    async with ImageHost({"/%C3%A4.png": [http(body=png())]}).listening() as host:
        assert await fetched(host, f"https://{HOST}/ä.png") == png()


@scenario
async def test_redirects_are_followed_to_other_hosts_and_nothing_is_taken_along() -> None:
    pages = {
        "/cat.png": [http(301, location="/2", set_cookie="session=1; Domain=example")],
        "/2": [http(307, location=f"https://{OTHER_HOST}/3", set_cookie="session=2")],
        "/3": [http(302, location="4?x=1")],
        "/4?x=1": [http(body=png())],
    }
    async with ImageHost(pages).listening() as host:
        assert await fetched(host) == png()
    assert host.addresses == [PUBLIC, PUBLIC, PUBLIC_IPV6, PUBLIC_IPV6]
    assert host.server_names == [HOST, HOST, OTHER_HOST, OTHER_HOST]
    assert not any(b"session" in head or b"referer" in head.lower() for head in host.seen)


@scenario
async def test_a_fourth_redirect_is_too_many() -> None:
    async with ImageHost({"/cat.png": [http(302, location="/cat.png")]}).listening() as host:
        refusal = await refused(host)
    assert (refusal.code, len(host.seen)) == ("failed_to_download_image", 4)
    assert refusal.what == "the image could not be fetched: it redirects more than 3 times."


@scenario
async def test_a_redirect_away_from_https_is_not_followed() -> None:
    async with ImageHost({"/cat.png": [http(302, location=f"http://{HOST}/cat.png")]}).listening() as host:
        assert (await refused(host)).code == "invalid_image_url"
        assert len(host.seen) == 1


@scenario
async def test_a_certificate_for_another_name_or_from_an_unknown_authority_is_refused() -> None:
    async with ImageHost({"/": [http(body=png())]}).listening() as host:
        names = Names({"other.example": [[PUBLIC]]})
        with pytest.raises(Refused, match="no valid certificate"):
            await fetched(host, "https://other.example/", names)

        async def moved() -> httpx.AsyncBaseTransport:
            return _Moved(host.port)

        with pytest.raises(Refused, match="no valid certificate"):
            await fetch(Fetcher(ImagePolicy(), Names({HOST: [[PUBLIC]]}).resolve, moved), f"https://{HOST}/")
    assert host.seen == []


class _Moved(httpx.AsyncBaseTransport):
    """The transport as it is made outside of tests, which does not know the tests' authority."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        async with await open_transport() as transport:
            url = request.url.copy_with(host="127.0.0.1", port=self._port)
            moved = httpx.Request("GET", url, headers=request.headers, extensions=request.extensions)
            return await transport.handle_async_request(moved)


@scenario
async def test_the_next_address_is_tried_where_one_does_not_accept_connections() -> None:
    async def only_the_second(request: httpx.Request) -> httpx.Response:
        if request.url.host == PUBLIC_IPV6:
            raise httpx.ConnectError("no route")
        return httpx.Response(200, stream=httpx.ByteStream(png()))

    connections = Connections(only_the_second)
    assert await fetch(fetcher(Names({HOST: [[PUBLIC_IPV6, PUBLIC]]}), connections), URL) == png()
    assert connections.addresses == [PUBLIC_IPV6, PUBLIC]
    connections = Connections(only_the_second)
    with pytest.raises(Refused, match="does not accept connections"):
        await fetch(fetcher(Names({HOST: [[PUBLIC_IPV6]]}), connections), URL)


@pytest.mark.parametrize(
    ("answer", "code", "what"),
    [
        (http(404, b"gone"), "failed_to_download_image", "status 404"),
        (http(204), "failed_to_download_image", "status 204"),
        (http(304), "failed_to_download_image", "status 304"),
        (http(500), "failed_to_download_image", "status 500"),
        (http(206, png(), content_range="bytes 0-1/9"), "failed_to_download_image", "status 206"),
        (http(body=gzip.compress(png()), content_encoding="gzip"), "failed_to_download_image", "sent it compressed"),
        (http(302), "failed_to_download_image", "more than 3 times"),
        (http(302, location="https://[::1"), "invalid_image_url", "not a URL"),
        (http(body=bytes(1001)), "image_too_large", "larger than 1000 bytes"),
        (http(content_length="1001"), "image_too_large", "larger than 1000 bytes"),
        (http(content_length="99999999999999999999"), "image_too_large", "larger than 1000 bytes"),
        (http(body=png(), content_length="900"), "failed_to_download_image", "broke off"),
        (http(transfer_encoding="chunked") + b"3e9\r\n" + bytes(1001) + b"\r\n0\r\n\r\n", "image_too_large", "1000 b"),
        (http(transfer_encoding="chunked") + b"5\r\nabcde\r\n", "failed_to_download_image", "broke off"),
        (http(transfer_encoding="chunked") + b"never\r\n", "failed_to_download_image", "broke off"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1001), "image_too_large", "larger than 1000 bytes"),
        (http(set_cookie="a" * 200_000), "failed_to_download_image", "did not answer properly"),
        (b"\x15\x03\x01 this is no HTTP\r\n\r\n", "failed_to_download_image", "did not answer properly"),
        (b"", "failed_to_download_image", "did not answer properly"),
    ],
)
@scenario
async def test_an_answer_that_is_no_image_we_can_take_is_refused(answer: bytes, code: str, what: str) -> None:
    async with ImageHost({"/cat.png": [answer]}).listening() as host:
        refusal = await refused(host, policy=SMALL)
    assert refusal.code == code
    assert what in refusal.what


@scenario
async def test_a_chunked_body_without_end_is_not_read_further_than_the_limit() -> None:
    never = asyncio.Event()
    pieces: list[bytes | asyncio.Event] = [
        http(transfer_encoding="chunked"),
        *[b"100\r\n" + bytes(256) + b"\r\n"] * 4,
        never,
    ]
    async with ImageHost({"/cat.png": pieces}).listening() as host:
        assert (await refused(host, policy=SMALL)).code == "image_too_large"
        await host.left.wait()


@scenario
async def test_one_that_is_cancelled_hangs_up() -> None:
    never = asyncio.Event()
    async with ImageHost({"/cat.png": [http(content_length="500"), never]}).listening() as host:
        task = asyncio.ensure_future(fetched(host))
        await host.arrived.wait()
        task.cancel()
        await host.left.wait()
        await asyncio.wait({task})
        assert task.cancelled()


@scenario
async def test_no_more_are_fetched_at_once_than_is_set() -> None:
    go_on = asyncio.Event()
    under_way = most = 0

    async def slow(_: httpx.Request) -> httpx.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if most == 3:
            go_on.set()
        await go_on.wait()
        under_way -= 1
        return httpx.Response(200, stream=httpx.ByteStream(png()))

    some = fetcher(Names({HOST: [[PUBLIC]]}), Connections(slow), ImagePolicy(fetches=3))
    assert await asyncio.gather(*[fetch(some, URL) for _ in range(9)]) == [png()] * 9
    assert most == 3


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY", "https_proxy", "SSL_CERT_FILE"])
@scenario
async def test_the_environment_changes_nothing(variable: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable, "http://127.0.0.1:1")
        patch.setenv("NETRC", "/nowhere")
        async with ImageHost({"/cat.png": [http(body=png())]}).listening() as host:
            assert await fetched(host) == png()


def test_nothing_of_a_url_but_its_host_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "warmgate")  # as the program does it: other libraries' loggers stay at warnings

    @scenario
    async def fetch_three() -> None:
        pages = {"/p4th?s3cret": [http(302, location="/p4th2?s3cret")], "/p4th2?s3cret": [http(body=png())]}
        async with ImageHost(pages).listening() as host:
            await fetched(host, f"https://{HOST}/p4th?s3cret")
        with pytest.raises(Refused):
            await fetched(host, f"https://{HOST}/p4th?s3cret")  # nobody listens any more

    fetch_three()
    assert HOST in caplog.text
    assert "s3cret" not in caplog.text
    assert "p4th" not in caplog.text
