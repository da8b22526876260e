from __future__ import annotations

import queue
from http.client import BadStatusLine
from typing import TYPE_CHECKING

from app.telemetry.push_loop import PushLoop

if TYPE_CHECKING:
    import pytest

WAIT_SECONDS = 60


def test_it_pushes_at_once_and_a_last_time_when_it_is_stopped() -> None:
    pushed: queue.SimpleQueue[None] = queue.SimpleQueue()
    loop = PushLoop(lambda: pushed.put(None), 3600)
    pushed.get(timeout=WAIT_SECONDS)
    assert pushed.empty()
    loop.stop()
    assert pushed.qsize() == 1


def test_it_goes_on_through_an_outage_and_complains_of_each_once(caplog: pytest.LogCaptureFixture) -> None:
    outcomes = iter([OSError("nobody there"), BadStatusLine("nonsense"), None, ValueError("again"), None])
    over: queue.SimpleQueue[None] = queue.SimpleQueue()

    def push() -> None:
        outcome = next(outcomes, "over")
        if outcome == "over":
            over.put(None)
        elif isinstance(outcome, Exception):
            raise outcome

    loop = PushLoop(push, 0.001)
    over.get(timeout=WAIT_SECONDS)
    loop.stop()
    assert [record.getMessage() for record in caplog.records] == [
        "metrics cannot be pushed: nobody there",
        "metrics cannot be pushed: again",
    ]
