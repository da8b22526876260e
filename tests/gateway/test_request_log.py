from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from driving import AUTH, KEY, PLAIN, STREAMED, Client, client_of, make_gateway
from fake_upstream import CHAT, ENDING, ROLE, FakeUpstream, answer, refuse_with, scenario, stall, text, thought

from gateway.errors import InvalidRequest, Overloaded, ToolCallInvalid, UpstreamFailed
from gateway.events import ReasoningDelta, TextDelta, ToolCall, Usage
from gateway.observation.content import LONGEST, Content
from gateway.observation.record import AttemptRecord, RequestRecord
from gateway.observation.request_log import RequestLog
from gateway.thinking import Thinking
from gateway.toolcalls.guard import CallReport
from gateway.toolcalls.policy import Outcome

if TYPE_CHECKING:
    from gateway.errors import GatewayError

LOGGER = "warmgate.requests"


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "warmgate")
    return caplog


def lines(log: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in log.records if record.name == LOGGER]


def written(log: pytest.LogCaptureFixture, record: RequestRecord) -> tuple[str, dict[str, Any]]:
    """Return the sentence and the fields of a record's line."""
    RequestLog().finished(record)
    (line,) = lines(log)
    fields: dict[str, Any] = line.__dict__["fields"]
    return line.getMessage(), fields


def test_a_request_is_one_line(log: pytest.LogCaptureFixture) -> None:
    record = RequestRecord(
        id="req_1",
        passed_on=f"00-{'a' * 32}-{'b' * 16}-01",
        key="laptop",
        dialect="openai",
        route="chat_completions",
        model="m",
        stream=True,
        tools=True,
        thinking=Thinking(),
        started=10.0,
        queued=10.25,
        admitted=10.5,
        found=11.0,
        begun=11.5,
        first_piece=12.0,
        last_piece=14.0,
        ended=14.5,
        pieces=20,
        attempts=[AttemptRecord("answer", 11.0, 11.75, 13.0), AttemptRecord("repair", 13.0, 13.5, 14.0)],
        failures=["disconnected"],
        usage=Usage(100, 40, 60, 7),
        calls=CallReport(Counter({Outcome.REPAIRED: 1}), asked_again=1, tokens=12),
    )
    record.succeed()
    sentence, fields = written(log, record)
    assert sentence == (
        "req_1 laptop chat_completions: ok 200; queue 0.250 s, server 0.500 s, prefill 0.750 s, first_token 2.000 s, "
        "total 4.500 s; tokens prompt 100, cached 60, thought 7, answer 21, repair 12; repairs 1"
    )
    assert fields == {
        "request_id": "req_1",
        "trace_id": "a" * 32,
        "key": "laptop",
        "dialect": "openai",
        "route": "chat_completions",
        "model": "m",
        "outcome": "ok",
        "status": 200,
        "seconds": {"queue": 0.25, "server": 0.5, "prefill": 0.75, "first_token": 2.0, "total": 4.5},
        "upstream_errors": ["disconnected"],
        "stream": True,
        "choices": 1,
        "images": 0,
        "tools": True,
        "thinking": "on",
        "budget_hit": False,
        "backend_sampling": False,
        "tokens": {"prompt": 100, "cached": 60, "thought": 7, "answer": 21, "repair": 12},
        "pieces": 20,
        "attempts": 2,
        "repairs": 1,
        "tool_calls": {"repaired": 1},
    }


@pytest.mark.parametrize(
    ("error", "level", "told"),
    [
        (Overloaded("full", retry_after=1), logging.INFO, {"kind": "overloaded", "code": "overloaded"}),
        (UpstreamFailed("it said: secret"), logging.WARNING, {"kind": "failed", "code": "upstream_error"}),
        (
            ToolCallInvalid("'secret' is no integer"),
            logging.WARNING,
            {"kind": "tool_call_invalid", "code": "tool_call_invalid"},
        ),
        (
            InvalidRequest("'secret' is no text", param="messages[0].content"),
            logging.INFO,
            {"kind": "invalid", "code": None, "param": "messages[0].content"},
        ),
        (InvalidRequest("unknown", param="a secret"), logging.INFO, {"kind": "invalid", "code": None}),
    ],
)
def test_an_error_is_told_by_kind_and_not_in_its_words(
    log: pytest.LogCaptureFixture, error: GatewayError, level: int, told: dict[str, Any]
) -> None:
    record = RequestRecord(id="req_1", started=1.0, ended=2.0)
    record.fail(error)
    sentence, fields = written(log, record)
    assert fields["error"] == told
    assert lines(log)[0].levelno == level
    assert "secret" not in sentence + repr(fields)


@scenario
async def test_every_request_has_its_line_whatever_becomes_of_it(log: pytest.LogCaptureFixture) -> None:
    async with FakeUpstream().listening() as upstream:
        gateway = make_gateway(upstream)
        async with client_of(gateway, AUTH | {"x-request-id": "mine"}) as client:
            await client.post(CHAT, json=PLAIN)
            await client.post(CHAT, json=STREAMED)
            await client.post(CHAT, json={"messages": 5})
            upstream.plan.append(refuse_with(500, "server_error", "no"))
            await client.post(CHAT, json=STREAMED)
            await client.post("/v1/embeddings", json={"input": "a"})
            await client.post("/v1/messages/count_tokens", json=PLAIN)
            await client.get("/health")
            client.headers["authorization"] = "Bearer wrong"
            await client.post("/v1/messages", json=PLAIN)
            await client.get("/v1/models")
        upstream.plan.append(stall(ROLE, text("a")))
        leaver = Client(gateway, STREAMED, AUTH | {"x-request-id": "mine"})
        await leaver.status()
        await leaver.leave()
    assert [line.getMessage().partition(";")[0] for line in lines(log)] == [
        "mine tester chat_completions: ok 200",
        "mine tester chat_completions: ok 200",
        "mine tester chat_completions: invalid 400",
        "mine tester chat_completions: upstream_error 502",
        "mine tester embeddings: ok 200",
        "mine tester count_tokens: ok 200",
        "mine - messages: unauthorized 401",
        "mine - -: unauthorized 401",
        "mine tester chat_completions: cancelled 499",
    ]


QUESTION, THOUGHT, ANSWER = "what-was-asked", "what-was-thought", "what-was-answered"
ASKED = {"messages": [{"role": "user", "content": QUESTION}]}
SAID = (ROLE, thought(THOUGHT), text(ANSWER), *ENDING)


def everything(log: pytest.LogCaptureFixture) -> str:
    return log.text + "".join(repr(record.__dict__) for record in log.records)


@scenario
async def test_neither_key_nor_prompt_nor_answer_is_logged(log: pytest.LogCaptureFixture) -> None:
    log.set_level(logging.DEBUG)
    async with FakeUpstream(default=answer(*SAID)).listening() as upstream:
        gateway = make_gateway(upstream)
        async with client_of(gateway) as client:
            await client.post(CHAT, json=ASKED)
            await client.post(CHAT, json=ASKED | {"stream": True})
            await client.post(CHAT, json=ASKED | {"max_tokens": QUESTION})
            upstream.plan.append(refuse_with(400, "invalid_request_error", f"cannot read {QUESTION}"))
            await client.post(CHAT, json=ASKED)
        async with client_of(gateway, {"authorization": f"Basic {KEY}"}) as client:
            await client.post(CHAT, json=ASKED)
    assert len(lines(log)) == 5
    for secret in (KEY, QUESTION, THOUGHT, ANSWER):
        assert secret not in everything(log)


@scenario
async def test_with_the_debug_switch_it_is_logged_what_was_said_but_never_a_key(log: pytest.LogCaptureFixture) -> None:
    async with FakeUpstream(default=answer(*SAID)).listening() as upstream:
        gateway = make_gateway(upstream, log_content=True)
        async with client_of(gateway) as client:
            await client.post(CHAT, json=ASKED)
    (line,) = lines(log)
    assert line.__dict__["fields"]["content"] == {
        "messages": ASKED["messages"],
        "answer": {"thought": THOUGHT, "text": ANSWER},
    }
    assert KEY not in everything(log)


def test_long_texts_are_cut_and_calls_are_written_out() -> None:
    content = Content([{"role": "user", "content": [{"type": "text", "text": "x" * (LONGEST + 1)}]}])
    content.add([ReasoningDelta("a"), ReasoningDelta("b"), ToolCall("1", "look", '{"at":1}')])
    content.add([TextDelta("y" * (LONGEST + 1))])
    assert content.fields() == {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x" * LONGEST}]}],
        "answer": {"thought": "ab", "text": "y" * LONGEST, "calls": 'look({"at":1})'},
    }
