from __future__ import annotations

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, Counter, Info
from prometheus_client import Gauge as PrometheusGauge
from prometheus_client import Histogram as PrometheusHistogram

from app.telemetry.otlp_metrics import metrics_data

BEGAN, NOW = 1_000, 2_000


def translated(registry: CollectorRegistry) -> list[Metric]:
    (sender,) = metrics_data(registry.collect(), Resource({}), BEGAN, NOW).resource_metrics
    (scope,) = sender.scope_metrics
    return list(scope.metrics)


def test_a_counter_keeps_its_labels_and_leaves_its_ending_to_the_receiver() -> None:
    registry = CollectorRegistry()
    counter = Counter("tokens", "Tokens.", ["kind"], registry=registry)
    counter.labels("prompt").inc(7)
    counter.labels("cached").inc(3)
    points = [
        NumberDataPoint({"kind": "prompt"}, BEGAN, NOW, 7),
        NumberDataPoint({"kind": "cached"}, BEGAN, NOW, 3),
    ]
    assert translated(registry) == [
        Metric("tokens", "Tokens.", None, Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True))
    ]


def test_gauges_and_infos_are_gauges_and_a_name_tells_the_unit() -> None:
    registry = CollectorRegistry()
    PrometheusGauge("age_seconds", "Age.", registry=registry).set(1.5)
    PrometheusGauge("memory_bytes", "Memory.", registry=registry).set(4096)
    Info("build", "Build.", registry=registry).info({"version": "1"})
    assert translated(registry) == [
        Metric("age_seconds", "Age.", "s", Gauge([NumberDataPoint({}, BEGAN, NOW, 1.5)])),
        Metric("memory_bytes", "Memory.", "By", Gauge([NumberDataPoint({}, BEGAN, NOW, 4096)])),
        Metric("build_info", "Build.", None, Gauge([NumberDataPoint({"version": "1"}, BEGAN, NOW, 1)])),
    ]


def test_a_histograms_buckets_hold_only_their_own_and_each_set_of_labels_is_a_point() -> None:
    registry = CollectorRegistry()
    histogram = PrometheusHistogram("wait_seconds", "Wait.", ["route"], buckets=(1, 2), registry=registry)
    for seconds in (0.5, 1.0, 1.5, 9.0):
        histogram.labels("chat").observe(seconds)
    histogram.labels("embeddings").observe(2.0)

    def point(route: str, count: int, total: float, counts: list[int]) -> HistogramDataPoint:
        labels = {"route": route}
        return HistogramDataPoint(labels, BEGAN, NOW, count, total, counts, [1.0, 2.0], None, None)  # type: ignore[arg-type]

    points = [point("chat", 4, 12.0, [2, 1, 1]), point("embeddings", 1, 2.0, [0, 1, 0])]
    assert translated(registry) == [
        Metric("wait_seconds", "Wait.", "s", Histogram(points, AggregationTemporality.CUMULATIVE))
    ]
