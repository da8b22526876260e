"""What is switched on, started and stopped."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from typing import TYPE_CHECKING, Final

from app.failure import CommandFailure
from app.telemetry import pushgateway
from app.telemetry.identity import container_name
from app.telemetry.push_loop import PushLoop
from gateway.observation.trace_context import as_it_came

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.registry import Collector

    from app.settings import Settings
    from gateway.observation.record import Observer
    from gateway.observation.tracing import Tracing

    MakePush = Callable[[Collector, str], Callable[[], None]]
    """Takes a registry and the container's name, returns what pushes once."""

FLUSH_SECONDS: Final = 3.0
"""So long may sending the last of it take: a dead collector must not hold up the end."""


class Telemetry:
    """Sends what the settings ask for, between `start` and `stop`.

    Attributes:
        observers: Who are to be told of ended requests.
        trace: Takes a client's `traceparent` and returns the one under which its request goes on.
    """

    def __init__(self, settings: Settings) -> None:
        """Import what is needed, and open nothing.

        Raises:
            CommandFailure: What is asked for is not installed, or it is not known where to send to.
        """
        self._push_seconds = settings.push_seconds
        self._make_push = _make_push(settings)
        self._tracing = _tracing() if settings.traces else None
        self.observers: tuple[Observer, ...] = () if self._tracing is None else (self._tracing,)
        self.trace: Callable[[str | None], str | None] = as_it_came if self._tracing is None else self._tracing.go_on
        self._otlp_endpoint = settings.otlp_endpoint
        self._stops: list[Callable[[], object]] = []

    def start(self, registry: Collector) -> None:
        """Begin to send: spans of requests that end from now on, and what is in `registry`."""
        container = container_name()
        if self._tracing is not None:
            from app.telemetry.otlp_traces import start_tracing  # noqa: PLC0415 -- imported already, if it is needed

            self._stops.append(start_tracing(self._tracing, self._otlp_endpoint, container))
        if self._make_push is not None:
            self._stops.append(PushLoop(self._make_push(registry, container), self._push_seconds).stop)

    def stop(self) -> None:
        """Send the last of it, within `FLUSH_SECONDS`."""
        threads = [threading.Thread(target=stop, daemon=True) for stop in self._stops]
        self._stops.clear()
        for thread in threads:
            thread.start()
        until = time.monotonic() + FLUSH_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    @contextlib.contextmanager
    def running(self, registry: Collector) -> Iterator[None]:
        """Send inside the context."""
        self.start(registry)
        try:
            yield
        finally:
            self.stop()


def _tracing() -> Tracing:
    with _explained("WARMGATE_TRACES"):
        from app.telemetry import otlp_traces  # noqa: F401, PLC0415 -- not where it is not asked for
        from gateway.observation.tracing import Tracing  # noqa: PLC0415
    return Tracing()


def _make_push(settings: Settings) -> MakePush | None:
    match settings.push_metrics:
        case "otlp":
            with _explained("WARMGATE_PUSH_METRICS"):
                from app.telemetry import otlp_metrics  # noqa: PLC0415 -- not where it is not asked for
            return functools.partial(otlp_metrics.pusher, settings.otlp_endpoint)
        case "pushgateway":
            if settings.pushgateway is None:
                raise CommandFailure("WARMGATE_PUSH_METRICS is pushgateway: set WARMGATE_PUSHGATEWAY to its URL.")
            return functools.partial(pushgateway.pusher, settings.pushgateway.get_secret_value())
        case "off":
            return None


@contextlib.contextmanager
def _explained(setting: str) -> Iterator[None]:
    try:
        yield
    except ImportError:
        raise CommandFailure(f"{setting} needs OpenTelemetry: pip install 'warmgate[otel]'.") from None
