from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from driving import AUTH, KEY, PLAIN, STREAMED, Client, client_of, make_gateway
from fake_upstream import CHAT, ENDING, ROLE, FakeUpstream, answer, break_off, refuse_with, scenario, stall, text, usage

from gateway.auth.keys import KeyRing
from gateway.errors import Overloaded, UpstreamDisconnected, UpstreamFailed
from gateway.events import Finish, PromptRead, ReasoningDelta, TextDelta, Usage
from gateway.observation import pace
from gateway.observation.identity import identify
from gateway.observation.observers import Observers
from gateway.observation.pace import Pace
from gateway.observation.record import AttemptRecord, RequestRecord
from gateway.thinking import Thinking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.events import Event
    from gateway.observation.record import Observer


KEYS = KeyRing({"tester": KEY})


class Seen(list[RequestRecord]):
    """Keeps what it is told of."""

    def finished(self, record: RequestRecord) -> None:
        self.append(record)


class Clumsy:
    """An observer with a bug."""

    def finished(self, record: RequestRecord) -> None:
        raise ZeroDivisionError(record.id)


# -- how a request is called


@pytest.mark.parametrize(
    "value", ["req_1", "5f3c9a1e-8c6f-4a52-9d0b-2f1f1d1e7a11", "a" * 128, "1-67891233-abcdef012345678912345678", "a:b"]
)
def test_the_clients_own_id_is_kept(value: str) -> None:
    assert identify([(b"accept", b"*/*"), (b"x-request-id", value.encode())], KEYS) == (value, None)


@pytest.mark.parametrize(
    "value", [b"", b" ", b"a b", b"a\nb", b'"', b"a" * 129, "ä".encode(), b"Bearer sk/x", KEY.encode()]
)
def test_an_id_that_would_have_to_be_escaped_or_is_a_key_is_not_taken(value: bytes) -> None:
    request_id, _ = identify([(b"x-request-id", value)], KEYS)
    assert request_id.startswith("req_")
    assert len(request_id) == len("req_") + 24


def test_requests_without_an_id_get_different_ones() -> None:
    assert len({identify([], KEYS)[0] for _ in range(100)}) == 100


def test_the_trace_is_kept_as_it_came() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert identify([(b"traceparent", trace.encode())], KEYS)[1] == trace


# -- what is written down


@scenario
async def test_an_answer_fills_the_record() -> None:
    seen = Seen()
    pieces = (ROLE, text("a"), text("b"), *ENDING[:1], usage(10, 4, 8), ENDING[-1])
    async with FakeUpstream(default=answer(*pieces)).listening() as upstream:
        gateway = make_gateway(upstream, observers=[seen])
        headers = AUTH | {"x-request-id": "mine", "traceparent": "a trace"}
        async with client_of(gateway, headers) as client:
            response = await client.post(CHAT, json=STREAMED | {"thinking_budget": 7, "model": "any"})
    assert response.headers["x-request-id"] == "mine"
    (record,) = seen
    assert (record.id, record.traceparent, record.key) == ("mine", "a trace", "tester")
    assert (record.dialect, record.route, record.model) == ("openai", "chat_completions", "fake-model")
    assert (record.stream, record.tools, record.thinking) == (True, False, Thinking(budget=7))
    assert (record.outcome, record.status, record.error, record.failures) == ("ok", 200, None, [])
    assert record.usage == Usage(10, 4, 8)
    assert record.pieces == 2
    (attempt,) = record.attempts
    moments = (
        record.started,
        record.queued,
        record.admitted,
        attempt.sent,
        record.begun,
        attempt.first_piece,
        record.first_piece,
        record.last_piece,
        attempt.ended,
        record.ended,
    )
    assert None not in moments
    assert list(moments) == sorted(moments)  # type: ignore[type-var]


@scenario
async def test_an_answer_that_broke_off_and_was_made_again_has_two_attempts() -> None:
    seen = Seen()
    async with FakeUpstream().listening() as upstream:
        upstream.plan.append(break_off(ROLE, text("a")))
        async with client_of(make_gateway(upstream, observers=[seen])) as client:
            await client.post(CHAT, json=PLAIN)
    (record,) = seen
    assert record.outcome == "ok"
    assert [attempt.error for attempt in record.attempts] == ["disconnected", None]
    assert record.failures == ["disconnected"]


@scenario
async def test_what_the_client_was_told_instead_is_kept() -> None:
    seen = Seen()
    fake = FakeUpstream(default=refuse_with(500, "server_error", "no"))
    async with fake.listening(), client_of(make_gateway(fake, observers=[seen])) as client:
        await client.post(CHAT, json=PLAIN)
        await client.post(CHAT, json={"messages": 1})
        await client.get(CHAT)
        client.headers["authorization"] = "Bearer wrong"
        await client.post(CHAT, json=PLAIN)
        await client.get("/v1/models")
    assert [(record.route, record.outcome, record.status, record.failures) for record in seen] == [
        ("chat_completions", "upstream_error", 502, ["failed"]),
        ("chat_completions", "invalid", 400, []),
        ("chat_completions", "invalid", 405, []),
        ("chat_completions", "unauthorized", 401, []),
        ("", "unauthorized", 401, []),
    ]


@scenario
async def test_a_client_that_leaves_has_cancelled_its_request_and_what_it_took_is_known() -> None:
    seen = Seen()
    async with FakeUpstream(default=stall(ROLE, text("a"))).listening() as upstream:
        client = Client(make_gateway(upstream, observers=[seen]), STREAMED)
        await client.status()
        await client.leave()
    (record,) = seen
    assert (record.outcome, record.status, record.pieces) == ("cancelled", 499, 1)
    assert [attempt.ended is not None for attempt in record.attempts] == [True]


@pytest.mark.parametrize("path", ["/", "/livez", "/health", "/v1/models", "/nothing", "/docs"])
@scenario
async def test_every_answer_names_its_request(path: str) -> None:
    async with FakeUpstream().listening() as upstream, client_of(make_gateway(upstream)) as client:
        response = await client.get(path, headers={"x-request-id": "mine"})
    assert response.headers["x-request-id"] == "mine"


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/messages/count_tokens", "/v1/embeddings", "/v1/responses"])
@pytest.mark.parametrize("key", [AUTH["authorization"], "Bearer wrong"])
@scenario
async def test_every_refusal_names_its_request(path: str, key: str) -> None:
    async with client_of(make_gateway(FakeUpstream()), {"authorization": key}) as client:
        response = await client.post(path, content=b"{", headers={"x-request-id": "mine"})
    assert response.status_code in (400, 401)
    assert response.headers["x-request-id"] == "mine"
    assert response.headers.get("request-id") == ("mine" if path.startswith("/v1/messages") else None)


# -- its parts


def test_moments_are_told_in_unix_time() -> None:
    record = RequestRecord(started_ns=1_700_000_000_000_000_000, started=5.0)
    assert record.unix_ns(5.25) == 1_700_000_000_250_000_000


def test_only_what_went_wrong_upstream_is_a_failure() -> None:
    record = RequestRecord()
    for error in (UpstreamFailed("a"), Overloaded("b"), UpstreamDisconnected("c")):
        record.note_failure(error)
    assert record.failures == ["failed", "disconnected"]


def test_an_attempt_ends_once() -> None:
    attempt = AttemptRecord()
    attempt.end(UpstreamFailed("a"))
    ended = attempt.ended
    attempt.end()
    assert (attempt.error, attempt.ended) == ("failed", ended)


@pytest.mark.parametrize("first", [TextDelta("a"), ReasoningDelta("a")])
def test_pieces_that_came_together_share_the_time_since_the_last(first: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock goes on by a second with each look."""
    seconds = itertools.count(1000.0)
    monkeypatch.setattr(pace, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    record, gaps = RequestRecord(), list[float]()
    clock = Pace(record, gaps.append)
    batches: list[Sequence[Event]] = [
        [PromptRead(5, 0)],
        [first],
        [TextDelta("b"), TextDelta("c")],
        [TextDelta("d")],
        [Finish("stop"), Usage(5, 4)],
    ]
    for batch in batches:
        clock.add(batch)
    assert gaps == [0.5, 1.0]
    assert (record.first_piece, record.last_piece, record.pieces) == (1000, 1002, 4)


def test_an_observer_with_a_bug_is_in_nobodys_way(caplog: pytest.LogCaptureFixture) -> None:
    observers: list[Observer] = [Clumsy(), seen := Seen()]
    Observers(observers).finished(record := RequestRecord(id="r"))
    assert seen == [record]
    assert caplog.messages == ["a bug in Clumsy"]
