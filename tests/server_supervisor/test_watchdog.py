"""When a server counts as hanging, and when it is left in peace."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

import pytest
from supervising import run

from server_supervisor.watchdog import SHORTEST_INTERVAL_SECONDS, interval_for, until_wedged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

LIMIT = 0.05
INTERVAL = 0.005
LOOKS = 50  # more than fit into the limit


class Requests:
    """What is under way; `last_progress` is now for as long as tokens flow."""

    def __init__(self, in_flight: int, *, flowing: bool = False) -> None:
        self.in_flight = in_flight
        self._flowing = flowing

    @property
    def last_progress(self) -> float:
        return time.monotonic() if self._flowing else 0.0


class Enough(Exception):
    """The watchdog has looked often enough for the test."""


def looking(positions: Iterator[list[object] | None]) -> Callable[[], Awaitable[list[object] | None]]:
    async def look() -> list[object] | None:
        for position in positions:
            return position
        raise Enough

    return look


def watch(requests: Requests, positions: Iterator[list[object] | None]) -> str:
    return run(until_wedged(requests, looking(positions), LIMIT, INTERVAL))


def test_slots_that_stand_still_are_a_server_that_hangs() -> None:
    evidence = watch(Requests(2), itertools.repeat([7]))
    assert evidence.startswith("no token for ")
    assert evidence.endswith(" with 2 requests in flight, and its slots stand still")


def test_a_main_loop_that_does_not_answer_is_a_server_that_hangs() -> None:
    assert watch(Requests(1), itertools.repeat(None)).endswith("and it does not answer")


def test_a_long_prompt_that_advances_is_a_server_at_work() -> None:
    with pytest.raises(Enough):
        watch(Requests(1), iter([number] for number in range(LOOKS)))


def test_a_single_answer_in_time_is_enough() -> None:
    with pytest.raises(Enough):
        watch(Requests(1), itertools.chain.from_iterable((None, [number]) for number in range(LOOKS)))


def test_a_server_with_nothing_to_compute_waits_for_its_clients() -> None:
    with pytest.raises(Enough):
        watch(Requests(1), itertools.repeat([], LOOKS))


@pytest.mark.parametrize("requests", [Requests(0), Requests(1, flowing=True)], ids=["idle", "tokens flow"])
def test_a_server_that_is_idle_or_answers_is_not_even_asked(requests: Requests) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2 * LIMIT):
                await until_wedged(requests, looking(iter(())), LIMIT, INTERVAL)

    run(main())


def test_it_never_looks_more_often_than_llama_server_can_bear() -> None:
    assert interval_for(120) == 20
    assert interval_for(1) == SHORTEST_INTERVAL_SECONDS
