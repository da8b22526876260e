"""What clients are told when the upstream fails, before its answer has begun and after."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from driving import (
    FAILED,
    LOADING,
    PLAIN,
    READY,
    STREAMED,
    Client,
    FakeReadiness,
    client_of,
    events_of,
    make_gateway,
    outcomes,
    text_of,
)
from fake_upstream import (
    ANSWER,
    CHAT,
    COMMENT,
    DONE,
    ENDING,
    ROLE,
    FakeUpstream,
    answer,
    babble,
    break_off,
    call_begins,
    call_goes_on,
    error_event,
    finish,
    refuse,
    refuse_with,
    say_nothing,
    scenario,
    stall,
    text,
    thought,
    until,
    vanish,
)

from gateway import generation
from gateway.readiness import Report
from gateway.upstream import sse
from gateway.upstream.chat import open_chat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from fake_upstream import Call

    Behaviour = Callable[[Call], Awaitable[None]]

INCOMPLETE = "llama-server's answer ended before it was complete."
BROKEN = "llama-server ended in the middle of its answer."
GARBAGE = "llama-server sent a chunk that cannot be read: "
FELL_OVER = "llama-server failed: the model fell over"
MADE_AGAIN = {INCOMPLETE, BROKEN, GARBAGE, FELL_OVER}
"""How an answer that had begun may end: it is asked for once more while no text of it has been sent."""


@pytest.fixture(autouse=True)
def _retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "RETRY_DELAY_SECONDS", 0.001)


# -- before the answer has begun: a status

BEFORE = [
    pytest.param(
        refuse_with(400, "exceed_context_size_error", "too long"),
        (400, "invalid_request_error", "context_length_exceeded", "messages", "too long"),
        id="the prompt does not fit",
    ),
    pytest.param(
        refuse_with(400, "invalid_request_error", "bad schema"),
        (400, "invalid_request_error", None, None, "bad schema"),
        id="it does not like the request",
    ),
    pytest.param(
        refuse(413, b""),
        (413, "invalid_request_error", "request_too_large", None, "larger than llama-server reads"),
        id="the request is too large for it",
    ),
    pytest.param(
        refuse_with(500, "server_error", "oops"),
        (502, "server_error", "upstream_error", None, "llama-server failed: oops"),
        id="it fails",
    ),
    pytest.param(
        refuse_with(401, "authentication_error", "Invalid API Key"),
        (502, "server_error", "upstream_error", None, "llama-server failed: Invalid API Key"),
        id="it wants a key of us",
    ),
    pytest.param(
        refuse(404, b"<html>"),
        (502, "server_error", "upstream_error", None, "status 404 and no reason"),
        id="it is not llama-server",
    ),
    pytest.param(
        refuse(200, {"choices": [{"message": {}}]}),
        (502, "server_error", "upstream_error", None, INCOMPLETE),
        id="it does not stream",
    ),
    pytest.param(babble, (502, "server_error", "upstream_error", None, "not HTTP"), id="it does not speak HTTP"),
    pytest.param(break_off(), (502, "server_error", "upstream_error", None, BROKEN), id="only headers came"),
    pytest.param(break_off(COMMENT), (502, "server_error", "upstream_error", None, BROKEN), id="only a comment came"),
    pytest.param(break_off(ROLE), (502, "server_error", "upstream_error", None, BROKEN), id="only the role came"),
    pytest.param(answer(), (502, "server_error", "upstream_error", None, INCOMPLETE), id="an empty body"),
    pytest.param(answer(DONE), (502, "server_error", "upstream_error", None, INCOMPLETE), id="only the end mark"),
    pytest.param(answer(ROLE, DONE), (502, "server_error", "upstream_error", None, INCOMPLETE), id="role and end"),
    pytest.param(
        answer(ROLE, error_event()),
        (502, "server_error", "upstream_error", None, FELL_OVER),
        id="an error event at once",
    ),
    pytest.param(
        answer(b"data: \xff\n\n"),
        (502, "server_error", "upstream_error", None, GARBAGE),
        id="an event that is not JSON",
    ),
    pytest.param(
        answer(b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n'),
        (502, "server_error", "upstream_error", None, GARBAGE),
        id="an event that is not UTF-8",
    ),
    pytest.param(
        answer(b'data: {"x":' + b"[" * 5000 + b"\n\n"),
        (502, "server_error", "upstream_error", None, GARBAGE),
        id="an event that is nested too deeply",
    ),
]


@pytest.mark.parametrize("body", [PLAIN, STREAMED])
@pytest.mark.parametrize(("behaviour", "expected"), BEFORE)
@scenario
async def test_a_failure_before_the_first_piece_has_its_own_status(
    behaviour: Behaviour, expected: tuple[Any, ...], body: dict[str, Any]
) -> None:
    async with FakeUpstream(default=behaviour).listening() as upstream:
        gateway = make_gateway(upstream)
        async with client_of(gateway) as client:
            response = await client.post(CHAT, json=body)
        error = response.json()["error"]
        status, kind, code, param, message = expected
        assert response.headers["content-type"] == "application/json"
        assert (response.status_code, error["type"], error["code"], error["param"]) == (status, kind, code, param)
        assert message in error["message"]
        assert len(upstream.calls) == (2 if message in MADE_AGAIN else 1)
        outcome = "invalid" if status < 500 else "upstream_error"
        assert outcomes(gateway) == {f"chat_completions {outcome}": 1}
        upstream.default = answer(*ANSWER)  # and it is over: the next request is served
        async with client_of(gateway) as client:
            assert (await client.post(CHAT, json=body)).status_code == 200


@pytest.mark.parametrize("body", [PLAIN, STREAMED])
@pytest.mark.parametrize("behaviour", [say_nothing, stall(), stall(COMMENT), stall(ROLE, COMMENT)])
@scenario
async def test_a_server_that_falls_silent_before_the_first_piece_is_a_timeout_and_hung_up_on(
    behaviour: Behaviour, body: dict[str, Any]
) -> None:
    async with FakeUpstream(default=behaviour).listening() as upstream:
        async with client_of(make_gateway(upstream, silence_seconds=0.02)) as client:
            response = await client.post(CHAT, json=body)
        assert response.status_code == 504
        assert response.json()["error"]["code"] == "upstream_timeout"
        await upstream.calls[0].hung_up.wait()
        assert len(upstream.calls) == 1


@scenario
async def test_the_wait_for_readiness_does_not_limit_the_wait_for_an_answer() -> None:
    """A server that is ready and silent is silent, not unready."""
    async with FakeUpstream(default=say_nothing).listening() as upstream:
        gateway = make_gateway(upstream, ready_seconds=0.001, silence_seconds=0.05)
        async with client_of(gateway) as client:
            response = await client.post(CHAT, json=PLAIN)
    assert response.json()["error"]["code"] == "upstream_timeout"


@scenario
async def test_who_does_not_want_to_wait_for_readiness_is_served_by_a_ready_server() -> None:
    async with FakeUpstream().listening() as upstream, client_of(make_gateway(upstream, ready_seconds=0)) as client:
        assert (await client.post(CHAT, json=PLAIN)).status_code == 200


# -- after it has begun: an error event, and no end mark

AFTER = [
    pytest.param(break_off(ROLE, text("Hel")), "Hel", BROKEN, id="the connection broke"),
    pytest.param(break_off(ROLE, text("Hel"), text("lo")[:30]), "Hel", BROKEN, id="it broke within an event"),
    pytest.param(break_off(ROLE, text("Hel"), finish()), "Hel", BROKEN, id="it broke before the end mark"),
    pytest.param(answer(ROLE, text("Hel")), "Hel", INCOMPLETE, id="it ended without an end mark"),
    pytest.param(answer(ROLE, text("Hel"), finish()), "Hel", INCOMPLETE, id="it ended between finish and end mark"),
    pytest.param(answer(ROLE, text("Hel"), DONE), "Hel", INCOMPLETE, id="an end mark without a finish"),
    pytest.param(
        answer(ROLE, text("Hel"), error_event(), DONE), "Hel", "failed: the model fell over", id="an error event"
    ),
    pytest.param(
        answer(text("Hel") + error_event()), "Hel", "failed: the model fell over", id="an error event in one piece"
    ),
    pytest.param(answer(ROLE, text("Hel"), b"data: {\n\n", *ENDING), "Hel", GARBAGE, id="an event that is not JSON"),
    pytest.param(break_off(ROLE, thought("Hm"), call_begins(0, "c", "f")), "", BROKEN, id="it broke within a call"),
]


@pytest.mark.parametrize(("behaviour", "came", "message"), AFTER)
@scenario
async def test_a_failure_after_the_first_piece_is_an_event_and_the_end_mark_is_missing(
    behaviour: Behaviour, came: str, message: str
) -> None:
    async with FakeUpstream(default=behaviour).listening() as upstream:
        gateway = make_gateway(upstream)
        async with client_of(gateway) as client:
            response = await client.post(CHAT, json=STREAMED)
        assert response.status_code == 200
        assert b"[DONE]" not in response.content
        assert text_of(response.content) == came
        error = events_of(response.content)[-1]["error"]
        assert (error["type"], error["code"]) == ("server_error", "upstream_error")
        assert message in error["message"]
        assert len(upstream.calls) == (1 if came else 2)  # after a thought alone there can be another
        assert outcomes(gateway) == {"chat_completions upstream_error": 1}


@pytest.mark.parametrize(("behaviour", "came", "message"), AFTER)
@scenario
async def test_an_answer_in_one_piece_that_broke_off_is_an_error_and_nothing_of_it_is_sent(
    behaviour: Behaviour, came: str, message: str
) -> None:
    del came
    async with FakeUpstream(default=behaviour).listening() as upstream:
        async with client_of(make_gateway(upstream)) as client:
            response = await client.post(CHAT, json=PLAIN)
        assert response.status_code == 502
        assert message in response.json()["error"]["message"]
        assert len(upstream.calls) == 2


@scenario
async def test_a_server_that_falls_silent_within_its_answer_is_told_of_and_hung_up_on() -> None:
    async with FakeUpstream(default=stall(ROLE, text("Hel"))).listening() as upstream:
        # long enough for the first piece to come on any machine
        async with client_of(make_gateway(upstream, silence_seconds=0.5)) as client:
            response = await client.post(CHAT, json=STREAMED)
        *_, piece, error = events_of(response.content)
        assert piece["choices"][0]["delta"] == {"content": "Hel"}
        assert error["error"]["code"] == "upstream_timeout"
        await upstream.calls[0].hung_up.wait()


@scenario
async def test_an_event_without_an_end_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "LONGEST_EVENT", 1000)
    seen = asyncio.Event()
    async with FakeUpstream(default=stall(ROLE, text("Hel"), seen, b"data: " + b"x" * 2000)).listening() as upstream:
        client = Client(make_gateway(upstream), STREAMED)
        assert await client.status() == 200
        assert text_of(await client.piece()) == "Hel"
        seen.set()
        (event,) = events_of(await client.rest())
        assert "an event without an end" in event["error"]["message"]


@scenario
async def test_a_call_whose_arguments_broke_off_is_never_sent() -> None:
    behaviour = break_off(ROLE, call_begins(0, "c", "f"), call_goes_on(0, '{"city": "Par'))
    async with FakeUpstream(default=behaviour).listening() as upstream, client_of(make_gateway(upstream)) as client:
        response = await client.post(CHAT, json=STREAMED)
    assert response.status_code == 502
    assert b"Par" not in response.content


# -- sending again


@pytest.mark.parametrize("body", [PLAIN, STREAMED])
@scenario
async def test_a_request_that_was_dropped_before_the_first_byte_is_sent_again(body: dict[str, Any]) -> None:
    async with FakeUpstream().listening() as upstream:
        upstream.plan.append(vanish)
        async with client_of(make_gateway(upstream)) as client:
            response = await client.post(CHAT, json=body)
        assert response.status_code == 200
        assert b"Hello" in response.content
        assert len(upstream.calls) == 2
        assert upstream.calls[0].raw_body == upstream.calls[1].raw_body
        assert upstream.calls[0].connection != upstream.calls[1].connection


@pytest.mark.parametrize("body", [PLAIN, STREAMED])
@scenario
async def test_it_is_sent_again_once_and_not_a_third_time(body: dict[str, Any]) -> None:
    async with FakeUpstream(default=vanish).listening() as upstream:
        async with client_of(make_gateway(upstream)) as client:
            response = await client.post(CHAT, json=body)
        assert response.status_code == 502
        assert response.json()["error"]["message"] == "llama-server closed the connection unanswered."
        assert len(upstream.calls) == 2


@scenario
async def test_every_request_has_its_own_second_try() -> None:
    async with FakeUpstream().listening() as upstream:
        gateway = make_gateway(upstream)
        async with client_of(gateway) as client:
            for _ in range(3):
                upstream.plan.append(vanish)
                assert (await client.post(CHAT, json=PLAIN)).status_code == 200
        assert len(upstream.calls) == 6


@scenario
async def test_a_request_that_is_sent_again_waits_for_the_restart() -> None:
    """The server died of something: the second try comes when another process is ready, and learns what that is."""
    readiness = FakeReadiness()

    async def die(_: Call) -> None:
        readiness.move(LOADING)
        upstream.control["/v1/models"] = (200, {"data": [{"id": "restarted"}]})

    async with FakeUpstream().listening() as upstream:
        upstream.plan.append(die)
        client = Client(make_gateway(upstream, readiness), STREAMED)
        await until(lambda: readiness.waiting == 1 and readiness.report() is LOADING)
        assert len(upstream.calls) == 1
        readiness.move(Report(state="ready", ready=True, generation=READY.generation + 1))
        assert await client.status() == 200
        events = events_of(await client.rest())
        assert events[-1] == "[DONE]"
        assert events[0]["model"] == "restarted"
        assert len(upstream.calls) == 2


# -- waiting for readiness


@scenario
async def test_a_server_that_does_not_become_ready_in_time_is_told_with_when_to_come_back() -> None:
    async with FakeUpstream().listening() as upstream:
        gateway = make_gateway(upstream, FakeReadiness(LOADING), ready_seconds=0.01)
        async with client_of(gateway) as client:
            for body in (PLAIN, STREAMED):
                response = await client.post(CHAT, json=body)
                assert response.status_code == 503
                assert response.json()["error"] == {
                    "message": "The model is not ready (loading).",
                    "type": "server_error",
                    "param": None,
                    "code": "not_ready",
                }
                assert response.headers["retry-after"] == "7"
        assert upstream.connections == 0
        assert outcomes(gateway) == {"chat_completions not_ready": 2}


@scenario
async def test_a_server_that_has_failed_for_good_is_told_at_once() -> None:
    """The limit is longer than the whole test may take."""
    async with FakeUpstream().listening() as upstream:
        gateway = make_gateway(upstream, FakeReadiness(FAILED), ready_seconds=3600)
        async with client_of(gateway) as client:
            response = await client.post(CHAT, json=PLAIN)
        assert response.status_code == 503
        assert response.json()["error"]["message"] == "The model server is not running (failed)."
        assert response.headers["retry-after"] == "30"
        assert upstream.connections == 0


@scenario
async def test_a_server_that_fails_for_good_while_it_is_waited_for_is_told_at_once() -> None:
    readiness = FakeReadiness(LOADING)
    async with FakeUpstream().listening() as upstream:
        client = Client(make_gateway(upstream, readiness, ready_seconds=3600), PLAIN)
        await until(lambda: readiness.waiting == 1)
        readiness.move(FAILED)
        assert await client.status() == 503
        await client.rest()


@scenario
async def test_a_request_that_waits_is_answered_as_soon_as_the_server_is_ready() -> None:
    readiness = FakeReadiness(LOADING)
    async with FakeUpstream().listening() as upstream:
        client = Client(make_gateway(upstream, readiness), PLAIN)
        await until(lambda: readiness.waiting == 1)
        assert upstream.connections == 0
        readiness.move(READY)
        assert await client.status() == 200
        await client.rest()


@scenario
async def test_a_server_that_loads_again_is_asked_again_until_it_answers() -> None:
    loading = refuse_with(503, "unavailable_error", "Loading model")
    async with FakeUpstream().listening() as upstream:
        upstream.plan.extend([loading, loading, loading])
        async with client_of(make_gateway(upstream)) as client:
            assert (await client.post(CHAT, json=PLAIN)).status_code == 200
        assert len(upstream.calls) == 4


@scenario
async def test_a_server_that_loads_for_too_long_is_told() -> None:
    loading = refuse_with(503, "unavailable_error", "Loading model")
    async with FakeUpstream(default=loading).listening() as upstream:
        async with client_of(make_gateway(upstream, ready_seconds=0.05)) as client:
            response = await client.post(CHAT, json=PLAIN)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert len(upstream.calls) > 1


@scenario
async def test_a_server_that_is_said_to_be_ready_and_does_not_listen_is_waited_for() -> None:
    upstream = FakeUpstream()
    async with upstream.listening():
        pass
    async with client_of(make_gateway(upstream, ready_seconds=0.02)) as client:
        response = await client.post(CHAT, json=PLAIN)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "not_ready"


@scenario
async def test_a_server_that_stops_listening_between_two_requests_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is, is known by then; connecting is what fails."""
    tries = 0

    async def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal tries
        tries += 1
        return await open_chat(*args, **kwargs)

    monkeypatch.setattr(generation, "open_chat", counted)
    upstream = FakeUpstream(tmp_path / "s")
    async with upstream.listening():
        gateway = make_gateway(upstream)
        async with client_of(gateway) as client:
            assert (await client.post(CHAT, json=PLAIN)).status_code == 200
    waiting = Client(gateway, PLAIN)
    await until(lambda: tries > 3)
    assert not waiting.task.done()
    async with upstream.listening():
        assert await waiting.status() == 200
        await waiting.rest()
    assert len(upstream.calls) == 2


@scenario
async def test_a_server_that_answers_as_something_else_is_told_at_once() -> None:
    async with FakeUpstream(control={"/props": (200, {})}).listening() as upstream:
        async with client_of(make_gateway(upstream, ready_seconds=3600)) as client:
            response = await client.post(CHAT, json=PLAIN)
        assert response.status_code == 502
        assert "does not answer as llama-server does" in response.json()["error"]["message"]
        assert upstream.calls == []
