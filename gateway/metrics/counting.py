"""Ended requests, counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from gateway.errors import Unauthorized
from gateway.observation.summary import seconds_by_part, tokens_by_kind

if TYPE_CHECKING:
    from prometheus_client.metrics import MetricWrapperBase

    from gateway.metrics.series import Series
    from gateway.observation.record import RequestRecord

Metric = TypeVar("Metric", bound="MetricWrapperBase")

GATE: Final = "gate"
"""The route of what was turned away before it had one."""

LONGEST_EXEMPLAR: Final = 100
"""OpenMetrics allows 128 characters for an exemplar's names and values together."""


class Counting:
    """Counts each request once, when it has ended."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self._children: dict[tuple[object, ...], Any] = {}

    def _of(self, metric: Metric, *labels: str) -> Metric:
        """Return a metric's child. The library takes a lock and longer for it, and a request needs a dozen."""
        child: Metric | None = self._children.get((metric, *labels))
        if child is None:
            child = self._children[metric, *labels] = metric.labels(*labels)
        return child

    def finished(self, record: RequestRecord) -> None:
        """Count a request."""
        series = self._series
        labels = (record.dialect, record.route or GATE, record.key, record.model, record.outcome)
        self._of(series.requests, *labels).inc()
        if isinstance(record.error, Unauthorized):
            self._of(series.auth_failures, record.error.reason).inc()
        for kind in record.failures:
            self._of(series.upstream_errors, kind).inc()
        if record.key:  # times of those who may not come in say nothing of us
            self._count_times(record)
            self._count_tokens(record)
            self._count_calls(record)

    def _count_times(self, record: RequestRecord) -> None:
        exemplar = _exemplar(record)
        for part, seconds in seconds_by_part(record).items():
            self._of(self._series.seconds[part], record.route, record.model).observe(seconds, exemplar)

    def _count_tokens(self, record: RequestRecord) -> None:
        series = self._series
        if record.begun is None:
            return
        for kind, tokens in tokens_by_kind(record).items():
            self._of(series.tokens, record.key, record.model, kind).inc(tokens)
        if record.thinking is not None:
            self._of(series.thinking, record.model, "on" if record.thinking.enabled else "off").inc()
            self._of(series.budget_hits, record.model).inc(record.budget_hit)
            self._of(series.backend_sampling, record.model).inc(record.backend_sampling)

    def _count_calls(self, record: RequestRecord) -> None:
        series, report, labels = self._series, record.calls, (record.route, record.model)
        for outcome, count in report.outcomes.items():
            self._of(series.tool_calls, *labels, outcome.value).inc(count)
        for rule, count in report.rules.items():
            self._of(series.tool_call_rules, rule.value).inc(count)
        if report.asked_again:
            self._of(series.tool_call_repairs, *labels).inc(report.asked_again)
        if report.outcomes.total():
            self._of(series.tool_call_attempts, *labels).observe(1 + report.asked_again)


def _exemplar(record: RequestRecord) -> dict[str, str] | None:
    """Return what leads from a bucket to a request: its trace, or else its id where that is not too long."""
    if record.passed_on is not None:
        return {"trace_id": record.passed_on.split("-")[1]}
    return {"request_id": record.id} if len(record.id) <= LONGEST_EXEMPLAR else None
