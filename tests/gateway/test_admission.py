from __future__ import annotations

import asyncio

import pytest
from fake_upstream import scenario, until

from gateway.admission import RETRY_AFTER_SECONDS, Admission
from gateway.errors import Overloaded, ShuttingDown


class Visitor:
    """One request for a slot.

    Attributes:
        entered: Set once it holds one.
        work: Ends with the slot given back, or with what kept it from getting one.
    """

    def __init__(self, admission: Admission) -> None:
        self.entered = asyncio.Event()
        self._leave = asyncio.Event()
        self.work = asyncio.create_task(self._visit(admission))

    async def _visit(self, admission: Admission) -> None:
        async with admission.slot():
            self.entered.set()
            await self._leave.wait()

    async def leave(self) -> None:
        self._leave.set()
        await self.work

    async def cancel(self) -> None:
        self.work.cancel()
        await asyncio.wait({self.work})
        assert self.work.cancelled()


def make(slots: int = 1, max_waiting: int = 10, max_wait_seconds: float = 60) -> Admission:
    return Admission(slots, max_waiting, max_wait_seconds)


async def entered(admission: Admission, count: int) -> list[Visitor]:
    visitors = [Visitor(admission) for _ in range(count)]
    for visitor in visitors:
        await visitor.entered.wait()
    return visitors


async def queued(admission: Admission, count: int = 1) -> list[Visitor]:
    """Return visitors that wait, in this order."""
    visitors = []
    for _ in range(count):
        waiting = admission.waiting
        visitors.append(Visitor(admission))
        await until(lambda waiting=waiting: admission.waiting == waiting + 1)  # type: ignore[misc]
    return visitors


@scenario
async def test_as_many_as_there_are_slots_enter_at_once() -> None:
    admission = make(slots=3)
    inside = await entered(admission, 3)
    assert (admission.in_flight, admission.waiting) == (3, 0)
    (outside,) = await queued(admission)
    assert (admission.in_flight, admission.waiting) == (3, 1)
    assert not outside.entered.is_set()
    await inside[1].leave()
    await outside.entered.wait()
    assert (admission.in_flight, admission.waiting) == (3, 0)
    for visitor in (inside[0], inside[2], outside):
        await visitor.leave()
    assert (admission.in_flight, admission.waiting) == (0, 0)


@scenario
async def test_who_came_first_enters_first() -> None:
    admission = make()
    (inside,) = await entered(admission, 1)
    queue = await queued(admission, 5)
    for visitor in queue:
        await inside.leave()
        await visitor.entered.wait()
        assert [one.entered.is_set() for one in queue] == [queue.index(one) <= queue.index(visitor) for one in queue]
        inside = visitor
    await inside.leave()


@scenario
async def test_nobody_overtakes_the_queue() -> None:
    admission = make()
    (inside,) = await entered(admission, 1)
    (first,) = await queued(admission)
    inside._leave.set()
    late = Visitor(admission)
    await first.entered.wait()
    await until(lambda: admission.waiting == 1)
    assert not late.entered.is_set()
    await first.leave()
    await late.entered.wait()
    await late.leave()


@scenario
async def test_a_full_queue_turns_away_and_says_when_to_come_back() -> None:
    admission = make(max_waiting=2)
    (inside,) = await entered(admission, 1)
    queue = await queued(admission, 2)
    with pytest.raises(Overloaded, match="2 requests wait already") as caught:
        await admission._enter()
    assert caught.value.retry_after == RETRY_AFTER_SECONDS
    assert (admission.in_flight, admission.waiting) == (1, 2)
    for visitor in (inside, *queue):
        await visitor.leave()


@scenario
async def test_without_a_queue_only_free_slots_are_given() -> None:
    admission = make(max_waiting=0)
    (inside,) = await entered(admission, 1)
    with pytest.raises(Overloaded):
        await admission._enter()
    await inside.leave()
    (inside,) = await entered(admission, 1)
    await inside.leave()


@scenario
async def test_who_waits_too_long_is_told_and_forgotten() -> None:
    admission = make(max_wait_seconds=0.01)
    (inside,) = await entered(admission, 1)
    with pytest.raises(Overloaded, match=r"No slot became free within 0\.01 s") as caught:
        await admission._enter()
    assert caught.value.retry_after == RETRY_AFTER_SECONDS
    assert (admission.in_flight, admission.waiting) == (1, 0)
    await inside.leave()
    assert admission.in_flight == 0


@scenario
async def test_who_leaves_the_queue_makes_room_in_it() -> None:
    admission = make()
    (inside,) = await entered(admission, 1)
    first, second, third = await queued(admission, 3)
    await second.cancel()
    assert admission.waiting == 2
    await inside.leave()
    await first.entered.wait()
    await first.leave()
    await third.entered.wait()
    await third.leave()
    assert (admission.in_flight, admission.waiting) == (0, 0)


@scenario
async def test_who_leaves_while_inside_frees_the_slot() -> None:
    admission = make()
    (inside,) = await entered(admission, 1)
    (next_one,) = await queued(admission)
    await inside.cancel()
    await next_one.entered.wait()
    await next_one.leave()
    assert admission.in_flight == 0


@scenario
async def test_a_slot_that_comes_in_the_moment_of_leaving_goes_to_the_next() -> None:
    admission = make()
    async with admission.slot():
        unlucky, lucky = await queued(admission, 2)
    # the slot is the unlucky one's now, but it has not run yet
    assert (admission.in_flight, admission.waiting) == (1, 1)
    assert not unlucky.entered.is_set()
    await unlucky.cancel()
    await lucky.entered.wait()
    await lucky.leave()
    assert (admission.in_flight, admission.waiting) == (0, 0)


@scenario
async def test_leaving_in_the_moment_before_a_slot_comes_does_not_lose_it() -> None:
    admission = make()
    async with admission.slot():
        unlucky, lucky = await queued(admission, 2)
        unlucky.work.cancel()  # its future is cancelled, but it has not run yet
        assert admission.waiting == 2
    await lucky.entered.wait()
    assert admission.in_flight == 1
    await lucky.leave()
    assert (admission.in_flight, admission.waiting) == (0, 0)


@scenario
async def test_more_slots_let_more_in_at_once() -> None:
    admission = make(slots=1)
    inside = await entered(admission, 1)
    queue = await queued(admission, 3)
    admission.resize(3)
    await queue[0].entered.wait()
    await queue[1].entered.wait()
    assert (admission.in_flight, admission.waiting) == (3, 1)
    for visitor in (*inside, *queue):
        await visitor.leave()


@scenario
async def test_fewer_slots_let_nobody_in_until_enough_have_left() -> None:
    admission = make(slots=3)
    inside = await entered(admission, 3)
    (waiting,) = await queued(admission)
    admission.resize(1)
    await inside[0].leave()
    await inside[1].leave()
    assert (admission.in_flight, admission.waiting) == (1, 1)
    await inside[2].leave()
    await waiting.entered.wait()
    await waiting.leave()


@scenario
async def test_closing_turns_away_newcomers_and_all_who_wait_but_not_who_is_inside() -> None:
    admission = make()
    (inside,) = await entered(admission, 1)
    queue = await queued(admission, 3)
    admission.close()
    for visitor in queue:
        with pytest.raises(ShuttingDown) as caught:
            await visitor.work
        assert caught.value.retry_after == RETRY_AFTER_SECONDS
    with pytest.raises(ShuttingDown):
        await admission._enter()
    assert (admission.in_flight, admission.waiting) == (1, 0)
    assert not inside.work.done()
    await inside.leave()


@scenario
async def test_idle_is_when_the_last_has_left() -> None:
    admission = make(slots=2)
    await admission.wait_idle()
    first, second = await entered(admission, 2)
    idle = asyncio.create_task(admission.wait_idle())
    await first.leave()
    assert not idle.done()
    await second.leave()
    await idle


@scenario
async def test_a_slot_that_passes_from_hand_to_hand_is_never_idle() -> None:
    admission = make()
    (inside,) = await entered(admission, 1)
    (next_one,) = await queued(admission)
    idle = asyncio.create_task(admission.wait_idle())
    await inside.leave()
    await next_one.entered.wait()
    assert not idle.done()
    await next_one.leave()
    await idle
