"""What happens when something ends: the engine, a client, `warmgate` itself."""

from __future__ import annotations

import json
import signal
import socket
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Warmgate

STORY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Write a very long story about a dragon."}],
    "max_tokens": 1500,
    "logit_bias": {"<|im_end|>": -100, "<|endoftext|>": -100},  # the model ends some of them after a few words
    "stream": True,
}
SHORT: dict[str, Any] = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}
DRAIN_AND_STOP_SECONDS = 10


def events(lines: Iterator[str]) -> Iterator[str]:
    return (line.removeprefix("data: ") for line in lines if line.startswith("data: "))


def read_until_text(lines: Iterator[str]) -> None:
    """Read until the model has said something."""
    for event in events(lines):
        if json.loads(event)["choices"][0]["delta"].get("content"):
            return


def assert_error_ends(lines: Iterator[str], code: str) -> None:
    """Read to the end: the last event is an error, and no end mark follows it."""
    last = list(events(lines))[-1]
    assert json.loads(last)["error"]["code"] == code


def test_an_engine_killed_in_mid_stream_ends_that_stream_with_an_error_and_the_next_request_is_answered(
    serve: Callable[..., Warmgate],
) -> None:
    gate = serve()
    with gate.client() as client:
        with client.stream("POST", "/v1/chat/completions", json=STORY) as response:
            lines = response.iter_lines()
            read_until_text(lines)
            gate.engine().kill()
            assert_error_ends(lines, "upstream_error")
        assert client.post("/v1/chat/completions", json=SHORT).status_code == 200
        health = client.get("/health").json()
        assert 'warmgate_server_restarts_total{reason="killed"} 1.0' in client.get("/metrics").text
    assert health["restarts"] == 1
    assert health["last_error"]["kind"] == "killed"


def test_a_request_that_comes_during_a_restart_waits_only_up_to_its_limit(serve: Callable[..., Warmgate]) -> None:
    gate = serve(WARMGATE_READY_WAIT_SECONDS="0")
    with gate.client() as client:
        gate.engine().kill()
        gate.wait_for_line("ended by SIGKILL")
        response = client.post("/v1/chat/completions", json=SHORT)
        ready = client.get("/readyz")
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["error"]["code"] == "not_ready"
    assert ready.status_code == 503
    assert ready.headers["retry-after"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_open_streams_and_leaves_no_engine(
    serve: Callable[..., Warmgate], number: signal.Signals
) -> None:
    inherited = signal.signal(number, signal.SIG_DFL)  # under nohup it would be ignored
    gate = serve(WARMGATE_DRAIN_SECONDS="1")
    signal.signal(number, inherited)
    engine = gate.engine()
    with gate.client() as client, client.stream("POST", "/v1/chat/completions", json=STORY) as response:
        lines = response.iter_lines()
        read_until_text(lines)
        gate.process.send_signal(number)
        assert_error_ends(lines, "shutting_down")
    gate.process.wait(DRAIN_AND_STOP_SECONDS)
    assert gate.wait() == 0
    assert not engine.is_running()


def test_sigterm_lets_a_short_answer_finish(serve: Callable[..., Warmgate]) -> None:
    gate = serve(WARMGATE_DRAIN_SECONDS="30")
    with (
        gate.client() as client,
        client.stream("POST", "/v1/chat/completions", json=STORY | {"max_tokens": 60}) as response,
    ):
        lines = response.iter_lines()
        read_until_text(lines)
        gate.process.send_signal(signal.SIGTERM)
        assert list(events(lines))[-1] == "[DONE]"
    assert gate.wait() == 0


def test_sigkill_of_warmgate_leaves_no_engine(serve: Callable[..., Warmgate]) -> None:
    gate = serve()
    engine = gate.engine()
    gate.process.kill()
    _, alive = psutil.wait_procs([engine], timeout=DRAIN_AND_STOP_SECONDS)
    assert not alive


def test_a_client_that_hangs_up_frees_its_slot_while_another_stream_runs(serve: Callable[..., Warmgate]) -> None:
    gate = serve()
    with gate.client() as client, client.stream("POST", "/v1/chat/completions", json=STORY) as response:
        lines = response.iter_lines()
        read_until_text(lines)
        # one that streams, and one that waits for a whole answer: llama-server itself would not notice the second
        with client.stream("POST", "/v1/chat/completions", json=STORY) as other:
            read_until_text(other.iter_lines())
        leave_whole_answer(gate)
        wait_until(lambda: in_flight(client) == 1)
        wait_until(lambda: busy_slots(gate) == 1)
        # the first stream is still alive
        read_until_text(lines)


def leave_whole_answer(gate: Warmgate) -> None:
    """Ask for a long answer in one piece, and hang up while it is being generated."""
    body = json.dumps(STORY | {"stream": False}).encode()
    url = httpx.URL(gate.url)
    with gate.client() as client, socket.create_connection((url.host, url.port)) as connection:
        before = in_flight(client)
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\nauthorization: Bearer %b\r\n"
            b"content-length: %d\r\n\r\n" % (KEY.encode(), len(body)) + body
        )
        wait_until(lambda: in_flight(client) > before)


def in_flight(client: httpx.Client) -> int:
    line = next(line for line in client.get("/metrics").text.splitlines() if line.startswith("warmgate_requests_in_fl"))
    return int(float(line.split()[1]))


def busy_slots(gate: Warmgate) -> int:
    """Ask llama-server itself, behind the gateway's back."""
    arguments = gate.engine().cmdline()
    socket_path = arguments[arguments.index("--host") + 1]
    with httpx.Client(transport=httpx.HTTPTransport(uds=socket_path)) as client:
        return sum(slot["is_processing"] for slot in client.get("http://llama-server/slots").json())


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask until it is so. pytest's own time limit is what bounds it."""
    while not condition():
        pass
