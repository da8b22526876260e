"""One exchange with the upstream: framing on a transport that we hold, the rest over real sockets."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, cast

import pytest
from fake_upstream import (
    ANSWER,
    RECORDED,
    FakeUpstream,
    answer,
    babble,
    break_off,
    refuse_with,
    say_nothing,
    scenario,
    vanish,
)

from gateway.errors import UpstreamDisconnected, UpstreamFailed, UpstreamSilent, UpstreamUnreachable
from gateway.upstream import connection
from gateway.upstream.connection import Exchange, post
from gateway.upstream.sse import SSEDecoder
from gateway.upstream.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATH = b"/v1/chat/completions"
RESPONSE = (RECORDED / "unicode.http").read_bytes()


class HeldTransport:
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def pause_reading(self) -> None:
        self.log.append("pause")

    def resume_reading(self) -> None:
        self.log.append("resume")

    def abort(self) -> None:
        self.log.append("abort")


def connected() -> tuple[Exchange, HeldTransport]:
    exchange, transport = Exchange(silence_seconds=5), HeldTransport()
    exchange.connection_made(cast("asyncio.Transport", transport))
    return exchange, transport


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@scenario
async def test_a_recorded_response_is_the_same_wherever_it_is_split() -> None:
    text = RESPONSE.partition(b"\r\n\r\n")[2]
    assert "世".encode() in text
    whole, _ = connected()
    whole.data_received(RESPONSE)
    body = await whole.read()
    assert len(SSEDecoder().feed(body)) == 14
    for at in range(1, len(RESPONSE)):
        exchange, _ = connected()
        exchange.data_received(RESPONSE[:at])
        exchange.data_received(RESPONSE[at:])
        await exchange.started()
        assert exchange.status == 200
        assert exchange.headers[b"content-type"] == b"text/event-stream"
        assert await exchange.read() == body, f"split at {at}"


@scenario
async def test_a_recorded_response_is_the_same_byte_by_byte() -> None:
    exchange, _ = connected()
    for at in range(len(RESPONSE)):
        exchange.data_received(RESPONSE[at : at + 1])
    assert len(SSEDecoder().feed(await exchange.read())) == 14


@scenario
async def test_all_that_has_arrived_is_taken_at_once() -> None:
    exchange, _ = connected()
    exchange.data_received(HEAD + chunked(b"a", b"b"))
    exchange.data_received(chunked(b"c"))
    assert await exchange.receive() == b"abc"
    exchange.data_received(chunked(b"d") + b"0\r\n\r\n")
    assert await exchange.receive() == b"d"
    assert await exchange.receive() == b""


@scenario
async def test_a_body_may_end_with_its_length_or_with_the_connection() -> None:
    by_length, _ = connected()
    by_length.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
    assert await by_length.read() == b"abc"
    by_close, _ = connected()
    by_close.data_received(b"HTTP/1.1 200 OK\r\n\r\nabc")
    by_close.connection_lost(None)
    assert await by_close.read() == b"abc"


@pytest.mark.parametrize(
    "broken",
    [HEAD + chunked(b"abc"), HEAD + b"5\r\nabc", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"],
)
@scenario
async def test_what_came_before_a_break_is_delivered_and_then_the_break(broken: bytes) -> None:
    exchange, _ = connected()
    exchange.data_received(broken)
    exchange.connection_lost(ConnectionResetError())
    assert await exchange.receive() == b"abc"
    with pytest.raises(UpstreamDisconnected):
        await exchange.receive()


@scenario
async def test_what_came_before_garbage_is_delivered_and_then_the_failure() -> None:
    exchange, _ = connected()
    exchange.data_received(HEAD + chunked(b"abc") + b"this is no chunk\r\n")
    assert await exchange.receive() == b"abc"
    with pytest.raises(UpstreamFailed, match="not HTTP"):
        await exchange.receive()


@pytest.mark.parametrize("came", [b"", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nContent-Le"])
@scenario
async def test_a_connection_closed_within_the_headers_can_be_tried_again(came: bytes) -> None:
    exchange, _ = connected()
    exchange.data_received(came)
    exchange.connection_lost(None)
    with pytest.raises(UpstreamUnreachable) as caught:
        await exchange.started()
    assert caught.value.was_sent


@scenario
async def test_reading_stops_above_the_high_water_mark_until_the_reader_has_caught_up() -> None:
    exchange, transport = connected()
    exchange.data_received(HEAD)
    piece = bytes(1 << 16)
    for _ in range(connection.HIGH_WATER // len(piece)):
        exchange.data_received(chunked(piece))
    assert transport.log == []
    exchange.data_received(chunked(b"x"))
    exchange.data_received(chunked(b"what was under way already"))
    assert transport.log == ["pause"]
    assert len(await exchange.receive()) > connection.HIGH_WATER
    assert transport.log == ["pause", "resume"]
    exchange.data_received(chunked(b"y"))
    assert await exchange.receive() == b"y"
    assert transport.log == ["pause", "resume"]


class Clock:
    """A loop's clock, moved by hand; its one timer is fired by hand, too."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], Any]]] = []
        self._loop = asyncio.get_running_loop()

    def time(self) -> float:
        return self.now

    def create_future(self) -> asyncio.Future[None]:
        return self._loop.create_future()

    def call_later(self, delay: float, callback: Callable[[], Any]) -> asyncio.TimerHandle:
        self.timers.append((self.now + delay, callback))
        return self._loop.call_later(3600, callback)

    def fire(self) -> None:
        ((self.now, callback),) = self.timers
        self.timers.clear()
        callback()


@scenario
async def test_every_byte_starts_the_patience_anew_keep_alives_too() -> None:
    exchange, _ = connected()
    clock = Clock()
    exchange._loop = cast("asyncio.AbstractEventLoop", clock)
    started = asyncio.create_task(exchange.started())
    await asyncio.sleep(0)
    exchange.data_received(HEAD)
    await started
    reading = asyncio.create_task(exchange.read())
    for clock.now in (1.0, 4.0):
        await asyncio.sleep(0)
        exchange.data_received(chunked(b":\n\n"))
        await asyncio.sleep(0)
    assert [when for when, _ in clock.timers] == [5.0]
    clock.fire()
    assert [when for when, _ in clock.timers] == [9.0]
    clock.fire()
    with pytest.raises(UpstreamSilent):
        await reading
    exchange.close()


@scenario
async def test_while_nobody_reads_no_patience_runs_out() -> None:
    exchange, _ = connected()
    clock = Clock()
    exchange._loop = cast("asyncio.AbstractEventLoop", clock)
    started = asyncio.create_task(exchange.started())
    await asyncio.sleep(0)
    exchange.data_received(HEAD)
    await started
    clock.fire()
    assert clock.timers == []
    clock.now = 100.0
    reading = asyncio.create_task(exchange.read())
    await asyncio.sleep(0)
    assert [when for when, _ in clock.timers] == [105.0]
    exchange.data_received(b"0\r\n\r\n")
    assert await reading == b""
    exchange.close()


@scenario
async def test_silence_ends_the_wait_for_headers() -> None:
    async with FakeUpstream(default=say_nothing).listening() as upstream:
        exchange = await post(upstream.target, PATH, b"{}", silence_seconds=0.02)
        with pytest.raises(UpstreamSilent, match=r"sent nothing for 0\.02 s"):
            await exchange.started()
        exchange.close()


@scenario
async def test_silence_ends_the_wait_for_more() -> None:
    never = asyncio.Event()
    async with FakeUpstream(default=answer(b"abc", never)).listening() as upstream:
        exchange = await post(upstream.target, PATH, b"{}", silence_seconds=5)
        assert await exchange.receive() == b"abc"
        exchange._silence_seconds = 0.02
        with pytest.raises(UpstreamSilent):
            await exchange.receive()
        exchange.close()


@scenario
async def test_the_request_is_written_as_is() -> None:
    async with FakeUpstream().listening() as upstream:
        exchange = await post(upstream.target, PATH, b'{"a":1}', silence_seconds=5)
        call = await upstream.arrived.get()
        assert call.head == (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n"
            b"content-type: application/json\r\ncontent-length: 7\r\n\r\n" % upstream.target.port
        )
        assert call.raw_body == b'{"a":1}'
        assert await exchange.read() == b"".join(ANSWER)
        exchange.close()


@scenario
async def test_a_unix_socket_is_spoken_to_in_the_same_way(tmp_path: Path) -> None:
    async with FakeUpstream(tmp_path / "s").listening() as upstream:
        exchange = await post(upstream.target, PATH, b"{}", silence_seconds=5)
        assert await exchange.read() == b"".join(ANSWER)
        assert b"\r\nhost: llama-server:80\r\n" in upstream.calls[0].head
        exchange.close()


@scenario
async def test_a_large_request_arrives_whole() -> None:
    async with FakeUpstream().listening() as upstream:
        body = b"[" + b"0," * 4_000_000 + b"0]"
        exchange = await post(upstream.target, PATH, body, silence_seconds=5)
        await exchange.started()
        assert upstream.calls[0].raw_body == body
        exchange.close()


@scenario
async def test_a_refusal_is_read_whole() -> None:
    async with FakeUpstream(default=refuse_with(400, "invalid_request_error", "no")).listening() as upstream:
        exchange = await post(upstream.target, PATH, b"{}", silence_seconds=5)
        await exchange.started()
        assert exchange.status == 400
        assert await exchange.read() == b'{"error": {"code": 400, "message": "no", "type": "invalid_request_error"}}'
        exchange.close()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@scenario
async def test_where_nobody_listens_nothing_was_sent(kind: str, tmp_path: Path) -> None:
    upstream = FakeUpstream(tmp_path / "s" if kind == "unix" else None)
    async with upstream.listening():
        target = upstream.target
    with pytest.raises(UpstreamUnreachable) as caught:
        await post(target, PATH, b"{}", silence_seconds=5)
    assert not caught.value.was_sent


@scenario
async def test_connecting_has_its_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = Target(host="127.0.0.1", port=listener.getsockname()[1])
        with pytest.raises(UpstreamUnreachable) as caught:
            await post(target, PATH, b"{}", silence_seconds=5)
    assert not caught.value.was_sent


@scenario
async def test_a_connection_closed_before_the_first_byte_can_be_tried_again() -> None:
    async with FakeUpstream(default=vanish).listening() as upstream:
        exchange = await post(upstream.target, PATH, b"{}", silence_seconds=5)
        with pytest.raises(UpstreamUnreachable) as caught:
            await exchange.started()
        assert caught.value.was_sent
        exchange.close()


@scenario
async def test_what_is_not_http_is_a_failure_and_not_tried_again() -> None:
    async with FakeUpstream(default=babble).listening() as upstream:
        exchange = await post(upstream.target, PATH, b"{}", silence_seconds=5)
        with pytest.raises(UpstreamFailed, match="not HTTP") as caught:
            await exchange.started()
        assert not isinstance(caught.value, UpstreamUnreachable)
        exchange.close()


@scenario
async def test_a_break_within_the_answer_is_told() -> None:
    async with FakeUpstream(default=break_off(b"abc")).listening() as upstream:
        exchange = await post(upstream.target, PATH, b"{}", silence_seconds=5)
        with pytest.raises(UpstreamDisconnected):
            await exchange.read()
        exchange.close()


@scenario
async def test_closing_hangs_up() -> None:
    async with FakeUpstream(default=say_nothing).listening() as upstream:
        exchange = await post(upstream.target, PATH, b"{}", silence_seconds=5)
        call = await upstream.arrived.get()
        assert not call.hung_up.is_set()
        exchange.close()
        await call.hung_up.wait()
        exchange.close()  # a second time is harmless


@scenario
async def test_a_server_that_is_faster_than_its_reader_has_to_wait() -> None:
    """It sends more than all buffers on the way can take, and gets on only when something is read."""
    piece = bytes(1 << 20)
    count = 64
    sent: list[int] = []

    async def flood(call: Any) -> None:
        await call.send(HEAD)
        for _ in range(count):
            await call.stream(piece)
            sent.append(len(piece))
        await call.send(b"0\r\n\r\n")

    paused = asyncio.Event()

    class Watched(Exchange):
        def on_body(self, body: bytes) -> None:
            super().on_body(body)
            if self._paused:
                paused.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "Exchange", Watched)
        async with FakeUpstream(default=flood).listening() as upstream:
            exchange = await post(upstream.target, PATH, b"{}", silence_seconds=5)
            await paused.wait()
            held = exchange._size
            for _ in range(1000):  # the loop turns, the server would go on if it could
                await asyncio.sleep(0)
            assert exchange._size == held < 2 * connection.HIGH_WATER
            assert len(sent) < count
            assert len(await exchange.read()) == count * len(piece)
            assert len(sent) == count
            exchange.close()
