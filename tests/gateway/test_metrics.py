from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from driving import (
    AUTH,
    FAILED,
    LOADING,
    PLAIN,
    STREAMED,
    Client,
    FakeReadiness,
    client_of,
    make_gateway,
    outcomes,
    samples,
    served,
    tokens,
)
from fake_upstream import (
    CHAT,
    ENDING,
    ROLE,
    FakeUpstream,
    answer,
    break_off,
    refuse_with,
    scenario,
    stall,
    text,
    until,
    usage,
    vanish,
)
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import series
from gateway.observation.record import RequestRecord
from gateway.readiness import Report
from gateway.version import VERSION

if TYPE_CHECKING:
    from gateway.application import Gateway

OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
OURS = {
    "warmgate_requests": "counter",
    "warmgate_auth_failures": "counter",
    "warmgate_queue_time_seconds": "histogram",
    "warmgate_server_wait_seconds": "histogram",
    "warmgate_prefill_seconds": "histogram",
    "warmgate_time_to_first_token_seconds": "histogram",
    "warmgate_inter_token_latency_seconds": "histogram",
    "warmgate_request_duration_seconds": "histogram",
    "warmgate_tokens": "counter",
    "warmgate_thinking_requests": "counter",
    "warmgate_thinking_budget_hits": "counter",
    "warmgate_backend_sampling_requests": "counter",
    "warmgate_tool_calls": "counter",
    "warmgate_tool_call_normalizations": "counter",
    "warmgate_tool_call_repairs": "counter",
    "warmgate_tool_call_attempts": "histogram",
    "warmgate_upstream_errors": "counter",
    "warmgate_build_info": "gauge",
    "warmgate_server_state": "gauge",
    "warmgate_server_ready": "gauge",
    "warmgate_server_restarts": "counter",
    "warmgate_server_start_phase_seconds": "gauge",
    "warmgate_requests_in_flight": "gauge",
    "warmgate_requests_waiting": "gauge",
    "warmgate_requests_waiting_limit": "gauge",
    "warmgate_slots": "gauge",
}
PROCESS = {
    "process_virtual_memory_bytes": "gauge",
    "process_resident_memory_bytes": "gauge",
    "process_start_time_seconds": "gauge",
    "process_cpu_seconds": "counter",
    "process_open_fds": "gauge",
    "process_max_fds": "gauge",
    "python_info": "gauge",
}
AFTER_A_SCRAPE = {
    "warmgate_model_info": "gauge",
    "warmgate_upstream_scrape_age_seconds": "gauge",
    "llamacpp:prompt_tokens": "counter",
    "llamacpp:n_tokens_max": "gauge",
    "llamacpp:requests_processing": "gauge",
}


def families(gateway: Gateway) -> dict[str, str]:
    return {
        family.name: family.type for family in text_string_to_metric_families(gateway._metrics.render()[0].decode())
    }


def labels_of(gateway: Gateway) -> dict[str, set[str]]:
    """Return the values that each label has, in all of our own series but for buckets' bounds."""
    found = defaultdict[str, set[str]](set)
    for family in text_string_to_metric_families(gateway._metrics.render()[0].decode()):
        for sample in family.samples if family.name.startswith("warmgate") else ():
            for name, value in sample.labels.items():
                found[name].add(value)
    del found["le"]
    return found


def histogram(gateway: Gateway, name: str) -> tuple[float, ...]:
    """Return count and sum of one of the chat route's histograms."""
    found = samples(gateway)
    kind, labels = f"warmgate_{name}_seconds", "route=chat_completions"
    return tuple(
        sum(value for series, value in found.items() if series.startswith(f"{kind}_{of}") and labels in series)
        for of in ("count", "sum")
    )


# -- what is exported


@scenario
async def test_these_families_are_exported_and_no_others() -> None:
    async with FakeUpstream().listening() as upstream:
        gateway = make_gateway(upstream, instance=lambda: "container-1")
        labels = "{instance=container-1,model=fake-model}"
        assert families(gateway) == OURS | PROCESS
        async with served(gateway):
            await until(lambda: gateway._upstream_metrics.age_seconds is not None)
            assert families(gateway) == OURS | PROCESS | AFTER_A_SCRAPE
            assert samples(gateway)[f"llamacpp:n_tokens_max{labels}"] == 55
            assert samples(gateway)[f"llamacpp:prompt_tokens_total{labels}"] == 75


@scenario
async def test_they_are_served_as_prometheus_text() -> None:
    async with client_of(make_gateway(FakeUpstream())) as client:
        response = await client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = response.text.splitlines()
    assert "# TYPE warmgate_requests_total counter" in lines
    assert "warmgate_slots 1.0" in lines
    assert all(line.startswith("# HELP ") for line in lines if line.startswith("#") and " TYPE " not in line)
    assert not [line for line in lines if "_created" in line]


@pytest.mark.parametrize("report", [Report("ready", ready=True, restarts={"crash": 3, "hang": 0}), LOADING, FAILED])
@scenario
async def test_the_servers_state_is_exported(report: Report) -> None:
    found = samples(make_gateway(FakeUpstream(), FakeReadiness(report)))
    assert {name: value for name, value in found.items() if name.startswith("warmgate_server")} == {
        f"warmgate_server_state{{state={report.state}}}": 1,
        "warmgate_server_ready": report.ready,
    } | {f"warmgate_server_restarts_total{{reason={reason}}}": count for reason, count in report.restarts.items()}


@scenario
async def test_slots_and_queue_are_exported() -> None:
    async with FakeUpstream(default=stall(), slots=2).listening() as upstream:
        gateway = make_gateway(upstream)
        clients = [Client(gateway, STREAMED) for _ in range(5)]
        for _ in range(2):
            await upstream.arrived.get()
        found = samples(gateway)
        assert found["warmgate_slots"] == 2
        assert found["warmgate_requests_in_flight"] == 2
        assert found["warmgate_requests_waiting"] == 3
        for client in clients:
            await client.leave()
        found = samples(gateway)
        assert found["warmgate_requests_in_flight"] == found["warmgate_requests_waiting"] == 0


# -- what is counted


@scenario
async def test_every_request_is_counted_once_by_how_it_ended() -> None:
    async with FakeUpstream(slots=1).listening() as upstream:
        readiness = FakeReadiness()
        gateway = make_gateway(upstream, readiness, max_waiting=0, max_body_bytes=1000)
        async with client_of(gateway) as client:
            await client.post(CHAT, json=PLAIN)
            await client.post(CHAT, json=STREAMED)
            await client.post(CHAT, json={"messages": []})
            await client.post(CHAT, content=b" " * 1001)
            for behaviour in (refuse_with(500, "server_error", "no"), break_off(ROLE, text("a")), vanish, vanish):
                upstream.plan.append(behaviour)
            await client.post(CHAT, json=PLAIN)
            await client.post(CHAT, json=STREAMED)
            await client.post(CHAT, json=STREAMED)
            upstream.plan.append(refuse_with(400, "exceed_context_size_error", "too long"))
            await client.post(CHAT, json=PLAIN)
            upstream.plan.append(stall(ROLE, text("a")))
            held = Client(gateway, STREAMED)
            await held.status()
            await client.post(CHAT, json=PLAIN)
            await held.leave()
            readiness.move(FAILED)
            await client.post(CHAT, json=PLAIN)
            await client.get(CHAT)
            for path in ("/v1/models", "/metrics", "/nothing", "/health"):
                await client.get(path)
        async with client_of(gateway, AUTH | {"authorization": "Bearer wrong"}) as stranger:
            await stranger.post(CHAT, json=PLAIN)
            await stranger.get("/metrics")
        assert outcomes(gateway) == {
            "chat_completions ok": 2,
            "chat_completions invalid": 4,
            "chat_completions upstream_error": 3,
            "chat_completions overloaded": 1,
            "chat_completions cancelled": 1,
            "chat_completions not_ready": 1,
            "chat_completions unauthorized": 1,
            "gate unauthorized": 1,
        }
        assert histogram(gateway, "request_duration")[0] == 11


@pytest.mark.parametrize("body", [PLAIN, STREAMED])
@scenario
async def test_tokens_are_counted_as_the_server_counted_them(body: Any) -> None:
    async with FakeUpstream(default=break_off(ROLE, text("a"))).listening() as upstream:
        gateway = make_gateway(upstream)
        upstream.plan.append(answer(ROLE, text("a"), *ENDING[:1], usage(10, 4, 8), ENDING[-1]))
        upstream.plan.append(answer(ROLE, text("a"), *ENDING[:1], usage(20, 1, 0), ENDING[-1]))
        async with client_of(gateway) as client:
            for _ in range(3):
                await client.post(CHAT, json=body)
        assert tokens(gateway) == {"prompt": 30, "cached": 8, "thought": 0, "answer": 5, "repair": 0}


@scenario
async def test_time_runs_to_the_first_piece_and_to_the_end() -> None:
    gateway = make_gateway(FakeUpstream())
    gateway._metrics.finished(
        RequestRecord(key="tester", route="chat_completions", started=1.0, first_piece=1.5, last_piece=3.0, ended=4.0)
    )
    assert histogram(gateway, "time_to_first_token") == (1, 0.5)
    assert histogram(gateway, "request_duration") == (1, 3.0)


@scenario
async def test_a_request_that_was_not_answered_has_a_duration_and_no_first_token() -> None:
    async with client_of(gateway := make_gateway(FakeUpstream(), FakeReadiness(FAILED))) as client:
        await client.post(CHAT, json=PLAIN)
    assert histogram(gateway, "request_duration")[0] == 1
    assert histogram(gateway, "time_to_first_token") == (0, 0)
    assert histogram(gateway, "inter_token_latency") == (0, 0)


@pytest.mark.parametrize("body", [PLAIN, STREAMED])
@scenario
async def test_the_time_between_pieces_is_counted_while_they_come(body: Any) -> None:
    seen = [asyncio.Event() for _ in range(3)]
    pieces = (ROLE, text("a"), seen[0], text("b"), seen[1], text("c"), seen[2], *ENDING)
    async with FakeUpstream(default=answer(*pieces)).listening() as upstream:
        gateway = make_gateway(upstream)
        client = Client(gateway, body)
        for so_far, event in enumerate(seen):
            await until(lambda so_far=so_far: histogram(gateway, "inter_token_latency")[0] == so_far)  # type: ignore[misc]
            event.set()
        await client.rest()


@scenario
async def test_labels_are_from_small_sets_whatever_is_asked_for() -> None:
    async with FakeUpstream().listening() as upstream:
        gateway = make_gateway(upstream)
        async with client_of(gateway) as client:
            for i in range(5):
                await client.get(f"/path/{i}")
                await client.post(CHAT, json=PLAIN | {"model": f"model-{i}", "user": f"user-{i}"})
        async with client_of(gateway, {"authorization": "Bearer x"}) as stranger:
            for i in range(5):
                await stranger.get(f"/path/{i}")
        assert labels_of(gateway) == {
            "dialect": {"", "openai"},
            "engine": {"b11549-fake"},
            "key": {"", "tester"},
            "kind": {"prompt", "cached", "thought", "answer", "repair", *series.UPSTREAM_ERRORS},
            "model": {"", "fake-model"},
            "outcome": {"ok", "unauthorized"},
            "reason": {"missing", "malformed", "unknown"},
            "route": {"chat_completions", "gate"},
            "state": {"ready"},
            "thinking": {"on"},
            "version": {VERSION},
        }


def test_buckets_are_in_order() -> None:
    times = (series.FIRST_TOKEN_BUCKETS, series.INTER_TOKEN_BUCKETS, series.REQUEST_BUCKETS)
    for buckets in (*times, series.ATTEMPT_BUCKETS):
        assert list(buckets) == sorted(set(buckets))


# -- how it is written


@pytest.mark.parametrize(
    ("accept", "content_type", "end"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8", ""),
        ("text/html, */*;q=0.1", "text/plain; version=0.0.4; charset=utf-8", ""),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8", ""),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", OPEN_METRICS, "# EOF"),
    ],
)
@scenario
async def test_it_is_written_as_prometheus_asks_for_it(accept: str, content_type: str, end: str) -> None:
    async with client_of(make_gateway(FakeUpstream())) as client:
        response = await client.get("/metrics", headers={"accept": accept})
    assert response.headers["content-type"] == content_type
    assert response.text.splitlines()[-1].startswith(end)


@pytest.mark.parametrize(
    ("request_id", "trace", "exemplar"),
    [
        ("req_1", None, {"request_id": "req_1"}),
        ("req_1", f"00-{'a' * 32}-{'b' * 16}-01", {"trace_id": "a" * 32}),
        ("a" * 128, None, None),
    ],
)
def test_buckets_lead_to_a_request(request_id: str, trace: str | None, exemplar: dict[str, str] | None) -> None:
    gateway = make_gateway(FakeUpstream())
    record = RequestRecord(id=request_id, passed_on=trace, key="tester", route="chat", started=1.0, ended=1.5)
    gateway._metrics.finished(record)
    written, _ = gateway._metrics.render("application/openmetrics-text")
    found = [
        sample.exemplar.labels if sample.exemplar else None
        for family in openmetrics.text_string_to_metric_families(written.decode())  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.name == "warmgate_request_duration_seconds_bucket" and sample.labels["le"] == "0.64"
    ]
    assert found == [exemplar]


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text;version=1.0.0", "text/plain;version=1.0.0"])
@scenario
async def test_llama_servers_names_keep_their_colons(accept: str) -> None:
    async with FakeUpstream().listening() as upstream:
        gateway = make_gateway(upstream)
        async with served(gateway):
            await until(lambda: gateway._upstream_metrics.age_seconds is not None)
            written, _ = gateway._metrics.render(accept)
    names = {line.partition("{")[0] for line in written.decode().splitlines() if line.startswith("llamacpp")}
    assert names == {"llamacpp:prompt_tokens_total", "llamacpp:n_tokens_max", "llamacpp:requests_processing"}
