"""Hosts of images: names that resolve to what a test says, and a real HTTPS server that stands for all addresses."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.images.allowance import Allowance
from gateway.images.fetching import Fetcher
from gateway.images.policy import ImagePolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

PUBLIC = "93.184.215.14"
PUBLIC_IPV6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
HOST = "images.example"
OTHER_HOST = "cdn.example"

Answer = bytes | asyncio.Event


@dataclass(eq=False)
class Names:
    """A resolver. A name's answers are given in turn, the last one again and again.

    Attributes:
        answers: By name.
        asked: The names so far.
    """

    answers: dict[str, list[list[str]]]
    asked: list[str] = field(default_factory=list)

    async def resolve(self, host: str, _: int) -> list[str]:
        self.asked.append(host)
        answers = self.answers.get(host)
        if answers is None:
            raise OSError("no such name")
        return answers.pop(0) if len(answers) > 1 else answers[0]


@dataclass(eq=False)
class Connections:
    """Opens transports that note every request, and let `answer` answer it.

    Attributes:
        answer: What is behind all addresses.
        requests: Those that would have gone out, with the address in their URL.
    """

    answer: Callable[[httpx.Request], Awaitable[httpx.Response]]
    requests: list[httpx.Request] = field(default_factory=list)

    async def open(self) -> httpx.AsyncBaseTransport:
        return httpx.MockTransport(self._note)

    async def _note(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return await self.answer(request)

    @property
    def addresses(self) -> list[str]:
        return [request.url.host for request in self.requests]


def fetcher(names: Names, connections: Connections, policy: ImagePolicy | None = None) -> Fetcher:
    return Fetcher(policy or ImagePolicy(), names.resolve, connections.open)


def fetch(fetcher: Fetcher, url: str, policy: ImagePolicy | None = None) -> Awaitable[bytes]:
    return fetcher.fetch(url, Allowance(policy or ImagePolicy()))


# -- a real server


def http(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """Return an HTTP answer. A header's underscores are hyphens; its length is added where there is none."""
    headers = {"content_length": str(len(body))} | headers if "transfer_encoding" not in headers else headers
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(eq=False)
class ImageHost:
    """An HTTPS server with a certificate for `HOST` and `OTHER_HOST`, at whatever address is connected to.

    Attributes:
        pages: Path to what is sent: bytes, and events that are waited for.
        seen: The requests' heads so far.
        arrived: Set by the first.
        server_names: What the TLS clients asked for.
        addresses: Where they would have connected to.
        left: Set when a client has closed its connection before the answer was complete.
    """

    pages: Mapping[str, Sequence[Answer]]
    seen: list[bytes] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    server_names: list[str | None] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[ImageHost]:
        context, _ = certificates()
        context.sni_callback = lambda _, name, __: self.server_names.append(name)
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    async def open_transport(self) -> httpx.AsyncBaseTransport:
        return _Detour(self)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.seen.append(head)
            self.arrived.set()
            for piece in self.pages[head.split()[1].decode()]:
                if isinstance(piece, bytes):
                    writer.write(piece)
                    await writer.drain()
                else:
                    await self._wait(piece, reader)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _wait(self, event: asyncio.Event, reader: asyncio.StreamReader) -> None:
        waits = [asyncio.create_task(event.wait()), asyncio.create_task(reader.read())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if not event.is_set():
            self.left.set()
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


class _Detour(httpx.AsyncBaseTransport):
    """httpx's own transport, but for the address, at which it is the local server that listens."""

    def __init__(self, host: ImageHost) -> None:
        self._host = host
        self._transport = httpx.AsyncHTTPTransport(verify=certificates()[1], trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._host.addresses.append(request.url.host)
        url = request.url.copy_with(host="127.0.0.1", port=self._host.port)
        moved = httpx.Request(request.method, url, headers=request.headers, extensions=request.extensions)
        return await self._transport.handle_async_request(moved)

    async def aclose(self) -> None:
        await self._transport.aclose()


@functools.cache
def certificates() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the server's context, and a client's that trusts the server's authority and no other."""
    authority_key, authority = _certificate("tests' own authority", None)
    key, certificate = _certificate(HOST, (authority_key, authority))
    client = ssl.create_default_context(cadata=authority.public_bytes(serialization.Encoding.PEM).decode())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "both.pem"
        key_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(key_pem + certificate.public_bytes(serialization.Encoding.PEM))
        server.load_cert_chain(file)
    return server, client


Signed = tuple[ec.EllipticCurvePrivateKey, x509.Certificate]


def _certificate(name: str, issuer: Signed | None) -> Signed:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    issuer_key, issuer_name = (issuer[0], issuer[1].subject) if issuer else (key, subject)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_usage(signs=issuer is None), critical=True)
    )
    if issuer:
        names = x509.SubjectAlternativeName([x509.DNSName(HOST), x509.DNSName(OTHER_HOST)])
        builder = builder.add_extension(names, critical=False)
    return key, builder.sign(issuer_key, hashes.SHA256())


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
