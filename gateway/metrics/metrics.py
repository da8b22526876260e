"""One gateway's series, all together."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import ALLOWUTF8

from gateway.metrics.counting import Counting
from gateway.metrics.series import Series

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.metrics.state import State
    from gateway.observation.record import RequestRecord

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each one, which nobody reads


class Metrics:
    """Counts ended requests, and says what has been counted.

    Attributes:
        registry: Every series.
    """

    def __init__(self, state: State) -> None:
        self.registry = CollectorRegistry()
        self._series = Series(self.registry)
        self._counting = Counting(self._series)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(state)

    def inter_token(self, route: str, model: str) -> Callable[[float], None]:
        """Return what takes the seconds between two pieces of an answer."""
        return self._series.inter_token.labels(route, model).observe

    def finished(self, record: RequestRecord) -> None:
        """Count a request."""
        self._counting.finished(record)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return everything, and its content type: OpenMetrics where `accept` asks for it, else Prometheus' text."""
        encode, content_type = choose_encoder(accept)
        if isinstance(encode, functools.partial):  # OpenMetrics: prometheus-client 0.26 escapes colons, which are valid
            encode = functools.partial(encode, escaping=ALLOWUTF8)  # and no other name of ours needs it
        return encode(self.registry), content_type
