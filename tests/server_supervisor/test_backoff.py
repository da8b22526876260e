from __future__ import annotations

import pytest

from server_supervisor.backoff import CrashBudget, RestartPolicy

POLICY = RestartPolicy(first_delay_seconds=1.0, longest_delay_seconds=8.0, budget=6, window_seconds=100.0)
FULL_DELAYS = [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]  # of POLICY, before jitter


def delays(crash_times: list[float], policy: RestartPolicy = POLICY) -> list[float | None]:
    budget = CrashBudget(policy)
    return [budget.record(now) for now in crash_times]


@pytest.fixture
def jitter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", request.param)


@pytest.mark.parametrize("jitter", [lambda _, high: high], indirect=True)
@pytest.mark.usefixtures("jitter")
def test_delays_double_up_to_the_longest() -> None:
    assert delays([0.0] * 6) == FULL_DELAYS


@pytest.mark.parametrize("jitter", [lambda low, _: low], indirect=True)
@pytest.mark.usefixtures("jitter")
def test_jitter_takes_away_half_at_most() -> None:
    assert delays([0.0] * 6) == [full / 2 for full in FULL_DELAYS]


def test_no_delay_is_out_of_bounds_and_they_differ() -> None:
    seen = [delays([0.0] * 6) for _ in range(200)]
    for series in seen:
        assert all(delay and full / 2 <= delay <= full for delay, full in zip(series, FULL_DELAYS, strict=True))
    assert len({series[0] for series in seen}) > 100


def test_there_is_no_delay_once_the_budget_is_spent() -> None:
    assert [delay is None for delay in delays([0.0] * 8)] == [False] * 6 + [True, True]


def test_a_budget_of_zero_forgives_nothing() -> None:
    assert delays([0.0], RestartPolicy(budget=0)) == [None]


@pytest.mark.parametrize("jitter", [lambda _, high: high], indirect=True)
@pytest.mark.usefixtures("jitter")
def test_a_crash_counts_as_long_as_the_window_and_no_longer() -> None:
    assert delays([0.0, 10.0, 99.9, 100.0, 109.9, 110.0]) == [1.0, 2.0, 4.0, 4.0, 8.0, 8.0]
    assert delays([0.0] * 6 + [100.0]) == [*FULL_DELAYS, 1.0]


@pytest.mark.parametrize("jitter", [lambda _, high: high], indirect=True)
@pytest.mark.usefixtures("jitter")
def test_one_crash_a_day_is_always_answered_at_once() -> None:
    assert delays([day * 86400.0 for day in range(1000)], RestartPolicy()) == [0.25] * 1000
