"""Ended requests, counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import Unauthorized

if TYPE_CHECKING:
    from prometheus_client import Histogram

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
        series, exemplar = self._series, _exemplar(record)

        def observe(histogram: Histogram, since: float | None, until: float | None) -> None:
            if since is not None and until is not None:
                histogram.labels(record.route, record.model).observe(until - since, exemplar)

        observe(series.queue_time, record.queued, record.admitted)
        observe(series.server_wait, record.admitted, record.found)
        if record.attempts:
            observe(series.prefill, record.attempts[0].sent, record.attempts[0].first_piece)
        observe(series.first_token, record.started, record.first_piece)
        observe(series.duration, record.started, record.ended)

    def _count_tokens(self, record: RequestRecord) -> None:
        series, usage, repair = self._series, record.usage, record.calls.tokens
        if record.begun is None:
            return
        kinds = {
            "prompt": usage.prompt_tokens,
            "cached": usage.cached_tokens,
            "thought": usage.reasoning_tokens,
            "answer": max(0, usage.completion_tokens - usage.reasoning_tokens - repair),
            "repair": repair,
        }
        for kind, tokens in kinds.items():
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
