"""The queueing model against what theory and arithmetic say of it."""

from __future__ import annotations

import math
import statistics

import pytest
from bench.scaling_model import Outcome, Policy, Service, Traffic, simulate

SERVICE = Service(slots=4, prefill=math.inf, decode=40, cold_seconds=20)
ONE_SERVER = Policy(min_containers=1, max_containers=1, max_inputs=10**6)


def erlang_c_wait(arrivals: float, service_seconds: float, servers: int) -> float:
    """Mean wait in an M/M/c queue."""
    load = arrivals * service_seconds
    some_free = sum(load**n / math.factorial(n) for n in range(servers))
    all_busy = load**servers / math.factorial(servers) * servers / (servers - load)
    return all_busy / (some_free + all_busy) * service_seconds / (servers - load)


def test_one_container_is_an_m_m_c_queue() -> None:
    hourly = 1080  # 0.3 a second, 10 s each: three of four slots are busy
    traffic = Traffic(sessions_per_hour=hourly, turns=1, first_tokens=1, answer_tokens=400)
    outcome = simulate(SERVICE, traffic, ONE_SERVER, hours=60_000 / hourly, seed=1)
    assert statistics.mean(outcome.waits) == pytest.approx(erlang_c_wait(hourly / 3600, 10, 4), rel=0.05)


def test_rare_requests_all_wait_for_a_container_and_pay_for_its_idling() -> None:
    traffic = Traffic(sessions_per_hour=0.001, turns=1, answer_tokens=40)
    outcome = simulate(SERVICE, traffic, Policy(scaledown_window=100), hours=150_000, seed=2)
    served = len(outcome.waits)
    answering = outcome.answer_tokens / SERVICE.decode
    assert outcome.cold == served
    assert outcome.waits == pytest.approx([20.0] * served)
    assert outcome.container_seconds == pytest.approx(served * (20 + 100) + answering)


@pytest.mark.parametrize("policy", [Policy(), Policy(max_inputs=4), Policy(buffer_containers=1), Policy(sticky=True)])
def test_every_turn_of_every_session_is_answered_and_costs_no_more_containers_than_allowed(policy: Policy) -> None:
    outcome = simulate(SERVICE, Traffic(sessions_per_hour=500, turns=3), policy, hours=4, seed=2)
    sessions, rest = divmod(len(outcome.waits), 3)
    assert (rest, sessions > 1800, outcome.most_containers) == (0, True, 3)
    assert outcome.computed_tokens <= outcome.prompt_tokens


def test_the_same_conversations_come_whatever_the_settings_are() -> None:
    def run(policy: Policy) -> Outcome:
        return simulate(SERVICE, Traffic(sessions_per_hour=100), policy, hours=3, seed=3)

    one, other = run(Policy()), run(Policy(sticky=True, scaledown_window=10))
    assert (one.answer_tokens, one.prompt_tokens) == (other.answer_tokens, other.prompt_tokens)
    assert one.computed_tokens > other.computed_tokens
