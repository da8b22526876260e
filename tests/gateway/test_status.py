"""What `/status` tells, and whom."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from driving import AUTH, KEY, LOADING, PLAIN, STREAMED, Client, FakeReadiness, client_of, make_gateway
from fake_upstream import ENDING, ROLE, FakeUpstream, answer, scenario, stall, text, until

from gateway.observation.throughput import KEPT_INTERVALS
from gateway.readiness import Report

HISTORY = [{"state": "ready", "since": "2026-11-25T04:00:00.000+00:00"}]
READY = Report(
    state="ready",
    ready=True,
    generation=1,
    detail={"since": "2026-11-25T04:00:00.000+00:00", "start": "cold", "phases": {"load": 1.5}, "history": HISTORY},
)


@scenario
async def test_without_a_key_it_is_the_state_alone() -> None:
    async with client_of(make_gateway(FakeUpstream(), FakeReadiness(READY)), {}) as client:
        response = await client.get("/status")
    body = response.json()
    assert body.pop("now")
    assert body == {"state": "ready", "ready": True, "since": "2026-11-25T04:00:00.000+00:00"}
    assert response.headers["cache-control"] == "no-store"


@scenario
async def test_a_server_that_is_not_ready_is_no_error_here() -> None:
    async with client_of(make_gateway(FakeUpstream(), FakeReadiness(LOADING)), {}) as client:
        response = await client.get("/status")
    assert (response.status_code, response.json()["state"]) == (200, "loading")


@scenario
async def test_a_wrong_key_is_refused() -> None:
    async with client_of(make_gateway(FakeUpstream()), {"authorization": "Bearer no"}) as client:
        response = await client.get("/status")
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")


@scenario
async def test_with_a_key_it_is_everything() -> None:
    async with FakeUpstream(default=answer(ROLE, text("Hello"), *ENDING)).listening() as upstream:
        gateway = make_gateway(upstream, FakeReadiness(READY), max_waiting=7)
        await Client(gateway, PLAIN).rest()
        body = await status_of(gateway)
    assert body.pop("now")
    (past,) = body["requests"].pop("last")
    assert body["tokens_per_interval"]["values"][-1] == 2
    assert len(body["tokens_per_interval"].pop("values")) == KEPT_INTERVALS
    assert body == {
        "state": "ready",
        "ready": True,
        "since": "2026-11-25T04:00:00.000+00:00",
        "start": "cold",
        "phases": {"load": 1.5},
        "history": HISTORY,
        "model": "fake-model",
        "slots": {"total": 4, "busy": 0, "waiting": 0, "most_waiting": 7},
        "tokens_per_interval": {"seconds": 2},
        "tool_calls": {"outcomes": {}, "asked_again": 0},
        "requests": {"outcomes": {"ok": 1}},
    }
    times = [past.pop(name) for name in ("at", "queued_seconds", "first_token_seconds", "seconds")]
    assert all(times)
    assert past.pop("id").startswith("req_")
    assert past == {
        "key": "tester",
        "route": "chat_completions",
        "outcome": "ok",
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "tool_calls": None,
        "attempts": 1,
    }


@scenario
async def test_slots_and_queue_are_those_of_the_moment() -> None:
    async with FakeUpstream(default=stall(ROLE, text("a")), slots=1).listening() as upstream:
        gateway = make_gateway(upstream)
        clients = [Client(gateway, STREAMED) for _ in range(3)]
        await until(lambda: gateway._generator._admission.waiting == 2)
        slots = (await status_of(gateway))["slots"]
        for client in clients:
            await client.leave()
        last = (await status_of(gateway))["requests"]["last"]
    assert (slots["busy"], slots["waiting"]) == (1, 2)
    assert [each["outcome"] for each in last] == ["cancelled"] * 3


@scenario
async def test_looking_asks_the_server_nothing_and_waits_for_nothing() -> None:
    upstream = FakeUpstream()  # it does not even listen
    readiness = FakeReadiness(LOADING)
    gateway = make_gateway(upstream, readiness)
    async with asyncio.timeout(5):
        body = await status_of(gateway)
    assert (body["model"], readiness.waiting, gateway.activity.in_flight) == (None, 0, 0)


@scenario
async def test_who_comes_without_a_key_does_not_drive_others_out_of_the_history() -> None:
    gateway = make_gateway(FakeUpstream())
    async with client_of(gateway, {}) as client:
        assert (await client.post("/v1/chat/completions", json=PLAIN)).status_code == 401
        assert (await client.get("/wp-login.php")).status_code == 401
    assert (await status_of(gateway))["requests"] == {"outcomes": {"unauthorized": 2}, "last": []}


@scenario
async def test_the_credentials_that_open_the_documentation_open_this_too() -> None:
    basic = base64.b64encode(f"anybody:{KEY}".encode()).decode()
    assert "slots" in await status_of(make_gateway(FakeUpstream()), {"authorization": f"Basic {basic}"})


async def status_of(gateway: Any, headers: dict[str, str] = AUTH) -> Any:
    async with client_of(gateway, headers) as client:
        response = await client.get("/status")
    assert response.status_code == 200
    return response.json()
