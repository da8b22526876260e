"""The Prometheus registry in OpenTelemetry's words, and pushed as such.

Names and labels stay as they are, so the same dashboards work: Prometheus' own translation puts back the `_total` of a
counter, and finds a unit's word at the end of a name already there.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from app.telemetry.identity import SERVICE
from app.telemetry.otlp import resource, signal_url
from gateway.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.sdk.resources import Resource
    from prometheus_client import Metric as Family
    from prometheus_client.registry import Collector
    from prometheus_client.samples import Sample

UNITS: Final = {"seconds": "s", "bytes": "By"}
"""What a name ends with, and the unit in UCUM, as OpenTelemetry has it."""

CUMULATIVE: Final = AggregationTemporality.CUMULATIVE


def pusher(endpoint: str | None, registry: Collector, container: str) -> Callable[[], None]:
    """Return a function that sends everything once. What goes wrong is logged by the exporter.

    Args:
        endpoint: The collector's base URL, or None for what OpenTelemetry's own variables say.
        registry: What is pushed.
        container: Who pushes it.
    """
    exporter = OTLPMetricExporter(endpoint=signal_url(endpoint, "metrics"))
    sender = resource(container)
    began = time.time_ns()

    def push() -> None:
        exporter.export(metrics_data(registry.collect(), sender, began, time.time_ns()))

    return push


def metrics_data(families: Iterable[Family], sender: Resource, began: int, now: int) -> MetricsData:
    """Return Prometheus' families as OpenTelemetry's metrics.

    Args:
        families: What a registry collects.
        sender: Whose they are.
        began: Since when they are counted, in nanoseconds of Unix time.
        now: When they were read.
    """
    metrics = [_metric(family, began, now) for family in families]
    scope = ScopeMetrics(InstrumentationScope(SERVICE, VERSION), metrics, schema_url="")
    return MetricsData([ResourceMetrics(sender, [scope], schema_url="")])


def _metric(family: Family, began: int, now: int) -> Metric:
    name = f"{family.name}_info" if family.type == "info" else family.name
    return Metric(name, family.documentation, UNITS.get(name.rpartition("_")[2]), _data(family, began, now))


def _data(family: Family, began: int, now: int) -> Sum | Gauge | Histogram:
    match family.type:
        case "counter":
            counts = [sample for sample in family.samples if sample.name.endswith("_total")]
            return Sum(_numbers(counts, began, now), CUMULATIVE, is_monotonic=True)
        case "histogram":
            return Histogram(_histograms(family.samples, began, now), CUMULATIVE)
        case _:
            return Gauge(_numbers(family.samples, began, now))


def _numbers(samples: Iterable[Sample], began: int, now: int) -> list[NumberDataPoint]:
    return [NumberDataPoint(sample.labels, began, now, sample.value) for sample in samples]


def _histograms(samples: Iterable[Sample], began: int, now: int) -> list[HistogramDataPoint]:
    of_labels: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        of_labels.setdefault(labels, []).append(sample)
    return [_histogram(dict(labels), samples, began, now) for labels, samples in of_labels.items()]


def _histogram(labels: dict[str, str], samples: list[Sample], began: int, now: int) -> HistogramDataPoint:
    """Return one histogram. Prometheus' buckets hold all that is smaller, OpenTelemetry's only their own."""
    buckets = [sample for sample in samples if "le" in sample.labels]
    up_to = [int(sample.value) for sample in buckets]
    return HistogramDataPoint(
        attributes=labels,
        start_time_unix_nano=began,
        time_unix_nano=now,
        count=up_to[-1],
        sum=next(sample.value for sample in samples if sample.name.endswith("_sum")),
        bucket_counts=[more - less for less, more in itertools.pairwise([0, *up_to])],
        explicit_bounds=[float(sample.labels["le"]) for sample in buckets[:-1]],
        min=None,  # type: ignore[arg-type]  # optional in the protocol, and nobody kept them
        max=None,  # type: ignore[arg-type]
    )
