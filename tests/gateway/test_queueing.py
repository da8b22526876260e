"""Slots, the queue before them, and the end of both."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from driving import (
    LOADING,
    PLAIN,
    STREAMED,
    Client,
    FakeReadiness,
    SocketClient,
    client_of,
    events_of,
    make_gateway,
    outcomes,
    served,
    text_of,
)
from fake_upstream import CHAT, ENDING, ROLE, FakeUpstream, answer, say_nothing, scenario, stall, text, until

from gateway import generation

if TYPE_CHECKING:
    from gateway.application import Gateway

SHUTTING_DOWN = {"type": "server_error", "param": None, "code": "shutting_down"}


@pytest.fixture(autouse=True)
def _notice_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "NOTICE_SECONDS", 0)


def gauges(gateway: Gateway) -> tuple[int, int, int]:
    """Return slots, requests in flight and requests waiting."""
    admission = gateway._generator._admission
    return admission.slots, admission.in_flight, admission.waiting


# -- the queue


@scenario
async def test_no_more_requests_are_in_flight_than_the_server_has_slots() -> None:
    goes_on = asyncio.Event()
    async with FakeUpstream(default=answer(ROLE, goes_on, text("a"), *ENDING), slots=2).listening() as upstream:
        gateway = make_gateway(upstream, slots=1)
        clients = [Client(gateway, PLAIN) for _ in range(5)]
        await until(lambda: gauges(gateway) == (2, 2, 3))
        for _ in range(2):
            await upstream.arrived.get()
        assert len(upstream.calls) == 2
        goes_on.set()
        assert [await client.status() for client in clients] == [200] * 5
        for client in clients:
            await client.rest()
        assert len(upstream.calls) == 5
        assert gauges(gateway) == (2, 0, 0)


@scenario
async def test_a_queued_request_proceeds_when_a_slot_is_free_and_the_first_goes_first() -> None:
    gates = [asyncio.Event() for _ in range(3)]
    async with FakeUpstream(slots=1).listening() as upstream:
        upstream.plan.extend(answer(ROLE, gate, text("a"), *ENDING) for gate in gates)
        gateway = make_gateway(upstream)
        clients = []
        for count, name in enumerate("abc", 1):
            clients.append(Client(gateway, {"messages": [{"role": "user", "content": name}], "stream": True}))
            await until(lambda count=count: sum(gauges(gateway)[1:]) == count)  # type: ignore[misc]
        for name, gate, client in zip("abc", gates, clients, strict=True):
            assert (await upstream.arrived.get()).body["messages"][0]["content"] == name
            gate.set()
            assert await client.status() == 200
            assert text_of(await client.rest()) == "a"


@scenario
async def test_a_full_queue_is_told_at_once_with_when_to_come_back() -> None:
    async with FakeUpstream(default=stall(), slots=1).listening() as upstream:
        gateway = make_gateway(upstream, max_waiting=1)
        first = Client(gateway, STREAMED)
        await upstream.arrived.get()
        second = Client(gateway, STREAMED)
        await until(lambda: gauges(gateway) == (1, 1, 1))
        async with client_of(gateway) as client:
            for body in (PLAIN, STREAMED):
                response = await client.post(CHAT, json=body)
                assert response.status_code == 429
                assert response.headers["retry-after"] == "5"
                assert response.json()["error"] == {
                    "message": "1 requests wait already; try again later.",
                    "type": "rate_limit_error",
                    "param": None,
                    "code": "overloaded",
                }
            assert (await client.get("/v1/models")).status_code == 200
        assert outcomes(gateway) == {"chat_completions overloaded": 2}
        await second.leave()
        await first.leave()


@scenario
async def test_who_waits_too_long_for_a_slot_is_told() -> None:
    async with FakeUpstream(default=stall(), slots=1).listening() as upstream:
        gateway = make_gateway(upstream, max_wait_seconds=0.01)
        first = Client(gateway, STREAMED)
        await upstream.arrived.get()
        async with client_of(gateway) as client:
            response = await client.post(CHAT, json=PLAIN)
        assert response.status_code == 429
        assert response.json()["error"]["code"] == "overloaded"
        assert len(upstream.calls) == 1
        await first.leave()


@scenario
async def test_an_invalid_request_needs_no_slot() -> None:
    async with FakeUpstream(default=stall(), slots=1).listening() as upstream:
        gateway = make_gateway(upstream, max_waiting=0)
        first = Client(gateway, STREAMED)
        await upstream.arrived.get()
        async with client_of(gateway) as client:
            assert (await client.post(CHAT, json={"messages": []})).status_code == 400
        await first.leave()


@scenario
async def test_a_slow_reader_of_a_whole_answer_does_not_keep_the_slot() -> None:
    async with FakeUpstream(slots=1).listening() as upstream:
        gateway = make_gateway(upstream)
        slow = Client(gateway, PLAIN)
        slow.reading.clear()
        await slow.blocked.wait()
        assert gauges(gateway) == (1, 0, 0)
        async with client_of(gateway) as client:
            assert (await client.post(CHAT, json=PLAIN)).status_code == 200
        slow.reading.set()
        assert await slow.status() == 200
        assert b"Hello" in await slow.rest()


@scenario
async def test_every_stream_has_a_connection_of_its_own() -> None:
    goes_on = asyncio.Event()
    async with FakeUpstream(default=answer(ROLE, goes_on, *ENDING)).listening() as upstream:
        gateway = make_gateway(upstream, slots=4)
        clients = [Client(gateway, STREAMED) for _ in range(4)]
        calls = [await upstream.arrived.get() for _ in clients]
        goes_on.set()
        for client in clients:
            await client.rest()
        later = Client(gateway, STREAMED)
        await later.rest()
        assert len({call.connection for call in [*calls, *upstream.calls]}) == 5
        assert upstream.connections == 5 + len(upstream.asked)


# -- the drain


@scenario
async def test_an_idle_gateway_is_drained_at_once_and_answers_no_more() -> None:
    async with FakeUpstream().listening() as upstream:
        gateway = make_gateway(upstream)
        await gateway.drain(3600)
        async with client_of(gateway) as client:
            for body in (PLAIN, STREAMED):
                response = await client.post(CHAT, json=body)
                assert response.status_code == 503
                assert response.headers["retry-after"] == "5"
                assert response.json()["error"] == SHUTTING_DOWN | {"message": "This server is being stopped."}
        assert upstream.connections == 0


@scenario
async def test_a_running_answer_may_end_within_the_limit() -> None:
    goes_on = asyncio.Event()
    async with FakeUpstream(default=answer(ROLE, text("a"), goes_on, text("b"), *ENDING)).listening() as upstream:
        gateway = make_gateway(upstream)
        client = Client(gateway, STREAMED)
        assert await client.status() == 200
        draining = asyncio.create_task(gateway.drain(3600))
        await asyncio.sleep(0)
        async with client_of(gateway) as late:
            assert (await late.post(CHAT, json=PLAIN)).status_code == 503
        assert not draining.done()
        goes_on.set()
        body = await client.rest()
        assert text_of(body) == "ab"
        assert events_of(body)[-1] == "[DONE]"
        await draining


@scenario
async def test_a_running_answer_ends_with_an_error_after_the_limit_and_is_hung_up_for() -> None:
    async with FakeUpstream(default=stall(ROLE, text("a"))).listening() as upstream:
        gateway = make_gateway(upstream)
        client = Client(gateway, STREAMED)
        assert await client.status() == 200
        await gateway.drain(0)
        assert gauges(gateway)[1:] == (0, 0)
        *_, piece, last = events_of(await client.rest())
        assert piece["choices"][0]["delta"] == {"content": "a"}
        assert last["error"] == SHUTTING_DOWN | {
            "message": "This server is being stopped; there is no complete answer."
        }
        await upstream.calls[0].hung_up.wait()
        assert outcomes(gateway) == {"chat_completions not_ready": 1}


@pytest.mark.parametrize("body", [PLAIN, STREAMED])
@pytest.mark.parametrize("behaviour", [say_nothing, stall(), stall(ROLE)])
@scenario
async def test_an_answer_that_has_not_begun_becomes_an_error_after_the_limit(behaviour: Any, body: Any) -> None:
    async with FakeUpstream(default=behaviour).listening() as upstream:
        gateway = make_gateway(upstream)
        client = Client(gateway, body)
        call = await upstream.arrived.get()
        await gateway.drain(0)
        assert await client.status() == 503
        assert b'"shutting_down"' in await client.rest()
        await call.hung_up.wait()


@pytest.mark.parametrize("body", [PLAIN, STREAMED])
@scenario
async def test_a_request_that_waits_for_readiness_is_ended_after_the_limit(body: Any) -> None:
    readiness = FakeReadiness(LOADING)
    gateway = make_gateway(FakeUpstream(), readiness, ready_seconds=3600)
    client = Client(gateway, body)
    await until(lambda: readiness.waiting == 1)
    await gateway.drain(0)
    assert await client.status() == 503
    assert b'"shutting_down"' in await client.rest()
    assert readiness.waiting == 0


@scenario
async def test_those_who_wait_for_a_slot_are_told_at_once() -> None:
    goes_on = asyncio.Event()
    async with FakeUpstream(default=answer(ROLE, goes_on, text("a"), *ENDING), slots=1).listening() as upstream:
        gateway = make_gateway(upstream)
        inside = Client(gateway, STREAMED)
        await upstream.arrived.get()
        queue = [Client(gateway, body) for body in (PLAIN, STREAMED)]
        await until(lambda: gauges(gateway) == (1, 1, 2))
        draining = asyncio.create_task(gateway.drain(3600))
        for client in queue:
            assert await client.status() == 503
            await client.rest()
        goes_on.set()
        assert text_of(await inside.rest()) == "a"
        await draining
        assert len(upstream.calls) == 1


@scenario
async def test_a_client_that_does_not_read_does_not_hold_the_drain_up() -> None:
    async with FakeUpstream(default=stall(ROLE, text("a"))).listening() as upstream:
        gateway = make_gateway(upstream)
        client = Client(gateway, STREAMED)
        client.reading.clear()
        await client.blocked.wait()
        await gateway.drain(0)
        await upstream.calls[0].hung_up.wait()
        assert gauges(gateway)[1:] == (0, 0)
        await client.leave()


@scenario
async def test_a_client_that_leaves_while_it_is_drained_ends_the_drain() -> None:
    async with FakeUpstream(default=stall(ROLE, text("a"))).listening() as upstream:
        gateway = make_gateway(upstream)
        client = Client(gateway, STREAMED)
        assert await client.status() == 200
        draining = asyncio.create_task(gateway.drain(3600))
        await asyncio.sleep(0)
        await client.leave()
        await draining
        assert outcomes(gateway) == {"chat_completions cancelled": 1}


@scenario
async def test_the_server_can_stop_once_the_drain_is_over() -> None:
    """As the program does it: drain, then let uvicorn close; the client has read the error by then."""
    async with FakeUpstream(default=stall(ROLE, text("a"))).listening() as upstream:
        gateway = make_gateway(upstream)
        async with contextlib.AsyncExitStack() as afterwards:
            async with served(gateway) as address:
                client = await afterwards.enter_async_context(SocketClient.connect(address))
                client.post(STREAMED)
                await client.head()
                first = await client.chunk()
                await gateway.drain(0)
            body = first + await client.chunks()
            assert text_of(body) == "a"
            assert events_of(body)[-1]["error"]["code"] == "shutting_down"


@scenario
async def test_what_is_not_the_data_path_goes_on_while_it_is_drained() -> None:
    async with FakeUpstream().listening() as upstream:
        gateway = make_gateway(upstream)
        await gateway.drain(0)
        async with client_of(gateway) as client:
            for path in ("/livez", "/v1/models", "/metrics"):
                assert (await client.get(path)).status_code == 200


@scenario
async def test_a_second_drain_is_harmless() -> None:
    async with FakeUpstream(default=stall(ROLE, text("a"))).listening() as upstream:
        gateway = make_gateway(upstream)
        client = Client(gateway, STREAMED)
        assert await client.status() == 200
        await asyncio.gather(gateway.drain(0), gateway.drain(0))
        await gateway.drain(0)
        await client.rest()
