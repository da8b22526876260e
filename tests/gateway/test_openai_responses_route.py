"""Responses through the whole gateway, against an upstream that says what it is told to."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

from driving import client_of, make_gateway, outcomes
from fake_upstream import (
    DONE,
    FakeUpstream,
    answer,
    break_off,
    call_begins,
    call_goes_on,
    finish,
    refuse_with,
    scenario,
    text,
    thought,
    usage,
)
from responses_checks import checked_events, checked_response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import httpx
    from fake_upstream import Call

    from gateway.application import Gateway

RESPONSES = "/v1/responses"
SPACE = {"type": "namespace", "name": "agents", "tools": [{"type": "function", "name": "close"}]}
ASKED: dict[str, Any] = {"input": "Hi", "tools": [SPACE], "include": ["reasoning.encrypted_content"]}
CALLING = (
    thought("Hm."),
    call_begins(0, "c1", "agents__close"),
    call_goes_on(0, "{}"),
    finish("tool_calls"),
    usage(),
    DONE,
)


async def streamed(client: httpx.AsyncClient, body: dict[str, Any]) -> list[Any]:
    response = await client.post(RESPONSES, json={**body, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    return checked_events(response.content)


def kinds(events: list[Any]) -> list[str]:
    return [event if isinstance(event, str) else event["type"].removeprefix("response.") for event in events]


@contextlib.asynccontextmanager
async def serving(
    *plan: Callable[[Call], Awaitable[None]],
) -> AsyncIterator[tuple[httpx.AsyncClient, Gateway, FakeUpstream]]:
    """Serve from an upstream that behaves as planned."""
    async with FakeUpstream(plan=deque(plan)).listening() as upstream:
        gateway = make_gateway(upstream)
        async with client_of(gateway) as client:
            yield client, gateway, upstream


@scenario
async def test_a_streamed_answer() -> None:
    async with serving(answer(text("Hel"), text("lo"), finish(), usage(), DONE)) as (client, gateway, _):
        events = await streamed(client, {"input": "Hi"})
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
        "[DONE]",
    ]
    assert events[-2]["response"]["output"][0]["content"][0]["text"] == "Hello"
    assert events[-2]["response"]["usage"]["total_tokens"] == 7
    assert outcomes(gateway) == {"responses ok": 1}


@scenario
async def test_an_answer_in_one_piece() -> None:
    async with serving(answer(text("Hel"), text("lo"), finish("length"), usage(), DONE)) as (client, _, _):
        response = checked_response((await client.post(RESPONSES, json={"input": "Hi"})).json())
    assert response["model"] == "fake-model"
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response["output"][0]["content"][0]["text"] == "Hello"


@scenario
async def test_a_call_goes_back_with_the_thought_that_led_to_it() -> None:
    async with serving(answer(*CALLING), answer(text("Done."), finish(), usage(), DONE)) as (client, _, upstream):
        first = checked_response((await client.post(RESPONSES, json=ASKED)).json())
        reasoning, call = first["output"]
        assert (call["name"], call["namespace"], call["arguments"]) == ("close", "agents", "{}")
        history = [
            {"role": "user", "content": "Hi"},
            {**reasoning, "summary": []},
            call,
            {"type": "function_call_output", "call_id": call["call_id"], "output": "closed"},
        ]
        second = await client.post(RESPONSES, json={**ASKED, "input": history})
    bodies = [each.body for each in upstream.calls]
    assert second.status_code == 200
    assert bodies[0]["tools"] == [{"type": "function", "function": {"name": "agents__close"}}]
    assert bodies[1]["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "Hm.",
            "tool_calls": [
                {"id": call["call_id"], "type": "function", "function": {"name": "agents__close", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": call["call_id"], "content": "closed"},
    ]


@scenario
async def test_the_same_answer_streamed_holds_the_same_items() -> None:
    async with serving(answer(*CALLING), answer(*CALLING)) as (client, _, _):
        whole = (await client.post(RESPONSES, json={**ASKED, "include": []})).json()
        events = await streamed(client, {**ASKED, "include": []})

    def without_ids(output: list[Any]) -> list[Any]:
        return [{name: value for name, value in item.items() if name not in ("id", "call_id")} for item in output]

    assert without_ids(events[-2]["response"]["output"]) == without_ids(whole["output"])
    assert events[-2]["response"]["usage"] == whole["usage"]


@scenario
async def test_a_stream_that_breaks_off_ends_as_failed() -> None:
    async with serving(break_off(text("Hel"))) as (client, gateway, _):
        events = await streamed(client, {"input": "Hi"})
    assert kinds(events)[-2:] == ["output_text.delta", "failed"]
    assert events[-1]["response"]["error"]["code"] == "upstream_error"
    assert outcomes(gateway) == {"responses upstream_error": 1}


@scenario
async def test_errors_before_the_stream_have_openais_shape() -> None:
    async with serving(refuse_with(400, "invalid_request_error", "No.")) as (client, _, _):
        refused = await client.post(RESPONSES, json={"input": "Hi", "stream": True})
        stored = await client.post(RESPONSES, json={"input": "Hi", "previous_response_id": "resp_1"})
        wrong = await client.get(RESPONSES)
        nobody = await client.post(RESPONSES, json={"input": "Hi"}, headers={"authorization": "Bearer no"})
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, "No.")
    assert (stored.status_code, stored.json()["error"]["param"]) == (400, "previous_response_id")
    assert (wrong.status_code, nobody.status_code) == (405, 401)
