"""A stream on its whole way, from the upstream's socket to the client's: as it comes, and no faster than it is read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from driving import (
    AUTH,
    PLAIN,
    STREAMED,
    Client,
    SocketClient,
    events_of,
    make_gateway,
    outcomes,
    served,
    text_of,
    tokens,
)
from fake_upstream import (
    CHAT,
    COMMENT,
    ENDING,
    ROLE,
    STREAM_HEAD,
    FakeUpstream,
    answer,
    break_off,
    error_event,
    run,
    scenario,
    text,
    until,
    vanish,
)

from gateway.routes import writers
from gateway.upstream import connection
from gateway.upstream.connection import Exchange

if TYPE_CHECKING:
    from pathlib import Path

    from fake_upstream import Call

MIB = 1 << 20


@scenario
async def test_each_piece_reaches_the_client_before_the_next_is_made() -> None:
    gates = [asyncio.Event() for _ in range(3)]
    pieces = (ROLE, text("a"), gates[0], text("b"), gates[1], COMMENT, text("c"), gates[2], *ENDING)
    async with (
        FakeUpstream(default=answer(*pieces)).listening() as upstream,
        served(make_gateway(upstream)) as address,
        SocketClient.connect(address) as client,
    ):
        client.post(STREAMED)
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"content-type: text/event-stream; charset=utf-8\r\n" in head
        assert b"transfer-encoding: chunked\r\n" in head
        for letter, gate in zip("abc", gates, strict=True):
            assert text_of(await client.chunk()) == letter
            gate.set()
        assert events_of(await client.chunks())[-1] == "[DONE]"


@scenario
async def test_nothing_is_sent_before_there_is_something_to_say() -> None:
    """So that a failure before that has its own status."""
    gate = asyncio.Event()
    async with FakeUpstream(default=answer(COMMENT, ROLE, COMMENT, gate, error_event())).listening() as upstream:
        client = Client(make_gateway(upstream), STREAMED)
        await upstream.arrived.get()
        gate.set()
        assert await client.status() == 502
        await client.rest()


@scenario
async def test_a_connection_serves_one_request_after_the_other() -> None:
    async with (
        FakeUpstream().listening() as upstream,
        served(make_gateway(upstream)) as address,
        SocketClient.connect(address) as client,
    ):
        for _ in range(3):
            client.post(STREAMED)
            assert (await client.head()).startswith(b"HTTP/1.1 200 OK")
            assert text_of(await client.chunks()) == "Hello world"
            client.post({"messages": []})
            head = await client.head()
            assert head.startswith(b"HTTP/1.1 400 ")
            await client.reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))


@scenario
async def test_an_answer_that_broke_off_is_a_complete_http_response_with_an_error_in_it() -> None:
    behaviour = break_off(ROLE, text("a"))
    async with (
        FakeUpstream(default=behaviour).listening() as upstream,
        served(make_gateway(upstream)) as address,
        SocketClient.connect(address) as client,
    ):
        client.post(STREAMED)
        await client.head()
        body = await client.chunks()
        assert text_of(body) == "a"
        assert events_of(body)[-1]["error"]["code"] == "upstream_error"


@pytest.mark.parametrize("framing", ["declared", "chunked"])
@scenario
async def test_a_body_that_is_too_large_is_refused_over_a_socket(framing: str) -> None:
    async with (
        FakeUpstream().listening() as upstream,
        served(make_gateway(upstream, max_body_bytes=MIB)) as address,
        SocketClient.connect(address) as client,
    ):
        head = b"".join(b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in AUTH.items())
        length = b"content-length: %d" % (3 * MIB) if framing == "declared" else b"transfer-encoding: chunked"
        client.writer.write(b"POST %b HTTP/1.1\r\nhost: gateway\r\n%b%b\r\n\r\n" % (CHAT.encode(), head, length))
        piece = bytes(MIB // 4)
        for _ in range(5):
            client.writer.write(piece if framing == "declared" else b"%x\r\n%b\r\n" % (len(piece), piece))
        assert (await client.head()).startswith(b"HTTP/1.1 413 ")
        assert upstream.calls == []


@scenario
async def test_an_upstream_on_a_unix_socket_streams_too(tmp_path: Path) -> None:
    async with FakeUpstream(tmp_path / "s").listening() as upstream, served(make_gateway(upstream)) as address:
        upstream.plan.append(vanish)
        async with SocketClient.connect(address) as client:
            client.post(STREAMED)
            assert (await client.head()).startswith(b"HTTP/1.1 200 OK")
            assert text_of(await client.chunks()) == "Hello world"


@scenario
async def test_many_streams_at_once_do_not_mix() -> None:
    async def echo(call: Call) -> None:
        said = call.body["messages"][0]["content"]
        await call.send(STREAM_HEAD)
        await call.stream(ROLE, *[text(f"{said}.") for _ in range(50)], *ENDING)
        await call.send(b"0\r\n\r\n")

    async with FakeUpstream(default=echo, slots=64).listening() as upstream:
        gateway = make_gateway(upstream, slots=64)
        async with served(gateway) as address:

            async def ask(number: int) -> None:
                async with SocketClient.connect(address) as client:
                    client.post({"messages": [{"role": "user", "content": str(number)}], "stream": True})
                    await client.head()
                    body = await client.chunks()
                    assert text_of(body) == f"{number}." * 50
                    assert events_of(body)[-1] == "[DONE]"

            async with asyncio.TaskGroup() as all_of_them:
                for number in range(80):
                    all_of_them.create_task(ask(number))
        assert outcomes(gateway) == {"chat_completions ok": 80}
        assert tokens(gateway)["answer"] == 160


class WatchedExchange(Exchange):
    """Tells when it has stopped reading, and how much it held at most."""

    paused: asyncio.Event
    most = 0

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        WatchedExchange.most = max(WatchedExchange.most, self._size)
        if self._paused:
            WatchedExchange.paused.set()


class Flood:
    """An upstream that generates far faster than anybody reads, and more than all sockets on the way can take.

    Attributes:
        count: How many events of 1 MiB it has to send.
        sent: How many of them it got rid of.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.sent = 0

    async def __call__(self, call: Call) -> None:
        await call.send(STREAM_HEAD)
        piece = text("x" * MIB)
        for _ in range(self.count):
            await call.stream(piece)
            self.sent += 1
        await call.stream(*ENDING)
        await call.send(b"0\r\n\r\n")


def test_a_slow_reader_slows_the_upstream_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over sockets: the client stops reading, so uvicorn does, so the gateway does, so llama-server waits."""
    monkeypatch.setattr(connection, "Exchange", WatchedExchange)
    WatchedExchange.most = 0

    async def slow_reader() -> None:
        WatchedExchange.paused = asyncio.Event()
        flood = Flood(48)
        async with (
            FakeUpstream(default=flood).listening() as upstream,
            served(make_gateway(upstream)) as address,
            SocketClient.connect(address, limit=1024) as client,
        ):
            client.post(STREAMED)
            await client.head()
            await WatchedExchange.paused.wait()
            for _ in range(1000):  # the loop turns, the server would go on if it could
                await asyncio.sleep(0)
            assert flood.sent < flood.count
            assert (await client.chunks()).count(b"x" * MIB) == flood.count
            assert flood.sent == flood.count

    run(slow_reader())
    assert WatchedExchange.most < 4 * MIB


def test_an_application_that_is_not_read_from_holds_a_bounded_part_of_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In-process, so that no socket's buffer hides what the gateway does: its `send` blocks, it stops reading."""
    monkeypatch.setattr(connection, "Exchange", WatchedExchange)
    WatchedExchange.most = 0

    async def blocked() -> None:
        WatchedExchange.paused = asyncio.Event()
        flood = Flood(24)
        async with FakeUpstream(default=flood).listening() as upstream:
            client = Client(make_gateway(upstream), STREAMED)
            client.reading.clear()
            await client.blocked.wait()
            await WatchedExchange.paused.wait()
            for _ in range(1000):
                await asyncio.sleep(0)
            assert flood.sent < flood.count
            client.reading.set()
            assert await client.status() == 200
            assert (await client.rest()).count(b"x" * MIB) == flood.count

    run(blocked())
    assert WatchedExchange.most < 4 * MIB


@scenario
async def test_a_whole_answer_of_any_size_is_collected_and_sent() -> None:
    async with FakeUpstream(default=answer(ROLE, *[text("x" * MIB)] * 8, *ENDING)).listening() as upstream:
        client = Client(make_gateway(upstream), PLAIN)
        assert await client.status() == 200
        assert len(await client.rest()) > 8 * MIB


@scenario
async def test_a_slow_reader_that_leaves_is_hung_up_for() -> None:
    flood = Flood(48)
    async with FakeUpstream(default=flood).listening() as upstream:
        gateway = make_gateway(upstream)
        async with served(gateway) as address, SocketClient.connect(address, limit=1024) as client:
            client.post(STREAMED)
            await client.head()
            call = await upstream.arrived.get()
            await client.leave()
            await call.hung_up.wait()
            await until(lambda: outcomes(gateway) == {"chat_completions cancelled": 1})
        assert flood.sent < flood.count


def test_a_client_that_takes_nothing_for_too_long_loses_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "CLIENT_STALL_SECONDS", 0.05)

    async def stalled() -> None:
        flood = Flood(24)
        async with FakeUpstream(default=flood).listening() as upstream:
            gateway = make_gateway(upstream)
            client = Client(gateway, STREAMED)
            client.reading.clear()
            call = await upstream.arrived.get()
            await call.hung_up.wait()
            await until(lambda: outcomes(gateway) == {"chat_completions cancelled": 1})
            assert gateway.activity.in_flight == 0

    run(stalled())
