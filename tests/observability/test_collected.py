"""What is sent by a running `warmgate`: the spans of a repaired tool call, and metrics that are pushed."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from collector import Collector, attributes, collecting
from conftest import KEY, clean_environment
from contract.playing import CHAT, play
from contract.scenes import SCENES, SERVED
from debian_tools import listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Warmgate
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID, CALLER_ID = (bytes.fromhex(part) for part in CALLER.split("-")[1:3])
CONTAINER = {"MODAL_TASK_ID": "ta-01"}
NOBODY = "http://127.0.0.1:1"  # where nothing listens: a gateway alone says at once that there is no model
AT_BOTH_ENDS = {"WARMGATE_PUSH_SECONDS": "3600"}  # so only the first push and the last are made
REQUEST = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture
def start_gateway(start_warmgate: Callable[..., Warmgate]) -> Callable[..., Warmgate]:
    """Return a function that starts a gateway before nobody, which takes no time."""

    def start(**env: str) -> Warmgate:
        env = {"WARMGATE_API_KEYS": f"tests:{KEY}", "WARMGATE_READY_WAIT_SECONDS": "0"} | env
        return start_warmgate("gateway", "--upstream", NOBODY, "--port", "0", **env).ready()

    return start


def tree(spans: list[Span], parent: bytes) -> list[Any]:
    """Return what is below a span: names, and of those that have something below them, that too."""
    below = sorted(
        (span for span in spans if span.parent_span_id == parent), key=lambda span: span.start_time_unix_nano
    )
    return [(span.name, inner) if (inner := tree(spans, span.span_id)) else span.name for span in below]


def ask(warmgate: Warmgate) -> httpx.Response:
    with warmgate.client() as client:
        return client.post(CHAT, json=REQUEST)


def test_a_repaired_call_is_one_tree_in_the_clients_trace_and_its_metrics_are_pushed(
    serve: Callable[..., Warmgate], collector: Collector
) -> None:
    sent = {"WARMGATE_TRACES": "1", "WARMGATE_PUSH_METRICS": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    warmgate = serve(*SERVED, "--set", "slots=1", **sent, **AT_BOTH_ENDS, **CONTAINER)
    scene = SCENES["wrong-type"]
    with warmgate.client() as client:
        client.headers["traceparent"] = CALLER
        assert play(client, CHAT, scene.trigger, scene.tools, stream=True).handled == "repaired; attempts=2"
    warmgate.end()

    assert tree(collector.spans, CALLER_ID) == [
        ("chat contract", ["queue", "server", "prefill", "decode", ("repair", ["prefill", "decode"])])
    ]
    assert {span.trace_id for span in collector.spans} == {TRACE_ID}
    root = next(span for span in collector.spans if span.parent_span_id == CALLER_ID)
    told = attributes(list(root.attributes))
    assert (told["gen_ai.request.model"], told["warmgate.key"]) == ("contract", "tests")
    assert told["warmgate.tool_calls.repaired"] == 1
    assert KEY not in repr(collector.spans)
    assert scene.trigger not in repr(collector.spans)

    senders = [attributes(list(sender.resource.attributes)) for sender in collector.resource_spans]
    senders += [attributes(list(sender.resource.attributes)) for sender in collector.resource_metrics]
    assert {(sender["service.name"], sender["service.instance.id"]) for sender in senders} == {("warmgate", "ta-01")}
    last = {metric.name: metric for scope in collector.resource_metrics[-1].scope_metrics for metric in scope.metrics}
    repairs = {point.as_double for point in last["warmgate_tool_call_repairs"].sum.data_points}
    assert 1 in repairs
    assert sum(point.count for point in last["warmgate_time_to_first_token_seconds"].histogram.data_points) == 1
    assert last["warmgate_time_to_first_token_seconds"].unit == "s"


def test_a_collector_that_never_answers_delays_neither_a_request_nor_the_end(
    start_gateway: Callable[..., Warmgate],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        sent = {"WARMGATE_TRACES": "1", "WARMGATE_PUSH_METRICS": "otlp", "WARMGATE_OTLP_ENDPOINT": url}
        gateway = start_gateway(**sent, OTEL_BSP_SCHEDULE_DELAY="1")
        assert [ask(gateway).status_code for _ in range(3)] == [503] * 3
        assert gateway.end() == 0  # within less time than the exporter takes to give up


def test_metrics_are_pushed_to_a_pushgateway_at_the_start_and_at_the_end(
    start_gateway: Callable[..., Warmgate],
) -> None:
    with listening("prometheus-pushgateway") as url:
        sent = {"WARMGATE_PUSH_METRICS": "pushgateway", "WARMGATE_PUSHGATEWAY": url}
        gateway = start_gateway(**sent, **AT_BOTH_ENDS, **CONTAINER)
        assert ask(gateway).status_code == 503
        gateway.end()
        (group,) = httpx.get(f"{url}/api/v1/metrics").json()["data"]
    assert group["labels"] == {"instance": "ta-01", "job": "warmgate"}
    assert group["last_push_successful"] is True
    requests = group["warmgate_requests_total"]["metrics"]
    assert {(one["labels"]["outcome"], one["value"]) for one in requests if one["value"] != "0"} == {("not_ready", "1")}


def test_a_collector_that_is_not_there_is_complained_of_once(start_gateway: Callable[..., Warmgate]) -> None:
    gateway = start_gateway(WARMGATE_PUSH_METRICS="pushgateway", WARMGATE_PUSHGATEWAY=NOBODY, WARMGATE_PUSH_SECONDS="1")
    assert ask(gateway).status_code == 503
    assert gateway.end() == 0
    assert gateway.output.count("metrics cannot be pushed") == 1


def test_a_pushgateway_without_a_url_is_asked_for(start_warmgate: Callable[..., Warmgate]) -> None:
    failed = start_warmgate("gateway", "--upstream", NOBODY, WARMGATE_PUSH_METRICS="pushgateway")
    assert failed.wait() == 1
    assert "set WARMGATE_PUSHGATEWAY to its URL" in failed.output


def test_of_opentelemetry_only_what_fastapi_itself_imports_is_imported_where_it_is_not_asked_for() -> None:
    program = (
        "import sys, app.serve, app.gateway_alone; from app.telemetry.telemetry import Telemetry;"
        "from app.settings import read_settings; Telemetry(read_settings());"
        "print([name for name in sys.modules if name in "
        "('opentelemetry.sdk', 'opentelemetry.exporter', 'opentelemetry.proto', 'gateway.observation.tracing')])"
    )
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, env=clean_environment(), capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
