"""Ended requests, counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import Unauthorized
from gateway.observation.summary import seconds_by_part, tokens_by_kind

if TYPE_CHECKING:
    from gateway.metrics.series import Series
    from gateway.observation.record import RequestRecord

GATE: Final = "gate"
"""The route of what was turned away before it had one."""

LONGEST_EXEMPLAR: Final = 100
"""OpenMetrics allows 128 characters for an exemplar's names and values together."""


class Counting:
    """Counts each request once, when it has ended."""

    def __init__(self, series: Series) -> None:
        self._series = series

    def finished(self, record: RequestRecord) -> None:
        """Count a request."""
        series = self._series
        labels = (record.dialect, record.route or GATE, record.key, record.model, record.outcome)
        series.requests.labels(*labels).inc()
        if isinstance(record.error, Unauthorized):
            series.auth_failures.labels(record.error.reason).inc()
        for kind in record.failures:
            series.upstream_errors.labels(kind).inc()
        if record.key:  # times of those who may not come in say nothing of us
            self._count_times(record)
            self._count_tokens(record)
            self._count_calls(record)

    def _count_times(self, record: RequestRecord) -> None:
        exemplar = _exemplar(record)
        for part, seconds in seconds_by_part(record).items():
            self._series.seconds[part].labels(record.route, record.model).observe(seconds, exemplar)

    def _count_tokens(self, record: RequestRecord) -> None:
        series = self._series
        if record.begun is None:
            return
        for kind, tokens in tokens_by_kind(record).items():
            series.tokens.labels(record.key, record.model, kind).inc(tokens)
        if record.thinking is not None:
            series.thinking.labels(record.model, "on" if record.thinking.enabled else "off").inc()
            series.budget_hits.labels(record.model).inc(record.budget_hit)

    def _count_calls(self, record: RequestRecord) -> None:
        series, report, labels = self._series, record.calls, (record.route, record.model)
        for outcome, count in report.outcomes.items():
            series.tool_calls.labels(*labels, outcome.value).inc(count)
        for rule, count in report.rules.items():
            series.tool_call_rules.labels(rule.value).inc(count)
        if report.asked_again:
            series.tool_call_repairs.labels(*labels).inc(report.asked_again)
        if report.outcomes.total():
            series.tool_call_attempts.labels(*labels).observe(1 + report.asked_again)


def _exemplar(record: RequestRecord) -> dict[str, str] | None:
    """Return what leads from a bucket to a request: its trace, or else its id where that is not too long."""
    if record.passed_on is not None:
        return {"trace_id": record.passed_on.split("-")[1]}
    return {"request_id": record.id} if len(record.id) <= LONGEST_EXEMPLAR else None
