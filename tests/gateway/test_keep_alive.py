"""A stream is never silent for long, whatever its answer waits for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from driving import (
    LOADING,
    PLAIN,
    READY,
    STREAMED,
    Client,
    FakeReadiness,
    SocketClient,
    events_of,
    make_gateway,
    outcomes,
    served,
    text_of,
)
from fake_upstream import (
    COMMENT,
    DONE,
    ENDING,
    ROLE,
    FakeUpstream,
    answer,
    break_off,
    call_begins,
    call_goes_on,
    error_event,
    finish,
    run,
    say_nothing,
    scenario,
    stall,
    text,
    until,
    usage,
)

from gateway import generation
from gateway.routes import writers

if TYPE_CHECKING:
    from fake_upstream import Call

    from gateway.application import Gateway

KEEP_ALIVE = b": keep-alive\n\n"
SOON = 0.002


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "NOTICE_SECONDS", 0)
    monkeypatch.setattr(generation, "RETRY_DELAY_SECONDS", 0.001)


def impatient(upstream: FakeUpstream, readiness: FakeReadiness | None = None, **config: Any) -> Gateway:
    return make_gateway(upstream, readiness, keep_alive_seconds=SOON, **config)


async def is_kept_alive(client: Client) -> None:
    """Wait for the headers and two keep-alives."""
    assert await client.status() == 200
    assert [await client.piece() for _ in range(2)] == [KEEP_ALIVE] * 2


async def said(client: Client) -> bytes:
    """Return the rest of the body without keep-alives."""
    return (await client.rest()).replace(KEEP_ALIVE, b"")


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param((), id="before its first byte"),
        pytest.param((COMMENT,), id="while a long prompt is read"),
        pytest.param((ROLE, COMMENT), id="after the role alone"),
    ],
)
@scenario
async def test_a_stream_whose_answer_does_not_begin_is_kept_alive(begin: tuple[bytes, ...]) -> None:
    gate = asyncio.Event()
    async with FakeUpstream(default=answer(*begin, gate, text("a"), *ENDING)).listening() as upstream:
        client = Client(impatient(upstream), STREAMED)
        await is_kept_alive(client)
        gate.set()
        body = await said(client)
        assert text_of(body) == "a"
        assert events_of(body)[-1] == "[DONE]"


@scenario
async def test_a_queued_stream_is_kept_alive_and_the_upstream_sees_nothing_of_it() -> None:
    gate = asyncio.Event()
    async with FakeUpstream(slots=1).listening() as upstream:
        upstream.plan.append(answer(ROLE, gate, text("a"), *ENDING))
        gateway = impatient(upstream)
        first = Client(gateway, STREAMED)
        await upstream.arrived.get()
        second = Client(gateway, STREAMED)
        await is_kept_alive(second)
        assert len(upstream.calls) == 1
        gate.set()
        assert text_of(await said(second)) == "Hello world"
        await first.rest()


@scenario
async def test_a_client_that_leaves_the_queue_after_a_keep_alive_frees_its_place() -> None:
    async with FakeUpstream(default=stall(ROLE), slots=1).listening() as upstream:
        gateway = impatient(upstream)
        first = Client(gateway, STREAMED)
        await upstream.arrived.get()
        second = Client(gateway, STREAMED)
        await is_kept_alive(second)
        assert gateway._generator._admission.waiting == 1
        await second.leave()
        assert gateway._generator._admission.waiting == 0
        assert len(upstream.calls) == 1
        await first.leave()


@scenario
async def test_over_a_socket_a_queued_stream_gets_its_headers_and_keep_alives() -> None:
    async with FakeUpstream(default=stall(ROLE), slots=1).listening() as upstream:
        gateway = impatient(upstream)
        async with served(gateway) as address, SocketClient.connect(address) as one:
            one.post(STREAMED)
            await upstream.arrived.get()
            async with SocketClient.connect(address) as other:
                other.post(STREAMED)
                assert (await other.head()).startswith(b"HTTP/1.1 200 OK\r\n")
                assert [await other.chunk() for _ in range(3)] == [KEEP_ALIVE] * 3
            await until(lambda: outcomes(gateway) == {"chat_completions cancelled": 1})
            assert gateway._generator._admission.waiting == 0


@scenario
async def test_a_stream_that_waits_for_the_server_is_kept_alive() -> None:
    readiness = FakeReadiness(LOADING)
    async with FakeUpstream().listening() as upstream:
        client = Client(impatient(upstream, readiness), STREAMED)
        await is_kept_alive(client)
        assert upstream.connections == 0
        readiness.move(READY)
        assert text_of(await said(client)) == "Hello world"


@scenario
async def test_a_stream_that_falls_silent_is_kept_alive_and_goes_on() -> None:
    gate = asyncio.Event()
    async with FakeUpstream(default=answer(ROLE, text("a"), gate, text("b"), *ENDING)).listening() as upstream:
        client = Client(impatient(upstream), STREAMED)
        assert await client.status() == 200
        piece = await client.piece()
        while piece == KEEP_ALIVE:
            piece = await client.piece()
        assert [await client.piece() for _ in range(2)] == [KEEP_ALIVE] * 2
        gate.set()
        assert text_of(piece + await said(client)) == "ab"


@scenario
async def test_a_stream_is_kept_alive_while_a_tool_call_is_held() -> None:
    gate = asyncio.Event()
    call = (call_begins(0, "c", "f"), call_goes_on(0, "{"), gate, call_goes_on(0, "}"))
    behaviour = answer(ROLE, *call, finish("tool_calls"), usage(), DONE)
    body = STREAMED | {"tools": [{"type": "function", "function": {"name": "f"}}]}
    async with FakeUpstream(default=behaviour).listening() as upstream:
        client = Client(impatient(upstream), body)
        await is_kept_alive(client)
        gate.set()
        assert b'"name":"f"' in await said(client)


@pytest.mark.parametrize(
    ("path", "body", "keep_alive"),
    [
        ("/v1/completions", {"prompt": "Hi"}, KEEP_ALIVE),
        ("/v1/responses", {"input": "Hi"}, KEEP_ALIVE),
        (
            "/v1/messages",
            {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5},
            b'event: ping\ndata: {"type": "ping"}\n\n',
        ),
    ],
)
@pytest.mark.parametrize("fails", [False, True])
@scenario
async def test_every_dialect_has_its_own(path: str, body: dict[str, Any], keep_alive: bytes, fails: bool) -> None:
    gate = asyncio.Event()
    ends = [error_event()] if fails else [text("Hello"), *ENDING]
    async with FakeUpstream(default=answer(ROLE, gate, *ends)).listening() as upstream:
        client = Client(impatient(upstream), body | {"stream": True}, path=path)
        assert await client.status() == 200
        assert [await client.piece() for _ in range(2)] == [keep_alive] * 2
        gate.set()
        said = await client.rest()
        assert (b"the model fell over" in said, b"Hello" in said) == (fails, not fails)


# -- failures


@pytest.mark.parametrize(
    ("behaviour", "code", "message"),
    [
        (lambda gate: answer(ROLE, gate, error_event()), "upstream_error", "the model fell over"),
        (break_off, "upstream_error", "in the middle of its answer"),
    ],
)
@scenario
async def test_a_failure_after_a_keep_alive_is_an_event_and_the_end_mark_is_missing(
    behaviour: Any, code: str, message: str
) -> None:
    gate = asyncio.Event()
    async with FakeUpstream(default=behaviour(gate)).listening() as upstream:
        gateway = impatient(upstream)
        client = Client(gateway, STREAMED)
        await is_kept_alive(client)
        gate.set()
        (event,) = events_of(await said(client))
        assert event["error"]["code"] == code
        assert message in event["error"]["message"]
        assert outcomes(gateway) == {"chat_completions upstream_error": 1}


@scenario
async def test_a_failure_after_a_keep_alive_and_a_piece_is_an_event_too() -> None:
    gates = [asyncio.Event() for _ in range(2)]
    behaviour = answer(ROLE, gates[0], text("a"), gates[1], error_event())
    async with FakeUpstream(default=behaviour).listening() as upstream:
        client = Client(impatient(upstream), STREAMED)
        await is_kept_alive(client)
        for gate in gates:
            gate.set()
        *_, piece, error = events_of(await said(client))
        assert piece["choices"][0]["delta"] == {"content": "a"}
        assert error["error"]["code"] == "upstream_error"


@scenario
async def test_who_waits_too_long_for_a_slot_is_told_on_the_stream() -> None:
    async with FakeUpstream(default=say_nothing, slots=1).listening() as upstream:
        gateway = impatient(upstream, max_wait_seconds=0.1)
        first = Client(gateway, PLAIN)
        await upstream.arrived.get()
        second = Client(gateway, STREAMED)
        assert await second.status() == 200
        (event,) = events_of(await said(second))
        assert event["error"]["code"] == "overloaded"
        await first.leave()


@scenario
async def test_those_who_wait_for_a_slot_on_a_stream_are_told_at_once_when_it_is_drained() -> None:
    async with FakeUpstream(default=stall(ROLE), slots=1).listening() as upstream:
        gateway = impatient(upstream)
        inside = Client(gateway, STREAMED)
        await upstream.arrived.get()
        queued = Client(gateway, STREAMED)
        for client in (inside, queued):
            await is_kept_alive(client)
        await gateway.drain(0)
        for client in (inside, queued):
            (event,) = events_of(await said(client))
            assert event["error"]["code"] == "shutting_down"


# -- what it is not


@scenario
async def test_an_answer_in_one_piece_is_not_kept_alive() -> None:
    gate = asyncio.Event()
    async with FakeUpstream(default=answer(ROLE, gate, text("a"), *ENDING)).listening() as upstream:
        gateway = impatient(upstream)
        plain = Client(gateway, PLAIN)
        streamed = Client(gateway, STREAMED)
        await is_kept_alive(streamed)
        assert plain._sent.empty()
        gate.set()
        assert await plain.status() == 200
        assert (await plain.rest()).startswith(b"{")
        await streamed.rest()


@pytest.mark.parametrize("seconds", [0, 3600])
@scenario
async def test_before_the_first_keep_alive_a_failure_has_its_own_status(seconds: float) -> None:
    gate = asyncio.Event()
    async with FakeUpstream(default=answer(ROLE, gate, error_event())).listening() as upstream:
        client = Client(make_gateway(upstream, keep_alive_seconds=seconds), STREAMED)
        await upstream.arrived.get()
        gate.set()
        assert await client.status() == 502
        await client.rest()


@scenario
async def test_pieces_and_keep_alives_do_not_mix() -> None:
    """Of several choices at once, written to a client that reads now and then."""
    said_by_each = [f"{number} " for number in range(40)]

    async def count(call: Call) -> None:
        await answer(ROLE, *map(text, said_by_each), *ENDING)(call)

    async with FakeUpstream(default=count).listening() as upstream:
        client = Client(make_gateway(upstream, keep_alive_seconds=1e-6, slots=4), STREAMED | {"n": 4})
        while not client.task.done():
            client.reading.clear()
            await asyncio.sleep(0)
            client.reading.set()
            await asyncio.sleep(0)
        assert await client.status() == 200
        body = await client.rest()
    assert body.count(KEEP_ALIVE) > 1
    events = events_of(body.replace(KEEP_ALIVE, b""))
    assert events.pop() == "[DONE]"
    for choice in range(4):
        mine = [event["choices"][0]["delta"] for event in events if event["choices"][0]["index"] == choice]
        assert [delta["content"] for delta in mine if delta.get("content")] == said_by_each


# -- clients that take nothing


def test_a_queued_client_that_does_not_take_its_keep_alive_loses_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "CLIENT_STALL_SECONDS", 0.02)

    async def stalled() -> None:
        async with FakeUpstream(default=say_nothing, slots=1).listening() as upstream:
            gateway = impatient(upstream)
            inside = Client(gateway, PLAIN)
            await upstream.arrived.get()
            queued = Client(gateway, STREAMED)
            queued.reading.clear()
            await queued.blocked.wait()
            await queued.task
            assert gateway._generator._admission.waiting == 0
            assert outcomes(gateway) == {"chat_completions cancelled": 1}
            await inside.leave()

    run(stalled())


def test_a_keep_alive_that_is_not_taken_does_not_hold_the_drain_up() -> None:
    async def stalled() -> None:
        async with FakeUpstream(default=stall(ROLE)).listening() as upstream:
            gateway = impatient(upstream)
            client = Client(gateway, STREAMED)
            client.reading.clear()
            await client.blocked.wait()
            await gateway.drain(0)
            assert gateway._generator._admission.in_flight == 0
            await client.leave()

    run(stalled())
