from __future__ import annotations

from collections import Counter

import pytest
from driving import PLAIN, client_of, make_gateway, samples
from fake_upstream import CHAT, FakeUpstream, scenario

from gateway.errors import ToolCallInvalid, Unauthorized, UpstreamFailed
from gateway.events import Usage
from gateway.metrics import series
from gateway.observation.record import AttemptRecord, RequestRecord
from gateway.thinking import Thinking
from gateway.toolcalls.guard import CallReport
from gateway.toolcalls.normalise import Rule
from gateway.toolcalls.policy import Outcome


def counted(record: RequestRecord) -> dict[str, float]:
    """Return the samples that differ from those of a gateway that was told of nothing, but for buckets."""
    gateway, untold = make_gateway(FakeUpstream()), make_gateway(FakeUpstream())
    gateway._metrics.finished(record)
    before = samples(untold).items()
    return {
        name.removeprefix("warmgate_"): value
        for name, value in samples(gateway).items() - before
        if name.startswith("warmgate_") and "_bucket" not in name
    }


def test_an_answered_request_is_counted_in_each_way_once() -> None:
    record = RequestRecord(
        key="tester",
        dialect="openai",
        route="chat",
        model="m",
        thinking=Thinking(budget=7),
        budget_hit=True,
        backend_sampling=True,
        started=10.0,
        queued=10.25,
        admitted=10.5,
        found=11.0,
        begun=11.5,
        first_piece=12.0,
        last_piece=14.0,
        ended=14.5,
        attempts=[AttemptRecord("answer", 11.0, 11.75, 13.0), AttemptRecord("repair", 13.0, 13.5, 14.0)],
        failures=["disconnected"],
        usage=Usage(100, 40, 60, 7),
        calls=CallReport(Counter({Outcome.REPAIRED: 1, Outcome.VALID: 2}), Counter({Rule.QUOTED: 1}), 1, 12),
    )
    record.succeed()
    of = "{model=m,route=chat}"
    assert counted(record) == {
        "requests_total{dialect=openai,key=tester,model=m,outcome=ok,route=chat}": 1,
        "upstream_errors_total{kind=disconnected}": 1,
        f"queue_time_seconds_count{of}": 1,
        f"queue_time_seconds_sum{of}": 0.25,
        f"server_wait_seconds_count{of}": 1,
        f"server_wait_seconds_sum{of}": 0.5,
        f"prefill_seconds_count{of}": 1,
        f"prefill_seconds_sum{of}": 0.75,
        f"time_to_first_token_seconds_count{of}": 1,
        f"time_to_first_token_seconds_sum{of}": 2,
        f"request_duration_seconds_count{of}": 1,
        f"request_duration_seconds_sum{of}": 4.5,
        "tokens_total{key=tester,kind=prompt,model=m}": 100,
        "tokens_total{key=tester,kind=cached,model=m}": 60,
        "tokens_total{key=tester,kind=thought,model=m}": 7,
        "tokens_total{key=tester,kind=answer,model=m}": 21,
        "tokens_total{key=tester,kind=repair,model=m}": 12,
        "thinking_requests_total{model=m,thinking=on}": 1,
        "thinking_budget_hits_total{model=m}": 1,
        "backend_sampling_requests_total{model=m}": 1,
        "tool_calls_total{model=m,outcome=repaired,route=chat}": 1,
        "tool_calls_total{model=m,outcome=valid,route=chat}": 2,
        "tool_call_normalizations_total{rule=quoted}": 1,
        f"tool_call_repairs_total{of}": 1,
        f"tool_call_attempts_count{of}": 1,
        f"tool_call_attempts_sum{of}": 2,
    }


@pytest.mark.parametrize("reason", ["missing", "malformed", "unknown"])
def test_of_a_stranger_only_the_failure_is_counted(reason: str) -> None:
    record = RequestRecord(started=10.0, ended=20.0)
    record.fail(Unauthorized("No.", reason=reason))
    assert counted(record) == {
        "requests_total{dialect=,key=,model=,outcome=unauthorized,route=gate}": 1,
        f"auth_failures_total{{reason={reason}}}": 1,
    }


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "missing"),
        ({"authorization": "Bearer no"}, "unknown"),
        ({"x-api-key": "no"}, "unknown"),
        ({"authorization": "Digest no"}, "malformed"),
        ({"authorization": "Basic !"}, "malformed"),
    ],
)
@scenario
async def test_it_is_said_why_a_key_was_not_taken(headers: dict[str, str], reason: str) -> None:
    gateway = make_gateway(FakeUpstream())
    async with client_of(gateway, headers) as client:
        await client.post(CHAT, json=PLAIN)
    assert samples(gateway)[f"warmgate_auth_failures_total{{reason={reason}}}"] == 1


def test_what_can_go_wrong_upstream_is_counted_from_0_on() -> None:
    kinds: set[type[UpstreamFailed]] = {UpstreamFailed, *UpstreamFailed.__subclasses__()}
    kinds -= {ToolCallInvalid}  # that is no failure of the server's
    assert {kind.kind for kind in kinds} == set(series.UPSTREAM_ERRORS)
    found = samples(make_gateway(FakeUpstream()))
    assert {found[f"warmgate_upstream_errors_total{{kind={kind}}}"] for kind in series.UPSTREAM_ERRORS} == {0}
