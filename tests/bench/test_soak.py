"""The soak, in small: what it finds wrong, and that a gateway leaves nothing behind."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest
from bench.contenders import Stage
from bench.soak import Held, Tally, soak, verdict

from gateway.upstream.target import Target

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = Held(100, 60.0, 12, 5)


def test_what_is_left_behind_is_told() -> None:
    assert verdict(Tally(100, 12), [BEFORE, Held(200, 62.9, 12, 5)]) == []
    assert verdict(Tally(99, 12, 1), [BEFORE, Held(200, 63.1, 13, 6)]) == [
        "1 answers were lost.",
        "There are 13 descriptors instead of 12.",
        "There are 6 tasks instead of 5.",
        "Memory grew from 60.0 to 63.1 MiB.",
    ]


@pytest.mark.skipif(shutil.which("cc") is None, reason="the fast upstream is written in C")
def test_a_thousand_requests_lose_nothing_and_leave_no_task_and_no_descriptor(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    try:
        target = Target.parse(f"unix:{stage.upstream().socket}")
        tally, (before, after) = asyncio.run(soak(target, requests=1000, streams=16, looks=2))
    finally:
        stage.end()
    assert tally == Tally(answered=875, left=125, lost=0)
    assert (after.descriptors <= before.descriptors, after.tasks <= before.tasks) == (True, True)
