"""Every series that we export. Names, help, labels and buckets are here and nowhere else."""

from __future__ import annotations

import time
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

from gateway import events

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prometheus_client import Metric

    from gateway.admission import Admission
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
        self.inter_token = Histogram(
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

    def observe(self, route: str) -> Observation:
        """Begin the observation of one request."""
        return Observation(self, route)

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


class Observation:
    """The clock and the counts of one request."""

    def __init__(self, metrics: Metrics, route: str) -> None:
        self._metrics = metrics
        self._route = route
        self._began = time.perf_counter()
        self._last: float | None = None
        self._inter_token = metrics.inter_token.labels(route)

    def add(self, batch: Sequence[events.Event]) -> None:
        """Count a batch of events. Pieces that came together share the time since the last batch."""
        now = time.perf_counter()
        pieces = 0
        for event in batch:
            if isinstance(event, events.Usage):
                self._count_tokens(event)
            elif not isinstance(event, events.PromptRead | events.Finish):
                pieces += 1
        if not pieces:
            return
        if self._last is None:
            self._metrics.first_token.labels(self._route).observe(now - self._began)
        else:
            self._inter_token.observe((now - self._last) / pieces)
        self._last = now

    def count_calls(self, report: CallReport) -> None:
        """Count what became of one answer's tool calls."""
        metrics = self._metrics
        for outcome, count in report.outcomes.items():
            metrics.tool_calls.labels(self._route, outcome.value).inc(count)
        for rule, count in report.rules.items():
            metrics.tool_call_rules.labels(rule.value).inc(count)
        if report.asked_again:
            metrics.tool_call_repairs.labels(self._route).inc(report.asked_again)
            metrics.tokens.labels("repair").inc(report.tokens)

    def end(self, outcome: str) -> None:
        """Count the request itself."""
        self._metrics.requests.labels(self._route, outcome).inc()
        self._metrics.duration.labels(self._route).observe(time.perf_counter() - self._began)

    def _count_tokens(self, usage: events.Usage) -> None:
        tokens = self._metrics.tokens
        tokens.labels("prompt").inc(usage.prompt_tokens)
        tokens.labels("cached").inc(usage.cached_tokens)
        tokens.labels("completion").inc(usage.completion_tokens)
        tokens.labels("reasoning").inc(usage.reasoning_tokens)


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
