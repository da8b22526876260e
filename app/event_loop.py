"""The loop that everything asynchronous runs on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import uvloop

from app.failure import CommandFailure

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def run(work: Coroutine[object, object, T]) -> T:
    """Run `work` to its end and return what it returns.

    Raises:
        CommandFailure: It did, by itself or out of a task group.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(work)
        except* CommandFailure as group:
            raise group.exceptions[0] from None
