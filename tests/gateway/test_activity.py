"""What the gateway tells a watchdog: work that is under way, and signs of progress in it."""

from __future__ import annotations

import asyncio
import itertools
from types import SimpleNamespace

import pytest
from driving import LOADING, PLAIN, STREAMED, Client, FakeReadiness, make_gateway
from fake_upstream import COMMENT, ENDING, ROLE, FakeUpstream, answer, refuse_with, scenario, stall, text, until

from gateway import activity


@pytest.fixture(autouse=True)
def _counting_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = itertools.count(1.0)
    monkeypatch.setattr(activity, "time", SimpleNamespace(monotonic=lambda: next(looks)))


@scenario
async def test_an_idle_gateway_has_nothing_under_way() -> None:
    async with FakeUpstream().listening() as upstream:
        gateway = make_gateway(upstream)
        assert gateway.activity.in_flight == 0
        await Client(gateway, PLAIN).rest()
        assert gateway.activity.in_flight == 0


@scenario
async def test_requests_are_under_way_until_they_end_however_they_end() -> None:
    async with FakeUpstream(default=stall(ROLE, text("a")), slots=4).listening() as upstream:
        gateway = make_gateway(upstream, slots=4)
        clients = [Client(gateway, STREAMED) for _ in range(3)]
        for _ in clients:
            await upstream.arrived.get()
        assert gateway.activity.in_flight == 3
        await clients[0].leave()
        assert gateway.activity.in_flight == 2
        for client in clients[1:]:
            await client.leave()
        upstream.default = refuse_with(500, "server_error", "no")
        await Client(gateway, PLAIN).rest()
        assert gateway.activity.in_flight == 0


@scenario
async def test_a_request_that_waits_for_a_slot_is_not_under_way() -> None:
    async with FakeUpstream(default=stall(), slots=1).listening() as upstream:
        gateway = make_gateway(upstream)
        clients = [Client(gateway, PLAIN) for _ in range(2)]
        await until(lambda: gateway._generator._admission.waiting == 1)
        assert gateway.activity.in_flight == 1
        for client in clients:
            await client.leave()


@scenario
async def test_every_batch_of_events_is_progress_and_keep_alives_are_none() -> None:
    first, second = asyncio.Event(), asyncio.Event()
    pieces = (ROLE, text("a"), first, COMMENT, COMMENT, second, text("b"), *ENDING)
    async with FakeUpstream(default=answer(*pieces)).listening() as upstream:
        gateway = make_gateway(upstream)
        client = Client(gateway, STREAMED)
        await upstream.arrived.get()
        before = gateway.activity.last_progress
        await client.status()
        await client.piece()
        after_the_first = gateway.activity.last_progress
        assert after_the_first > before
        first.set()
        second.set()
        await client.rest()
        assert gateway.activity.last_progress > after_the_first


@scenario
async def test_keep_alives_alone_are_no_progress() -> None:
    go_on, never = asyncio.Event(), asyncio.Event()
    async with FakeUpstream(default=answer(COMMENT, go_on, COMMENT, COMMENT, never)).listening() as upstream:
        gateway = make_gateway(upstream)
        client = Client(gateway, STREAMED)
        call = await upstream.arrived.get()
        before = gateway.activity.last_progress
        go_on.set()
        await client.leave()
        await call.hung_up.wait()
        assert gateway.activity.last_progress == before


@scenario
async def test_a_request_that_is_sent_is_no_progress() -> None:
    """Or clients that give up and ask again would hide a hanging server."""
    async with FakeUpstream(default=stall()).listening() as upstream:
        gateway = make_gateway(upstream)
        before = gateway.activity.last_progress
        client = Client(gateway, PLAIN)
        await upstream.arrived.get()
        assert gateway.activity.in_flight == 1
        assert gateway.activity.last_progress == before
        await client.leave()


@scenario
async def test_a_request_that_waits_for_the_server_to_be_ready_makes_no_progress() -> None:
    readiness = FakeReadiness(LOADING)
    gateway = make_gateway(FakeUpstream(), readiness)
    before = gateway.activity.last_progress
    client = Client(gateway, PLAIN)
    await until(lambda: readiness.waiting == 1)
    assert gateway.activity.last_progress == before
    await client.leave()
    assert gateway.activity.in_flight == 0
