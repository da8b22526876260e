"""When things are opened: a snapshot may be taken in between, and it can hold neither a thread of ours nor a socket."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import psutil
import pytest
from collector import attributes, collecting
from conftest import clean_environment
from prometheus_client import CollectorRegistry, Counter

from app.settings import Settings
from app.telemetry.otlp import resource
from app.telemetry.telemetry import Telemetry
from gateway.observation.record import RequestRecord


def settings(url: str, **fields: Any) -> Settings:
    return Settings(traces=True, push_metrics="otlp", otlp_endpoint=url, push_seconds=3600, **fields)


def opened() -> tuple[int, int]:
    """Return how many threads and network connections this process has."""
    return threading.active_count(), len(psutil.Process(os.getpid()).net_connections())


def test_nothing_is_open_before_the_start_and_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    counter = Counter("things", "Things.", registry=registry)
    with collecting() as collector:
        before = opened()
        telemetry = Telemetry(settings(collector.url))
        assert opened() == before
        monkeypatch.setenv("MODAL_TASK_ID", "ta-restored")  # as after a restore
        telemetry.start(registry)
        assert threading.active_count() > before[0]
        counter.inc(5)
        (tracing,) = telemetry.observers
        tracing.finished(RequestRecord(key="laptop", route="chat_completions", passed_on=telemetry.trace(None)))
        telemetry.stop()
        collector.wait_until(lambda: bool(collector.spans) and len(collector.resource_metrics) == 2)
    assert threading.active_count() <= before[0]
    last = collector.resource_metrics[-1]
    assert attributes(list(last.resource.attributes))["service.instance.id"] == "ta-restored"
    assert last.scope_metrics[0].metrics[0].sum.data_points[0].as_double == 5


def test_opentelemetrys_own_variables_say_who_we_are_if_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resource("here").attributes["service.name"] == "warmgate"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "assistant")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    told = resource("here").attributes
    assert [told[name] for name in ("service.name", "service.instance.id", "deployment.environment.name")] == [
        "assistant",
        "here",
        "test",
    ]


@pytest.mark.parametrize("setting", ["traces=True", "push_metrics='otlp'"])
def test_without_the_extra_it_says_what_to_install(setting: str) -> None:
    program = (
        "import sys; sys.modules['opentelemetry.sdk'] = None;"
        "from app.telemetry.telemetry import Telemetry; from app.settings import Settings;"
        f"Telemetry(Settings({setting}))"
    )
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, env=clean_environment(), capture_output=True, text=True, check=False)
    assert "needs OpenTelemetry: pip install 'warmgate[otel]'" in done.stderr
