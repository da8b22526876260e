"""An OpenTelemetry collector of the tests' own: takes what is sent over OTLP/HTTP and keeps it."""

from __future__ import annotations

import contextlib
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.proto.common.v1.common_pb2 import KeyValue
    from opentelemetry.proto.metrics.v1.metrics_pb2 import ResourceMetrics
    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

WAIT_SECONDS = 60


class Collector:
    """What was received so far.

    Attributes:
        url: What exporters are told.
        resource_spans, resource_metrics: As they came.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.resource_spans: list[ResourceSpans] = []
        self.resource_metrics: list[ResourceMetrics] = []
        self._arrived: queue.SimpleQueue[None] = queue.SimpleQueue()

    def take(self, path: str, body: bytes) -> None:
        """Keep what was sent to `path`."""
        match path:
            case "/v1/traces":
                self.resource_spans += ExportTraceServiceRequest.FromString(body).resource_spans
            case "/v1/metrics":
                self.resource_metrics += ExportMetricsServiceRequest.FromString(body).resource_metrics
            case _:
                raise AssertionError(f"nothing should be sent to {path}")
        self._arrived.put(None)

    @property
    def spans(self) -> list[Span]:
        return [span for sender in self.resource_spans for scope in sender.scope_spans for span in scope.spans]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until what has arrived fulfils a condition."""
        while not condition():
            self._arrived.get(timeout=WAIT_SECONDS)


def attributes(pairs: list[KeyValue]) -> dict[str, object]:
    """Return attributes as plain values; a list's as a list."""
    values: dict[str, object] = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        assert kind is not None
        value = getattr(pair.value, kind)
        values[pair.key] = [item.string_value for item in value.values] if kind == "array_value" else value
    return values


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.path, self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
