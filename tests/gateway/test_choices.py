"""Several answers to one request: each in a slot of its own, all of them or none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from driving import (
    PLAIN,
    STREAMED,
    Client,
    client_of,
    events_of,
    make_gateway,
    outcomes,
    tokens,
)
from fake_upstream import (
    CHAT,
    ENDING,
    ROLE,
    FakeUpstream,
    answer,
    break_off,
    refuse_with,
    scenario,
    stall,
    text,
    until,
)

if TYPE_CHECKING:
    from fake_upstream import Call

    from gateway.application import Gateway

three_ways = pytest.mark.parametrize("slots", [1, 2, 4])


def counted(gateway: Gateway) -> tuple[int, int]:
    admission = gateway._generator._admission
    return admission.in_flight, admission.waiting


async def say_seed(call: Call) -> None:
    await answer(ROLE, text("seed "), text(str(call.body["seed"])), *ENDING)(call)


@three_ways
@scenario
async def test_choices_come_in_one_piece_in_their_order_however_many_slots_there_are(slots: int) -> None:
    async with FakeUpstream(default=say_seed, slots=slots).listening() as upstream:
        gateway = make_gateway(upstream)
        async with client_of(gateway) as client:
            for _ in range(2):  # the second time the number of slots is known
                body = (await client.post(CHAT, json=PLAIN | {"n": 3, "seed": 5})).json()
                said = [(one["index"], one["message"]["content"], one["finish_reason"]) for one in body["choices"]]
                assert said == [(i, f"seed {5 + i}", "stop") for i in range(3)]
                assert body["usage"]["prompt_tokens"] == 5
                assert body["usage"]["completion_tokens"] == 6
        assert len(upstream.calls) == 6
        assert counted(gateway) == (0, 0)
        assert outcomes(gateway) == {"chat_completions ok": 2}
        assert tokens(gateway)["answer"] == 12


@three_ways
@scenario
async def test_choices_are_streamed_and_end_with_one_usage_and_one_end_mark(slots: int) -> None:
    body = STREAMED | {"n": 3, "seed": 5, "stream_options": {"include_usage": True}}
    async with FakeUpstream(default=say_seed, slots=slots).listening() as upstream:
        gateway = make_gateway(upstream)
        async with client_of(gateway) as client:
            response = await client.post(CHAT, json=body)
        *chunks, usage, done = events_of(response.content)
        assert done == "[DONE]"
        assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 6)
        assert {chunk["id"] for chunk in chunks} == {usage["id"]}
        for i in range(3):
            mine = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == i]
            assert "".join(one["delta"].get("content") or "" for one in mine) == f"seed {5 + i}"
            assert [one["finish_reason"] for one in mine if one["finish_reason"]] == ["stop"]
        assert counted(gateway) == (0, 0)


@scenario
async def test_no_more_choices_wait_than_there_are_slots() -> None:
    gate = asyncio.Event()
    async with FakeUpstream(default=answer(ROLE, gate, text("a"), *ENDING), slots=2).listening() as upstream:
        gateway = make_gateway(upstream, slots=2)
        client = Client(gateway, PLAIN | {"n": 8})
        await until(lambda: len(upstream.calls) == 2)
        assert counted(gateway) == (2, 0)
        gate.set()
        assert await client.status() == 200
        await client.rest()
        assert len(upstream.calls) == 8


@scenario
async def test_two_requests_with_more_choices_than_slots_do_not_stand_in_each_others_way() -> None:
    async with FakeUpstream(slots=2).listening() as upstream:
        gateway = make_gateway(upstream, slots=2, max_waiting=1)
        clients = [Client(gateway, body | {"n": 5}) for body in (PLAIN, STREAMED)]
        assert [await client.status() for client in clients] == [200, 200]
        for client in clients:
            await client.rest()
        assert len(upstream.calls) == 10
        assert counted(gateway) == (0, 0)


@scenario
async def test_a_request_that_was_let_in_gets_all_its_choices_behind_a_full_queue() -> None:
    gate = asyncio.Event()
    async with FakeUpstream(slots=1).listening() as upstream:
        upstream.plan.append(answer(ROLE, gate, text("a"), *ENDING))
        gateway = make_gateway(upstream, max_waiting=1)
        several = Client(gateway, STREAMED | {"n": 3})
        await upstream.arrived.get()
        other = Client(gateway, PLAIN)
        await until(lambda: counted(gateway) == (1, 1))
        gate.set()
        for client in (several, other):
            assert await client.status() == 200
            await client.rest()
        assert outcomes(gateway) == {"chat_completions ok": 2}


@pytest.mark.parametrize("body", [PLAIN, STREAMED])
@scenario
async def test_one_choice_that_is_refused_ends_the_others(body: dict[str, Any]) -> None:
    async with FakeUpstream(default=stall(ROLE), slots=3).listening() as upstream:
        upstream.plan.extend([stall(ROLE), refuse_with(400, "invalid_request_error", "bad schema")])
        gateway = make_gateway(upstream, slots=3)
        async with client_of(gateway) as client:
            response = await client.post(CHAT, json=body | {"n": 3})
        assert (response.status_code, response.json()["error"]["message"]) == (400, "bad schema")
        for call in upstream.calls:
            await call.hung_up.wait()
        assert counted(gateway) == (0, 0)
        assert outcomes(gateway) == {"chat_completions invalid": 1}


@scenario
async def test_one_choice_that_breaks_off_ends_a_stream_without_its_end_mark() -> None:
    gate = asyncio.Event()
    async with FakeUpstream(slots=2).listening() as upstream:
        upstream.plan.extend([stall(ROLE, text("a")), break_off(ROLE, text("b"), gate)])
        gateway = make_gateway(upstream, slots=2)
        client = Client(gateway, STREAMED | {"n": 2})
        assert await client.status() == 200
        body = await client.piece()
        while not (b'"a"' in body and b'"b"' in body):
            body += await client.piece()
        gate.set()
        *_, error = events_of(body + await client.rest())
        assert error["error"]["code"] == "upstream_error"
        await upstream.calls[0].hung_up.wait()
        assert counted(gateway) == (0, 0)


@pytest.mark.parametrize("body", [PLAIN, STREAMED])
@scenario
async def test_a_client_that_leaves_is_hung_up_for_in_every_choice(body: dict[str, Any]) -> None:
    async with FakeUpstream(default=stall(ROLE, text("a")), slots=2).listening() as upstream:
        gateway = make_gateway(upstream, slots=2)
        client = Client(gateway, body | {"n": 3})
        for _ in range(2):
            await upstream.arrived.get()
        await client.leave()
        for call in upstream.calls:
            await call.hung_up.wait()
        assert len(upstream.calls) == 2
        assert counted(gateway) == (0, 0)
        assert outcomes(gateway) == {"chat_completions cancelled": 1}
