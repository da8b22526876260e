"""OpenTelemetry's spans of a request, made of its record when it has ended.

    chat MODEL                    the request, below the client's span
    ├── queue                     from asking for a slot to having one
    ├── server                    from there to a server that is ready, which may have to start for it
    ├── prefill, decode           the answer, to its first piece and from there; once more for each attempt
    └── repair                    a tool call that was asked for again
        └── prefill, decode

Whoever has no key of ours makes no spans. Attributes are those of the GenAI conventions, which are still in
development, where they have one; no prompt, no answer and no key is among them:
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan, NoOpTracer, SpanContext, SpanKind, StatusCode, TraceFlags

from gateway.observation.trace_context import TraceContext

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer
    from opentelemetry.util.types import AttributeValue

    from gateway.observation.record import AttemptRecord, RequestRecord

    Attributes = dict[str, AttributeValue]

PROVIDER: Final = "warmgate"
OPERATIONS: Final = {"completions": "text_completion", "embeddings": "embeddings", "count_tokens": "count_tokens"}
"""The convention's word for what a route does, where it is not `chat`."""

SERVER_ERROR: Final = 500


class Tracing:
    """Makes the spans. Without a tracer it makes none.

    Attributes:
        tracer: OpenTelemetry's, whose provider takes its ids from `ids`.
        ids: Where spans get their ids from.
    """

    def __init__(self) -> None:
        self.tracer: Tracer = NoOpTracer()
        self.ids = ChosenIds()

    def go_on(self, traceparent: str | None) -> str:
        """Return the `traceparent` under which a request goes on, and choose its span's id with it."""
        caller = TraceContext.parse(traceparent)
        return str(caller.child() if caller is not None else TraceContext.made())

    def finished(self, record: RequestRecord) -> None:
        """Make a request's spans."""
        if not record.key:
            return
        caller = TraceContext.parse(record.traceparent)
        self.ids.choose(TraceContext.parse(record.passed_on))
        root = self.tracer.start_span(
            _name(record), _below(caller), SpanKind.SERVER, dict(_attributes(record)), start_time=record.started_ns
        )
        if record.error is not None:
            root.set_attribute("error.type", record.error.kind)
            if record.status >= SERVER_ERROR:
                root.set_status(StatusCode.ERROR)  # without the message: it may quote what the model wrote
        below = trace.set_span_in_context(root)
        ended = record.ended or record.started
        if record.queued is not None:
            self._span(record, below, "queue", record.queued, record.admitted or ended)
        if record.admitted is not None:
            missed = record.error.kind if record.error is not None and record.found is None else None
            self._span(record, below, "server", record.admitted, record.found or ended, missed)
        for attempt in record.attempts if record.found is not None else ():
            self._attempt(record, attempt, below, attempt.ended or ended)
        root.end(record.unix_ns(ended))

    def _attempt(self, record: RequestRecord, attempt: AttemptRecord, below: Context, ended: float) -> None:
        if attempt.kind != "answer":
            attributes: Attributes = {"warmgate.repair.kind": attempt.kind}
            below = self._span(record, below, "repair", attempt.sent, ended, attempt.error, attributes)
        first = attempt.first_piece
        sent = max(attempt.sent, record.found or attempt.sent)
        self._span(record, below, "prefill", sent, first or ended, None if first else attempt.error)
        if first is not None:
            self._span(record, below, "decode", first, ended, attempt.error)

    def _span(
        self,
        record: RequestRecord,
        below: Context,
        name: str,
        began: float,
        ended: float,
        error: str | None = None,
        attributes: Attributes | None = None,
    ) -> Context:
        """Make a span of a part of the request. Returns where its own parts belong."""
        span = self.tracer.start_span(name, below, attributes=attributes, start_time=record.unix_ns(began))
        if error is not None:
            span.set_attribute("error.type", error)
            span.set_status(StatusCode.ERROR)
        span.end(record.unix_ns(ended))
        return trace.set_span_in_context(span, below)


class ChosenIds(IdGenerator):
    """Gives a request's span the ids that were chosen when it began, and every other span new ones."""

    def __init__(self) -> None:
        self._chosen: TraceContext | None = None

    def choose(self, context: TraceContext | None) -> None:
        """Choose the ids of the span that is made next."""
        self._chosen = context

    def generate_trace_id(self) -> int:
        """Return the chosen trace, or a new one. It is asked for before the span's id, and only without a parent."""
        return (self._chosen or TraceContext.made()).trace_id

    def generate_span_id(self) -> int:
        """Return the chosen id once, and then new ones."""
        chosen, self._chosen = self._chosen, None
        return (chosen or TraceContext.made()).span_id


def _below(caller: TraceContext | None) -> Context:
    """Return the context of a span that somebody else made, or of none."""
    if caller is None:
        return trace.set_span_in_context(trace.INVALID_SPAN)
    flags = TraceFlags(caller.flags)
    return trace.set_span_in_context(
        NonRecordingSpan(SpanContext(caller.trace_id, caller.span_id, is_remote=True, trace_flags=flags))
    )


def _operation(record: RequestRecord) -> str:
    return OPERATIONS.get(record.route, "chat")


def _name(record: RequestRecord) -> str:
    return f"{_operation(record)} {record.model}".rstrip()


def _attributes(record: RequestRecord) -> Iterator[tuple[str, AttributeValue]]:
    yield "gen_ai.operation.name", _operation(record)
    yield "gen_ai.provider.name", PROVIDER
    if record.model:
        yield "gen_ai.request.model", record.model
        yield "gen_ai.response.model", record.model
    yield "gen_ai.request.stream", record.stream
    if record.choices != 1:
        yield "gen_ai.request.choice.count", record.choices
    yield "gen_ai.usage.input_tokens", record.usage.prompt_tokens
    yield "gen_ai.usage.cache_read.input_tokens", record.usage.cached_tokens
    yield "gen_ai.usage.output_tokens", record.usage.completion_tokens
    yield "gen_ai.usage.reasoning.output_tokens", record.usage.reasoning_tokens
    if record.first_piece is not None:
        yield "gen_ai.response.time_to_first_chunk", record.first_piece - record.started
    yield "http.response.status_code", record.status
    yield from _our_attributes(record)


def _our_attributes(record: RequestRecord) -> Iterator[tuple[str, AttributeValue]]:
    yield "warmgate.request.id", record.id
    yield "warmgate.dialect", record.dialect
    yield "warmgate.route", record.route
    yield "warmgate.key", record.key
    yield "warmgate.outcome", record.outcome
    yield "warmgate.tools", record.tools
    yield "warmgate.images", record.images
    if record.thinking is not None:
        yield "warmgate.thinking", record.thinking.enabled
        yield "warmgate.thinking.budget_hit", record.budget_hit
        yield "warmgate.backend_sampling", record.backend_sampling
    for outcome, count in record.calls.outcomes.items():
        yield f"warmgate.tool_calls.{outcome}", count
    if record.failures:
        yield "warmgate.upstream.failures", record.failures
