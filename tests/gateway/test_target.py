from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from fake_upstream import FakeUpstream, scenario

from gateway.upstream.target import Target

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "target", "spelling", "host_header"),
    [
        ("http://127.0.0.1:8080", Target(host="127.0.0.1", port=8080), "http://127.0.0.1:8080", b"127.0.0.1:8080"),
        ("http://llama", Target(host="llama", port=80), "http://llama:80", b"llama:80"),
        ("http://llama:81/", Target(host="llama", port=81), "http://llama:81", b"llama:81"),
        ("http://[::1]:8080", Target(host="::1", port=8080), "http://[::1]:8080", b"[::1]:8080"),
        ("unix:/run/x.sock", Target(socket_path="/run/x.sock"), "unix:/run/x.sock", b"llama-server:80"),
        ("unix:///run/x.sock", Target(socket_path="/run/x.sock"), "unix:/run/x.sock", b"llama-server:80"),
    ],
)
def test_a_target_is_read_and_written(text: str, target: Target, spelling: str, host_header: bytes) -> None:
    parsed = Target.parse(text)
    assert parsed == target
    assert str(parsed) == spelling
    assert Target.parse(spelling) == target
    assert parsed.host_header == host_header


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("unix:x.sock", "absolute path"),
        ("unix:", "absolute path"),
        ("https://127.0.0.1", "expected http://HOST:PORT"),
        ("127.0.0.1:8080", "expected http://HOST:PORT"),
        ("http://", "expected http://HOST:PORT"),
        ("http://llama/v1", "expected http://HOST:PORT"),
        ("http://llama?x=1", "expected http://HOST:PORT"),
        ("http://llama:99999", "Port out of range"),
        ("", "expected http://HOST:PORT"),
    ],
)
def test_what_is_no_target_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        Target.parse(text)


@scenario
async def test_small_questions_reach_a_unix_socket(tmp_path: Path) -> None:
    async with FakeUpstream(tmp_path / "s").listening() as upstream, upstream.target.control_client(5) as client:
        assert (await client.get("/health")).json() == {"status": "ok"}


@scenario
async def test_asking_does_not_load_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes 60 ms in which no stream goes on."""
    loaded: list[object] = []
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *args, **_: loaded.append(args))
    async with Target(host="127.0.0.1", port=1).control_client(5):
        assert loaded == []


@scenario
async def test_small_questions_keep_no_connection() -> None:
    async with FakeUpstream().listening() as upstream, upstream.target.control_client(5) as client:
        for _ in range(3):
            await client.get("/health")
        assert upstream.connections == 3
