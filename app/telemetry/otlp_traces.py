"""OpenTelemetry's SDK behind the gateway's tracing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from app.telemetry.identity import SERVICE
from app.telemetry.otlp import resource, signal_url
from gateway.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.observation.tracing import Tracing


def start_tracing(tracing: Tracing, endpoint: str | None, container: str) -> Callable[[], None]:
    """Send the gateway's spans from now on. Returns a function that sends the last of them.

    Args:
        tracing: Makes them.
        endpoint: The collector's base URL, or None for what OpenTelemetry's own variables say.
        container: Who sends them.
    """
    provider = TracerProvider(id_generator=tracing.ids, resource=resource(container), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=signal_url(endpoint, "traces"))))
    tracing.tracer = provider.get_tracer(SERVICE, VERSION)
    return provider.shutdown
