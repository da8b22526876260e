"""How fast tokens have been written lately."""

from __future__ import annotations

from gateway.observation.throughput import INTERVAL_SECONDS, KEPT_INTERVALS, Throughput


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_tokens_are_counted_in_the_interval_in_which_they_come() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    throughput.add(3)
    clock.now += INTERVAL_SECONDS
    throughput.add(1)
    throughput.add(4)
    clock.now += 2 * INTERVAL_SECONDS
    assert throughput.values() == [0] * (KEPT_INTERVALS - 4) + [3, 5, 0, 0]


def test_what_is_long_past_is_forgotten() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    throughput.add(3)
    clock.now += (KEPT_INTERVALS - 1) * INTERVAL_SECONDS
    assert throughput.values() == [3] + [0] * (KEPT_INTERVALS - 1)
    clock.now += 1_000_000 * INTERVAL_SECONDS
    assert throughput.values() == [0] * KEPT_INTERVALS
