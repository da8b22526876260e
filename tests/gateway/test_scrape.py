from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from driving import FAILED, LOADING, READY, FakeReadiness
from fake_upstream import METRICS, FakeUpstream, scenario, until

from gateway.upstream.catalog import Catalog
from gateway.upstream.scrape import UpstreamMetrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def scraper(upstream: FakeUpstream, readiness: FakeReadiness, interval_seconds: float) -> UpstreamMetrics:
    catalog = Catalog(upstream.target, readiness)
    return UpstreamMetrics(upstream.target, readiness, catalog, interval_seconds, lambda: "container-1")


@contextlib.asynccontextmanager
async def scraping(upstream: FakeUpstream, readiness: FakeReadiness) -> AsyncIterator[UpstreamMetrics]:
    metrics = scraper(upstream, readiness, interval_seconds=0.001)
    task = asyncio.create_task(metrics.run())
    try:
        yield metrics
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


def values(metrics: UpstreamMetrics) -> dict[str, tuple[str, float]]:
    return {sample.name: (family.type, sample.value) for family in metrics.families for sample in family.samples}


@scenario
async def test_nothing_is_known_before_the_first_scrape() -> None:
    async with FakeUpstream().listening() as upstream:
        metrics = scraper(upstream, FakeReadiness(), interval_seconds=15)
        assert metrics.families == []
        assert metrics.age_seconds is None


@scenario
async def test_the_servers_series_are_kept_under_their_own_names() -> None:
    async with FakeUpstream().listening() as upstream, scraping(upstream, FakeReadiness()) as metrics:
        await until(lambda: metrics.age_seconds is not None)
        assert values(metrics) == {
            "llamacpp:prompt_tokens_total": ("counter", 75),
            "llamacpp:n_tokens_max": ("gauge", 55),
            "llamacpp:requests_processing": ("gauge", 1),
        }


@scenario
async def test_a_server_that_is_not_ready_is_not_asked() -> None:
    readiness = FakeReadiness(LOADING)
    async with FakeUpstream().listening() as upstream, scraping(upstream, readiness) as metrics:
        await until(lambda: readiness.waiting == 1)
        assert upstream.asked == []
        readiness.move(READY)
        await until(lambda: metrics.age_seconds is not None)


@scenario
async def test_a_server_that_has_failed_for_good_is_not_asked() -> None:
    readiness = FakeReadiness(FAILED)
    asked_for = 0
    waited = readiness.wait_ready

    async def counted() -> Any:
        nonlocal asked_for
        asked_for += 1
        return await waited()

    readiness.wait_ready = counted  # type: ignore[method-assign]
    async with FakeUpstream().listening() as upstream, scraping(upstream, readiness):
        await until(lambda: asked_for > 3)
        assert upstream.asked == []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, b"a{"),
        (200, b"# TYPE a nonsense\na 1\n"),
        (200, b"\xff\xfe\x00"),
        (200, b"llamacpp:x not-a-number\n"),
        (501, {"error": {"message": "no metrics", "type": "not_supported_error", "code": 501}}),
    ],
)
@scenario
async def test_after_a_scrape_that_failed_the_last_good_one_is_kept_and_the_next_one_counts(
    status: int, body: Any
) -> None:
    async with FakeUpstream().listening() as upstream, scraping(upstream, FakeReadiness()) as metrics:
        await until(lambda: metrics.age_seconds is not None)
        upstream.control["/metrics"] = (status, body)
        asked = len(upstream.asked)
        await until(lambda: len(upstream.asked) > asked + 2)
        assert values(metrics)["llamacpp:requests_processing"] == ("gauge", 1)
        upstream.control["/metrics"] = (200, METRICS.replace("processing 1", "processing 2").encode())
        await until(lambda: values(metrics)["llamacpp:requests_processing"] == ("gauge", 2))


@scenario
async def test_a_server_that_cannot_be_reached_is_asked_again_when_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "warmgate.gateway")
    upstream = FakeUpstream(tmp_path / "s")
    async with upstream.listening():
        pass
    async with scraping(upstream, FakeReadiness()) as metrics:
        await until(lambda: "could not be read: ConnectError" in caplog.text)
        assert metrics.age_seconds is None
        async with upstream.listening():
            await until(lambda: metrics.age_seconds is not None)
