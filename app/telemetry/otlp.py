"""Where OpenTelemetry's exporters send to, and for whom."""

from __future__ import annotations

from opentelemetry.sdk.resources import (
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)

from app.telemetry.identity import SERVICE
from gateway.version import VERSION


def resource(container: str) -> Resource:
    """Return who sends. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` come first.

    Prometheus makes its labels `job` and `instance` of the service's name and instance.
    """
    ours = Resource({SERVICE_NAME: SERVICE, SERVICE_VERSION: VERSION, SERVICE_INSTANCE_ID: container})
    return Resource.create().merge(ours).merge(OTELResourceDetector().detect())


def signal_url(endpoint: str | None, signal: str) -> str | None:
    """Return where a signal (`traces`, `metrics`) goes, or None for what OpenTelemetry's own variables say.

    Args:
        endpoint: The collector's base URL, or None.
        signal: The last part of the path.
    """
    return None if endpoint is None else f"{endpoint.rstrip('/')}/v1/{signal}"
