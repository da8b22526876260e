"""Every series that we export. Names, help, labels and buckets are here and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client import Metric

    from gateway.admission import Admission
    from gateway.events import Usage
    from gateway.observation.record import RequestRecord
    from gateway.readiness import Readiness
    from gateway.toolcalls.guard import CallReport
    from gateway.upstream.scrape import UpstreamMetrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each one, which nobody reads

# seconds
FIRST_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
INTER_TOKEN_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5)
REQUEST_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Metrics:
    """One gateway's registry and the series in it."""

    def __init__(self, readiness: Readiness, admission: Admission, upstream: UpstreamMetrics) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "warmgate_requests",
            "Requests by route and by how they ended: ok, invalid, unauthorized, overloaded, not_ready, "
            "upstream_error, tool_call_invalid, cancelled (the client left) or error.",
            ["route", "outcome"],
            registry=self.registry,
        )
        self.first_token = Histogram(
            "warmgate_time_to_first_token_seconds",
            "From the request's arrival to the first piece of thought, text or tool call.",
            ["route"],
            buckets=FIRST_TOKEN_BUCKETS,
            registry=self.registry,
        )
        self._inter_token = Histogram(
            "warmgate_inter_token_latency_seconds",
            "Between two pieces of one answer.",
            ["route"],
            buckets=INTER_TOKEN_BUCKETS,
            registry=self.registry,
        )
        self.duration = Histogram(
            "warmgate_request_duration_seconds",
            "From the request's arrival to the answer's end.",
            ["route"],
            buckets=REQUEST_BUCKETS,
            registry=self.registry,
        )
        self.tokens = Counter(
            "warmgate_tokens",
            "Tokens by kind: prompt (all of the prompt), cached (that part of it that was not computed again), "
            "completion (thought and answer), reasoning (the thought alone) and repair (for calls that were asked for "
            "again, also part of completion).",
            ["kind"],
            registry=self.registry,
        )
        self.tool_calls = Counter(
            "warmgate_tool_calls",
            "Tool calls by what became of them: valid, normalized (put right without loss), repaired (the model was "
            "asked again), invalid (passed on because only a report was wanted) or refused.",
            ["route", "outcome"],
            registry=self.registry,
        )
        self.tool_call_rules = Counter(
            "warmgate_tool_call_normalizations",
            "What was put right in tool calls.",
            ["rule"],
            registry=self.registry,
        )
        self.tool_call_repairs = Counter(
            "warmgate_tool_call_repairs",
            "How often the model was asked again for a tool call.",
            ["route"],
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(_State(readiness, admission, upstream))

    def inter_token(self, route: str, model: str) -> Callable[[float], None]:
        """Return what takes the seconds between two pieces of an answer."""
        del model
        return self._inter_token.labels(route).observe

    def finished(self, record: RequestRecord) -> None:
        """Count a request."""
        assert record.ended is not None  # noqa: S101 -- that is why we are told
        route = record.route
        self.requests.labels(route or "gate", record.outcome).inc()
        if not record.key:
            return
        self.duration.labels(route).observe(record.ended - record.started)
        if record.first_piece is not None:
            self.first_token.labels(route).observe(record.first_piece - record.started)
        self._count_tokens(record.usage)
        self._count_calls(route, record.calls)

    def _count_tokens(self, usage: Usage) -> None:
        self.tokens.labels("prompt").inc(usage.prompt_tokens)
        self.tokens.labels("cached").inc(usage.cached_tokens)
        self.tokens.labels("completion").inc(usage.completion_tokens)
        self.tokens.labels("reasoning").inc(usage.reasoning_tokens)

    def _count_calls(self, route: str, report: CallReport) -> None:
        for outcome, count in report.outcomes.items():
            self.tool_calls.labels(route, outcome.value).inc(count)
        for rule, count in report.rules.items():
            self.tool_call_rules.labels(rule.value).inc(count)
        if report.asked_again:
            self.tool_call_repairs.labels(route).inc(report.asked_again)
            self.tokens.labels("repair").inc(report.tokens)

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


class _State(Collector):
    """What is read when somebody asks: queue, server state, and llama-server's own series as last scraped."""

    def __init__(self, readiness: Readiness, admission: Admission, upstream: UpstreamMetrics) -> None:
        self._readiness = readiness
        self._admission = admission
        self._upstream = upstream

    def describe(self) -> Iterable[Metric]:
        """Declare nothing up front, so that registering does not call `collect`."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the present values."""
        report = self._readiness.report()
        state = GaugeMetricFamily(
            "warmgate_server_state", "1 for the state that the model server is in.", labels=["state"]
        )
        state.add_metric([report.state], 1)
        yield state
        yield GaugeMetricFamily("warmgate_server_ready", "1 while requests are answered.", int(report.ready))
        restarts = CounterMetricFamily(
            "warmgate_server_restarts", "How often the model server had to be started again.", labels=["reason"]
        )
        for reason, count in report.restarts.items():
            restarts.add_metric([reason], count)
        yield restarts
        yield GaugeMetricFamily("warmgate_requests_in_flight", "Requests that hold a slot.", self._admission.in_flight)
        yield GaugeMetricFamily("warmgate_requests_waiting", "Requests that wait for a slot.", self._admission.waiting)
        yield GaugeMetricFamily("warmgate_slots", "Slots of the model server.", self._admission.slots)
        age = self._upstream.age_seconds
        if age is not None:
            yield GaugeMetricFamily("warmgate_upstream_scrape_age_seconds", "Age of the llamacpp series below.", age)
            yield from self._upstream.families
