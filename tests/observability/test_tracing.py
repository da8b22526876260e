"""What spans a record becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from gateway.errors import InvalidRequest, NotReady, UpstreamSilent
from gateway.events import Usage
from gateway.observation.record import AttemptRecord, RequestRecord
from gateway.observation.trace_context import TraceContext
from gateway.observation.tracing import Tracing
from gateway.thinking import Thinking
from gateway.toolcalls.policy import Outcome

UNIX_NS = 1_795_000_000_000_000_000
CALLER = TraceContext(trace_id=0xABC, span_id=0xDEF)


@dataclass
class Seen:
    """A span, in short: times are seconds since the request's arrival."""

    name: str
    began: float
    ended: float
    below: list[Seen]
    error: str | None = None


Traced = tuple[Tracing, InMemorySpanExporter]


@pytest.fixture
def traced() -> Traced:
    tracing, exporter = Tracing(), InMemorySpanExporter()
    provider = TracerProvider(id_generator=tracing.ids, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.tracer = provider.get_tracer("test")
    return tracing, exporter


def a_record(**fields: Any) -> RequestRecord:
    ended = fields.pop("ended", 9.0)
    fields = {"route": "chat_completions", "key": "laptop"} | fields
    return RequestRecord(started_ns=UNIX_NS, started=100.0, ended=100.0 + ended, **fields)


def attempt(kind: Any, sent: float, first: float | None, ended: float, error: str | None = None) -> AttemptRecord:
    first = None if first is None else 100.0 + first
    return AttemptRecord(kind, sent=100.0 + sent, first_piece=first, ended=100.0 + ended, error=error)


def tree(spans: tuple[ReadableSpan, ...], parent: int | None) -> list[Seen]:
    below = [span for span in spans if (span.parent.span_id if span.parent else None) == parent]
    return [_seen(span, spans) for span in sorted(below, key=lambda span: span.start_time or 0)]


def _seen(span: ReadableSpan, spans: tuple[ReadableSpan, ...]) -> Seen:
    assert span.context is not None
    assert span.start_time is not None
    assert span.end_time is not None
    attributes = span.attributes or {}
    error = str(attributes["error.type"]) if not span.status.is_ok else None
    began, ended = ((moment - UNIX_NS) / 1e9 for moment in (span.start_time, span.end_time))
    return Seen(span.name, began, ended, tree(spans, span.context.span_id), error)


def finished(traced: Traced, record: RequestRecord) -> tuple[ReadableSpan, ...]:
    tracing, exporter = traced
    tracing.finished(record)
    return exporter.get_finished_spans()


def test_a_repaired_tool_call_is_one_tree(traced: Traced) -> None:
    attempts = [attempt("answer", 1, 2, 5), attempt("choice", 5, 5.5, 6), attempt("repair", 6, 7, 8)]
    record = a_record(model="gemma", queued=100.25, admitted=101.0, found=101.5, attempts=attempts)
    spans = finished(traced, record)
    assert tree(spans, None) == [
        Seen(
            "chat gemma",
            0,
            9,
            [
                Seen("queue", 0.25, 1, []),
                Seen("server", 1, 1.5, []),
                Seen("prefill", 1.5, 2, []),
                Seen("decode", 2, 5, []),
                Seen("repair", 5, 6, [Seen("prefill", 5, 5.5, []), Seen("decode", 5.5, 6, [])]),
                Seen("repair", 6, 8, [Seen("prefill", 6, 7, []), Seen("decode", 7, 8, [])]),
            ],
        )
    ]
    assert len({span.context.trace_id for span in spans if span.context}) == 1


def test_an_attempt_that_broke_off_says_so_where_it_did(traced: Traced) -> None:
    attempts = [attempt("answer", 1, None, 2, "silent"), attempt("answer", 2, 3, 4, "disconnected")]
    record = a_record(model="gemma", found=100.5, attempts=attempts, ended=4.0)
    record.fail(UpstreamSilent("nothing came"))
    (root,) = tree(finished(traced, record), None)
    assert root == Seen(
        "chat gemma",
        0,
        4,
        [
            Seen("prefill", 1, 2, [], "silent"),
            Seen("prefill", 2, 3, []),
            Seen("decode", 3, 4, [], "disconnected"),
        ],
        UpstreamSilent("").kind,
    )


def test_what_the_client_got_wrong_is_no_error_of_ours(traced: Traced) -> None:
    record = a_record(ended=0.5)
    record.fail(InvalidRequest("messages is missing"))
    (span,) = finished(traced, record)
    assert tree((span,), None) == [Seen("chat", 0, 0.5, [])]
    assert (span.attributes or {})["error.type"] == InvalidRequest("").kind


def test_a_client_that_left_the_queue_has_waited_until_then(traced: Traced) -> None:
    (root,) = tree(finished(traced, a_record(queued=100.0, ended=2.0)), None)
    assert root.below == [Seen("queue", 0, 2, [])]


def test_a_server_that_never_came_is_what_went_wrong(traced: Traced) -> None:
    record = a_record(queued=100.0, admitted=100.0, attempts=[attempt("answer", 0, None, 9, "not_ready")])
    record.fail(NotReady("it does not start"))
    (root,) = tree(finished(traced, record), None)
    assert root.below == [Seen("queue", 0, 0, []), Seen("server", 0, 9, [], NotReady("").kind)]


def test_attributes_are_those_of_the_conventions_and_hold_nothing_that_was_said(traced: Traced) -> None:
    record = a_record(
        id="req_1",
        dialect="openai",
        stream=True,
        tools=True,
        choices=2,
        thinking=Thinking(budget=100),
        model="gemma",
        first_piece=101.5,
        usage=Usage(20, 10, 8, 4),
        failures=["malformed"],
    )
    record.calls.outcomes[Outcome.REPAIRED] += 1
    record.succeed()
    (span,) = finished(traced, record)
    assert span.kind is SpanKind.SERVER
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "warmgate",
        "gen_ai.request.model": "gemma",
        "gen_ai.response.model": "gemma",
        "gen_ai.request.stream": True,
        "gen_ai.request.choice.count": 2,
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.usage.reasoning.output_tokens": 4,
        "gen_ai.response.time_to_first_chunk": 1.5,
        "http.response.status_code": 200,
        "warmgate.request.id": "req_1",
        "warmgate.dialect": "openai",
        "warmgate.route": "chat_completions",
        "warmgate.key": "laptop",
        "warmgate.outcome": "ok",
        "warmgate.tools": True,
        "warmgate.images": 0,
        "warmgate.thinking": True,
        "warmgate.thinking.budget_hit": False,
        "warmgate.backend_sampling": False,
        "warmgate.tool_calls.repaired": 1,
        "warmgate.upstream.failures": ("malformed",),
    }


@pytest.mark.parametrize(("route", "name"), [("completions", "text_completion m"), ("embeddings", "embeddings m")])
def test_the_operation_is_the_routes(traced: Traced, route: str, name: str) -> None:
    (span,) = finished(traced, a_record(route=route, model="m"))
    assert span.name == name


# -- whose trace it is


def test_it_goes_on_in_the_clients_trace_and_llama_server_is_told_of_our_span(traced: Traced) -> None:
    passed_on = traced[0].go_on(str(CALLER))
    (span,) = finished(traced, a_record(traceparent=str(CALLER), passed_on=passed_on))
    assert span.context is not None
    assert span.parent is not None
    assert (span.parent.trace_id, span.parent.span_id) == (CALLER.trace_id, CALLER.span_id)
    assert TraceContext(span.context.trace_id, span.context.span_id) == TraceContext.parse(passed_on)


def test_without_a_clients_trace_it_begins_one(traced: Traced) -> None:
    passed_on = traced[0].go_on("nonsense")
    (span,) = finished(traced, a_record(traceparent="nonsense", passed_on=passed_on))
    assert span.context is not None
    assert span.parent is None
    assert TraceContext(span.context.trace_id, span.context.span_id) == TraceContext.parse(passed_on)


def test_a_trace_that_nobody_keeps_is_not_sent(traced: Traced) -> None:
    caller = TraceContext(1, 2, flags=0)
    passed_on = traced[0].go_on(str(caller))
    assert finished(traced, a_record(traceparent=str(caller), passed_on=passed_on, queued=100.0)) == ()
    assert passed_on.endswith("-00")


def test_who_has_no_key_of_ours_makes_no_spans(traced: Traced) -> None:
    assert finished(traced, a_record(key="", traceparent=str(CALLER))) == ()


def test_before_it_is_started_it_makes_nothing() -> None:
    Tracing().finished(a_record(queued=100.0, attempts=[attempt("answer", 1, 2, 3)]))
