"""A client that leaves takes its work with it: its slot is free, its upstream connection is closed."""

from __future__ import annotations

import asyncio
import contextlib
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
    client_of,
    make_gateway,
    outcomes,
    served,
)
from fake_upstream import (
    CHAT,
    COMMENT,
    ENDING,
    ROLE,
    FakeUpstream,
    answer,
    say_nothing,
    scenario,
    stall,
    text,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from fake_upstream import Call

    from gateway.application import Gateway

both_ways = pytest.mark.parametrize("way", ["in-process", "socket"])
both_kinds = pytest.mark.parametrize("body", [pytest.param(PLAIN, id="whole"), pytest.param(STREAMED, id="streamed")])


@contextlib.asynccontextmanager
async def calling(way: str, gateway: Gateway) -> AsyncIterator[Callable[[Any], Awaitable[Client | SocketClient]]]:
    """Yield what sends a request and returns its client."""
    if way == "in-process":

        async def call(body: Any) -> Client:
            return Client(gateway, body)

        yield call
        return
    async with served(gateway) as address, contextlib.AsyncExitStack() as left:

        async def send(body: Any) -> SocketClient:
            client = await left.enter_async_context(SocketClient.connect(address))
            client.post(body)
            return client

        yield send


def in_flight(gateway: Gateway) -> int:
    return gateway._generator._admission.in_flight


def waiting(gateway: Gateway) -> int:
    return gateway._generator._admission.waiting


async def is_over(gateway: Gateway, cancelled: int = 1) -> None:
    await until(lambda: in_flight(gateway) == 0)
    await until(lambda: outcomes(gateway) == {"chat_completions cancelled": cancelled})


@both_ways
@both_kinds
@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(say_nothing, id="before the headers"),
        pytest.param(stall(), id="after the headers"),
        pytest.param(stall(COMMENT, ROLE), id="before the first piece"),
        pytest.param(stall(ROLE, text("a"), text("b")), id="within the answer"),
    ],
)
@scenario
async def test_a_client_that_leaves_is_hung_up_for(
    way: str, body: Any, behaviour: Callable[[Call], Awaitable[None]]
) -> None:
    async with FakeUpstream(default=behaviour).listening() as upstream:
        gateway = make_gateway(upstream)
        async with calling(way, gateway) as send:
            client = await send(body)
            call = await upstream.arrived.get()
            assert in_flight(gateway) == 1
            await client.leave()
            await call.hung_up.wait()
            await is_over(gateway)


@both_ways
@scenario
async def test_a_client_that_has_read_a_part_and_leaves_is_hung_up_for(way: str) -> None:
    async with FakeUpstream(default=stall(ROLE, text("Hello"))).listening() as upstream:
        gateway = make_gateway(upstream)
        async with calling(way, gateway) as send:
            client = await send(STREAMED)
            if isinstance(client, SocketClient):
                assert (await client.head()).startswith(b"HTTP/1.1 200 OK")
                assert b"Hello" in await client.chunk()
            else:
                assert await client.status() == 200
                assert b"Hello" in await client.piece()
            await client.leave()
            await upstream.calls[0].hung_up.wait()
            await is_over(gateway)


@both_ways
@both_kinds
@scenario
async def test_its_slot_goes_to_the_next_in_the_queue(way: str, body: Any) -> None:
    async with FakeUpstream(slots=1).listening() as upstream:
        upstream.plan.append(stall(ROLE, text("a")))
        gateway = make_gateway(upstream)
        async with calling(way, gateway) as send:
            first = await send(body)
            call = await upstream.arrived.get()
            second = await send(STREAMED)
            await until(lambda: waiting(gateway) == 1)
            assert len(upstream.calls) == 1
            await first.leave()
            await call.hung_up.wait()
            await upstream.arrived.get()
            await until(lambda: outcomes(gateway) == {"chat_completions cancelled": 1, "chat_completions ok": 1})
            assert in_flight(gateway) == 0
            await second.leave()


@both_ways
@both_kinds
@scenario
async def test_a_client_that_leaves_the_queue_never_reaches_the_upstream(way: str, body: Any) -> None:
    goes_on = asyncio.Event()
    async with FakeUpstream(slots=1).listening() as upstream:
        upstream.plan.append(answer(ROLE, goes_on, text("a"), *ENDING))
        gateway = make_gateway(upstream)
        async with calling(way, gateway) as send:
            first = await send(STREAMED)
            await upstream.arrived.get()
            second = await send(body)
            await until(lambda: waiting(gateway) == 1)
            await second.leave()
            await until(lambda: waiting(gateway) == 0)
            assert in_flight(gateway) == 1
            goes_on.set()
            await until(lambda: outcomes(gateway) == {"chat_completions cancelled": 1, "chat_completions ok": 1})
            assert len(upstream.calls) == 1
            await first.leave()


@both_ways
@both_kinds
@scenario
async def test_a_client_that_leaves_while_the_server_is_not_ready_is_forgotten(way: str, body: Any) -> None:
    readiness = FakeReadiness(LOADING)
    async with FakeUpstream().listening() as upstream:
        gateway = make_gateway(upstream, readiness)
        async with calling(way, gateway) as send:
            others = int(way == "socket")  # served, the gateway scrapes, and the scraper waits too
            client = await send(body)
            await until(lambda: readiness.waiting == others + 1)
            assert in_flight(gateway) == 1
            await client.leave()
            await is_over(gateway)
            assert readiness.waiting == others
            readiness.move(READY)
            async with client_of(gateway) as next_one:
                assert (await next_one.post(CHAT, json=PLAIN)).status_code == 200
            assert len(upstream.calls) == 1


@scenario
async def test_a_client_that_leaves_within_its_own_request_is_not_answered() -> None:
    async with FakeUpstream().listening() as upstream:
        gateway = make_gateway(upstream)
        async with served(gateway) as address, SocketClient.connect(address) as client:
            client.post(PLAIN, declare=1)
            await client.writer.drain()
            await client.leave()
            await is_over(gateway)
            assert upstream.calls == []


@scenario
async def test_a_client_that_closes_its_half_only_has_left() -> None:
    """There is no telling the two apart, and HTTP clients do not do it."""
    async with FakeUpstream(default=say_nothing).listening() as upstream:
        gateway = make_gateway(upstream)
        async with served(gateway) as address, SocketClient.connect(address) as client:
            client.post(PLAIN)
            call = await upstream.arrived.get()
            client.writer.write_eof()
            await call.hung_up.wait()
            await is_over(gateway)


@both_ways
@scenario
async def test_many_that_leave_at_once_leave_nothing_behind(way: str) -> None:
    async with FakeUpstream(default=stall(ROLE, text("a")), slots=8).listening() as upstream:
        gateway = make_gateway(upstream, slots=8)
        async with calling(way, gateway) as send:
            clients = [await send(STREAMED if i % 2 else PLAIN) for i in range(24)]
            calls = [await upstream.arrived.get() for _ in range(8)]
            await until(lambda: waiting(gateway) == 16)
            await asyncio.gather(*[client.leave() for client in reversed(clients)])
            for call in calls:
                await call.hung_up.wait()
            await is_over(gateway, cancelled=24)
            assert waiting(gateway) == 0
            upstream.default = answer(ROLE, text("a"), *ENDING)
            async with client_of(gateway) as next_one:
                assert (await next_one.post(CHAT, json=PLAIN)).status_code == 200
