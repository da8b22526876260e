from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from fake_upstream import FakeUpstream, scenario, until

from gateway.readiness import Report
from gateway.upstream import probe
from gateway.upstream.probe import ProbedReadiness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LOADING = (503, {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}})
OK = (200, {"status": "ok"})


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "READY_POLL_SECONDS", 0.001)
    monkeypatch.setattr(probe, "UNREADY_POLL_SECONDS", 0.001)


@contextlib.asynccontextmanager
async def probing(upstream: FakeUpstream) -> AsyncIterator[ProbedReadiness]:
    readiness = ProbedReadiness(upstream.target)
    task = asyncio.create_task(readiness.run())
    try:
        yield readiness
    finally:
        task.cancel()
        await asyncio.wait({task})


@scenario
async def test_before_the_first_answer_nothing_is_known() -> None:
    async with FakeUpstream().listening() as upstream:
        assert ProbedReadiness(upstream.target).report() == Report(state="unknown", ready=False)


@scenario
async def test_a_server_that_answers_is_ready() -> None:
    async with FakeUpstream().listening() as upstream, probing(upstream) as readiness:
        expected = Report(state="ready", ready=True, generation=1, detail={"upstream": str(upstream.target)})
        assert await readiness.wait_ready() == expected
        assert readiness.report() == expected


@scenario
async def test_those_who_wait_are_woken_when_it_has_loaded() -> None:
    async with FakeUpstream(control={"/health": LOADING}).listening() as upstream, probing(upstream) as readiness:
        waiting = [asyncio.create_task(readiness.wait_ready()) for _ in range(3)]
        await until(lambda: readiness.report().state == "loading")
        assert not readiness.report().ready
        assert not any(wait.done() for wait in waiting)
        upstream.control["/health"] = OK
        assert [report.ready for report in await asyncio.gather(*waiting)] == [True] * 3


@scenario
async def test_a_server_that_went_and_came_back_is_another_generation(tmp_path: Path) -> None:
    upstream = FakeUpstream(tmp_path / "s")
    async with upstream.listening(), probing(upstream) as readiness:
        assert (await readiness.wait_ready()).generation == 1
        upstream.control["/health"] = LOADING
        await until(lambda: readiness.report().state == "loading")
        upstream.control["/health"] = OK
        assert (await readiness.wait_ready()).generation == 2


@scenario
async def test_a_server_that_cannot_be_reached_is_told_apart_and_waited_for(tmp_path: Path) -> None:
    upstream = FakeUpstream(tmp_path / "s")
    async with upstream.listening():
        pass
    async with probing(upstream) as readiness:
        await until(lambda: readiness.report().state == "unreachable")
        assert not readiness.report().final
        async with upstream.listening():
            assert (await readiness.wait_ready()).state == "ready"


@scenario
async def test_as_long_as_nothing_changes_the_reading_is_the_same_object() -> None:
    async with FakeUpstream().listening() as upstream, probing(upstream) as readiness:
        report = await readiness.wait_ready()
        asked = len(upstream.asked)
        await until(lambda: len(upstream.asked) > asked + 3)
        assert readiness.report() is report
