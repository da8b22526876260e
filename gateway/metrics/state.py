"""What is read when somebody asks: queue, server state, and llama-server's own series as last scraped.

Nothing here waits for anything: a scrape is answered at once, also while llama-server hangs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric

    from gateway.admission import Admission
    from gateway.readiness import Readiness
    from gateway.upstream.catalog import Catalog
    from gateway.upstream.scrape import UpstreamMetrics


class State(Collector):
    """Reads it."""

    def __init__(self, readiness: Readiness, admission: Admission, catalog: Catalog, upstream: UpstreamMetrics) -> None:
        self._readiness = readiness
        self._admission = admission
        self._catalog = catalog
        self._upstream = upstream

    def describe(self) -> Iterable[Metric]:
        """Declare nothing up front, so that registering does not call `collect`."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the present values."""
        yield from self._identity()
        yield from self._queue()
        yield from self._server()
        age = self._upstream.age_seconds
        if age is not None:
            yield _gauge("warmgate_upstream_scrape_age_seconds", "How long ago the llamacpp series were read.", age)
            yield from self._upstream.families

    def _identity(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("warmgate_build_info", "1; the labels say which build this is.", labels=["version"])
        build.add_metric([VERSION], 1)
        yield build
        if (model := self._catalog.known) is not None:
            info = GaugeMetricFamily(
                "warmgate_model_info",
                "1; the labels say which model is served, and which build of llama.cpp serves it.",
                labels=["model", "engine"],
            )
            info.add_metric([model.id, model.fingerprint], 1)
            yield info

    def _queue(self) -> Iterator[Metric]:
        admission = self._admission
        yield _gauge("warmgate_slots", "Slots of the model server.", admission.slots)
        yield _gauge("warmgate_requests_in_flight", "Requests that hold a slot.", admission.in_flight)
        yield _gauge("warmgate_requests_waiting", "Requests that wait for a slot.", admission.waiting)
        yield _gauge("warmgate_requests_waiting_limit", "How many may wait for a slot.", admission.max_waiting)

    def _server(self) -> Iterator[Metric]:
        report = self._readiness.report()
        state = GaugeMetricFamily(
            "warmgate_server_state", "1 for the state that the model server is in.", labels=["state"]
        )
        state.add_metric([report.state], 1)
        yield state
        yield _gauge("warmgate_server_ready", "1 while requests are answered.", int(report.ready))
        restarts = CounterMetricFamily(
            "warmgate_server_restarts", "How often the model server had to be started again.", labels=["reason"]
        )
        for reason, count in report.restarts.items():
            restarts.add_metric([reason], count)
        yield restarts
        phases = GaugeMetricFamily(
            "warmgate_server_start_phase_seconds",
            "What the present server's start took, by phase: a cold start from the weights, or one that was restored "
            "from a snapshot or unparked.",
            labels=["start", "phase"],
        )
        for phase, seconds in report.phases.items():
            phases.add_metric([report.start, phase], seconds)
        yield phases


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value)
