from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from fake_upstream import run, scenario, until
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.admission import LONGEST_RETRY_AFTER_SECONDS, RETRY_AFTER_SECONDS, Admission
from gateway.errors import Overloaded, ShuttingDown


class Visitor:
    """One request for a slot.

    Attributes:
        entered: Set once it holds one.
        work: Ends with the slot given back, or with what kept it from getting one.
    """

    def __init__(self, admission: Admission, key: str = "a") -> None:
        self.entered = asyncio.Event()
        self._leave = asyncio.Event()
        self.work = asyncio.create_task(self._visit(admission, key))

    async def _visit(self, admission: Admission, key: str) -> None:
        async with admission.slot(key):
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


async def queued(admission: Admission, count: int = 1, key: str = "a") -> list[Visitor]:
    """Return visitors that wait, in this order."""
    visitors = []
    for _ in range(count):
        waiting = admission.waiting
        visitors.append(Visitor(admission, key))
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
        await admission._enter("a")
    assert caught.value.retry_after == RETRY_AFTER_SECONDS
    assert (admission.in_flight, admission.waiting) == (1, 2)
    for visitor in (inside, *queue):
        await visitor.leave()


@scenario
async def test_without_a_queue_only_free_slots_are_given() -> None:
    admission = make(max_waiting=0)
    (inside,) = await entered(admission, 1)
    with pytest.raises(Overloaded):
        await admission._enter("a")
    await inside.leave()
    (inside,) = await entered(admission, 1)
    await inside.leave()


@scenario
async def test_who_waits_too_long_is_told_and_forgotten() -> None:
    admission = make(max_wait_seconds=0.01)
    (inside,) = await entered(admission, 1)
    with pytest.raises(Overloaded, match=r"No slot became free within 0\.01 s") as caught:
        await admission._enter("a")
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
    async with admission.slot("a"):
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
    async with admission.slot("a"):
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
        await admission._enter("a")
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


# -- between keys


@scenario
async def test_a_key_with_many_waiters_does_not_starve_another_keys_only_one() -> None:
    admission = make(max_waiting=300)
    (inside,) = await entered(admission, 1)
    many = await queued(admission, 200, "a")
    (single,) = await queued(admission, 1, "b")
    await inside.leave()
    await many[0].entered.wait()
    await many[0].leave()
    await single.entered.wait()
    assert not many[1].entered.is_set()
    await single.leave()
    for visitor in many[1:]:
        await visitor.leave()
    assert (admission.in_flight, admission.waiting) == (0, 0)


@scenario
async def test_a_key_whose_last_waiter_leaves_has_no_turn() -> None:
    admission = make()
    (inside,) = await entered(admission, 1)
    (gone,) = await queued(admission, 1, "a")
    (stays,) = await queued(admission, 1, "b")
    await gone.cancel()
    await inside.leave()
    await stays.entered.wait()
    await stays.leave()
    assert (admission._queues, list(admission._keys)) == ({}, [])


@scenario
async def test_who_was_let_in_before_is_not_turned_away_by_a_full_queue() -> None:
    admission = make(max_waiting=0)
    (inside,) = await entered(admission, 1)
    with pytest.raises(Overloaded):
        await admission._enter("b")
    waiting = asyncio.create_task(admission._enter("a", again=True))
    await until(lambda: admission.waiting == 1)
    await inside.leave()
    await waiting
    assert (admission.in_flight, admission.waiting) == (1, 0)


@pytest.mark.parametrize(
    ("held", "seconds"),
    [([0.001], 1), ([10], 10), ([10, 20], 12), ([1000], LONGEST_RETRY_AFTER_SECONDS)],
)
@scenario
async def test_when_to_come_back_follows_from_how_long_slots_are_held(held: list[float], seconds: int) -> None:
    admission = make(slots=2, max_waiting=2)
    for held_seconds in held:
        admission._note_held(held_seconds)
    visitors = await entered(admission, 2) + await queued(admission, 2)
    with pytest.raises(Overloaded) as caught:
        await admission._enter("a")
    assert caught.value.retry_after == seconds
    for visitor in visitors:
        await visitor.leave()


@given(st.lists(st.sampled_from("abcd"), max_size=20))
@settings(deadline=None, max_examples=50)
def test_keys_take_turns_and_within_a_key_the_first_goes_first(keys: list[str]) -> None:
    order: list[tuple[str, int]] = []

    async def visits() -> None:
        admission = make(max_waiting=20)
        (inside,) = await entered(admission, 1)

        async def visit(key: str, number: int) -> None:
            async with admission.slot(key):
                order.append((key, number))

        tasks = []
        for count, key in enumerate(keys):
            tasks.append(asyncio.create_task(visit(key, keys[:count].count(key))))
            await until(lambda count=count: admission.waiting == count + 1)  # type: ignore[misc]
        await inside.leave()
        await asyncio.gather(*tasks)

    run(visits())
    first = {key: keys.index(key) for key in keys}
    numbered = [(key, keys[:count].count(key)) for count, key in enumerate(keys)]
    assert order == sorted(numbered, key=lambda one: (one[1], first[one[0]]))


class Waiter(Visitor):
    """A visitor that keeps count of who is let in before it.

    Attributes:
        key: Its key.
        patience: How often another key may be let in before it: once for each of its own key before it, and once more.
    """

    def __init__(self, crowd: Crowd, key: str) -> None:
        self.key = key
        self.patience = 0
        self._crowd = crowd
        self._since = 0
        super().__init__(crowd.admission, key)

    async def _visit(self, admission: Admission, key: str) -> None:
        own = sum(waiter.key == key for waiter in self._crowd.waiting)
        called = admission.in_flight - len(self._crowd.inside)  # they have slots, but have not run yet
        self.patience = own + 1 + called
        self._since = len(self._crowd.entries)
        self._crowd.waiting.append(self)
        try:
            async with admission.slot(key):
                self._crowd.waiting.remove(self)
                self._crowd.inside.append(self)
                self._crowd.entries.append(key)
                try:
                    await self._leave.wait()
                finally:
                    self._crowd.inside.remove(self)
        finally:
            if self in self._crowd.waiting:
                self._crowd.waiting.remove(self)

    @property
    def overtaken(self) -> int:
        """How often the luckiest of the other keys has been let in since."""
        counts = Counter(self._crowd.entries[self._since :])
        return max((count for key, count in counts.items() if key != self.key), default=0)


class Crowd:
    """Visitors that come, leave and give up in any order, watched for what must always hold."""

    def __init__(self) -> None:
        self.admission = make(slots=2, max_waiting=1000)
        self.waiting: list[Waiter] = []
        self.inside: list[Waiter] = []
        self.entries: list[str] = []
        self.all: list[Waiter] = []

    def leave(self, which: int) -> None:
        if self.inside:
            self.inside[which % len(self.inside)]._leave.set()

    def give_up(self, which: int) -> None:
        if self.waiting:
            self.waiting[which % len(self.waiting)].work.cancel()

    async def settle(self) -> None:
        """Let everything happen that can, and check the counts."""
        for _ in range(10):
            await asyncio.sleep(0)
        assert (self.admission.in_flight, self.admission.waiting) == (len(self.inside), len(self.waiting))
        assert not self.waiting or self.admission.in_flight >= self.admission.slots, "a slot is lost"
        for waiter in self.waiting:
            assert waiter.overtaken <= waiter.patience, "a key is starved"


STEPS = st.one_of(
    st.tuples(st.just("come"), st.sampled_from("aaab")),
    st.tuples(st.just("leave"), st.integers(0, 10)),
    st.tuples(st.just("give_up"), st.integers(0, 10)),
    st.tuples(st.just("resize"), st.integers(1, 4)),
    st.just(("settle", 0)),
)


@given(st.lists(STEPS, max_size=40))
@settings(deadline=None, max_examples=200)
def test_no_slot_is_lost_and_no_key_starves_whoever_comes_leaves_or_gives_up(steps: list[tuple[str, object]]) -> None:
    async def crowd() -> None:
        there = Crowd()
        for name, argument in steps:
            match name, argument:
                case "come", str(key):
                    there.all.append(Waiter(there, key))
                case "leave", int(which):
                    there.leave(which)
                case "give_up", int(which):
                    there.give_up(which)
                case "resize", int(slots):
                    there.admission.resize(slots)
                case _:
                    await there.settle()
        await there.settle()
        while there.inside:
            there.leave(0)
            await there.settle()
        assert (there.admission.in_flight, there.waiting) == (0, [])
        assert (there.admission._queues, list(there.admission._keys)) == ({}, [])

    run(crowd())
