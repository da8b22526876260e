"""`warmgate serve --park-after`: the real llama-server, stopped while it is parked, behind the real gateway.

What was sent to a stopped server would wait for ever: so each answer here was held until the server was restored.
"""

from __future__ import annotations

import contextlib
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
import pytest
from conftest import KEY, Warmgate
from fake_gpu import COMPILER, FakeGpu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="needs Linux and a C compiler")

AT_ONCE = ("--park-after", "0.05", "--log-level", "debug")
PARKED = "parking -> parked"
MOVES = re.compile(r'^warmgate_server_((?:un)?parkings)_total{outcome="(\w+)"} (\d+)', re.MULTILINE)
CYCLE = ["Lock", "Checkpoint", "Restore", "Unlock"]
QUESTION: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Write one sentence about the sea."}],
    "max_tokens": 8,
    "temperature": 0,
    "logprobs": True,
}
COUNT: dict[str, Any] = {"model": "any", "messages": QUESTION["messages"]}


class Parked(NamedTuple):
    """One `warmgate` whose server is parked as soon as it is idle."""

    gate: Warmgate
    gpu: FakeGpu

    @contextlib.contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """Wait until it is parked, and yield a client."""
        with self.gate.client() as client:
            while client.get("/health").json()["state"] != "parked":
                pass
            while self.gate.engine().status() != psutil.STATUS_STOPPED:  # its threads stop one after the other
                pass
            yield client


@pytest.fixture(scope="module")
def parked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parked]:
    """Return one for all tests that leave it as they found it."""
    gpu = FakeGpu(tmp_path_factory.mktemp("gpu"))
    env = {"WARMGATE_API_KEYS": f"tests:{KEY}", **gpu.environment}
    gate = Warmgate("serve", "--port", "0", *AT_ONCE, env=env)
    try:
        yield Parked(gate.ready(), gpu)
    finally:
        gate.process.kill()
        gate.process.wait()


@pytest.fixture
def gpu(tmp_path: Path) -> FakeGpu:
    return FakeGpu(tmp_path)


def ask(client: httpx.Client) -> dict[str, Any]:
    """Return the answer's text and log-probabilities, and whether the prompt was remembered."""
    response = client.post("/v1/chat/completions", json=QUESTION)
    assert response.status_code == 200, response.text
    answer = response.json()
    choice, usage = answer["choices"][0], answer["usage"]
    return {
        "text": choice["message"]["content"],
        "logprobs": [token["logprob"] for token in choice["logprobs"]["content"]],
        "cached": usage["prompt_tokens_details"]["cached_tokens"] > 0,
    }


def moves(client: httpx.Client) -> dict[str, int]:
    """Return how often it was parked and brought back, by what came of it, but for what never happened."""
    found = MOVES.findall(client.get("/metrics").text)
    return {f"{what} {outcome}": int(count) for what, outcome, count in found if int(count)}


def test_it_is_restored_for_each_request_and_answers_as_before(parked: Parked) -> None:
    answers = []
    for _ in range(3):
        with parked.client() as client:
            answers.append(ask(client))
    with parked.client() as client:
        health = client.get("/health")
        assert moves(client) == {"parkings ok": 4, "unparkings ok": 3}
        phases = re.findall(r'start_phase_seconds{phase="(\w+)",start="unparked"}', client.get("/metrics").text)
    first, *others = answers
    assert others == [first | {"cached": True}] * 2
    assert parked.gpu.calls() == [*CYCLE * 3, *CYCLE[:2]]
    assert health.status_code == 200
    told = health.json()
    assert (told["status"], told["state"], told["start"], told["restarts"]) == ("ok", "parked", "unparked", 0)
    assert list(told["phases"]) == phases == ["lock", "checkpoint", "restore", "unlock"]


def test_many_requests_that_come_at_once_are_all_answered(parked: Parked) -> None:
    with parked.client() as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(client)["text"], range(8)))
    assert len(set(answers)) == 1


def test_counting_tokens_wakes_it_and_what_is_known_does_not(parked: Parked) -> None:
    with parked.client() as client:
        before = parked.gpu.calls()
        assert client.get("/readyz").json() == {"status": "ok", "state": "parked"}
        assert 'warmgate_server_state{state="parked"} 1.0' in client.get("/metrics").text
        assert client.get("/v1/models").status_code == 200
        assert parked.gpu.calls() == before
        assert client.post("/v1/messages/count_tokens", json=COUNT).json()["input_tokens"] > 0
    assert parked.gpu.calls()[len(before) :][:2] == CYCLE[2:]


def test_it_stays_parked_while_others_use_the_memory(parked: Parked) -> None:
    with parked.client() as client, ThreadPoolExecutor(1) as pool:
        before = parked.gpu.calls()
        parked.gpu.has("others", 8)
        answer = pool.submit(ask, client)
        parked.gate.wait_for_line("Others use the GPU memory")
        assert client.get("/health").json()["state"] == "parked"
        assert parked.gpu.calls() == before
        parked.gpu.has("others", 7)
        assert answer.result()["text"]


def test_a_server_that_cannot_be_restored_is_started_again_and_the_request_waits(
    serve: Callable[..., Warmgate], gpu: FakeGpu
) -> None:
    gate = serve(*AT_ONCE, **gpu.environment)
    gate.wait_for_line(PARKED)
    engine = gate.engine()
    gpu.has("refuse", "cuCheckpointProcessRestore 304")
    with gate.client() as client:
        assert ask(client)["text"]
        health = client.get("/health").json()
        assert moves(client).items() >= {("unparkings failed", 1)}
    assert not engine.is_running()
    assert (health["start"], health["restarts_by_reason"]) == ("cold", {"gpu_state_lost": 1})
    refusal = "The NVIDIA driver refused cuCheckpointProcessRestore: CUDA_ERROR_OPERATING_SYSTEM (304)."
    assert health["last_error"]["message"] == f"llama-server lost what it had on the GPU: {refusal}"


def test_a_server_that_dies_while_parked_is_started_again(serve: Callable[..., Warmgate], gpu: FakeGpu) -> None:
    gate = serve(*AT_ONCE, **gpu.environment)
    gate.wait_for_line(PARKED)
    gate.engine().kill()
    gate.wait_for_line("Starting it again in")  # a request that comes sooner finds that it cannot be restored
    with gate.client() as client:
        assert ask(client)["text"]
        health = client.get("/health").json()
    assert health["restarts_by_reason"] == {"killed": 1}


def test_a_server_that_cannot_be_parked_goes_on_answering(serve: Callable[..., Warmgate], gpu: FakeGpu) -> None:
    gpu.has("refuse", "cuCheckpointProcessCheckpoint 2")
    gate = serve(*AT_ONCE, **gpu.environment)
    gate.wait_for_line("llama-server keeps its GPU memory: There was not enough memory for cuCheckpointProcessCheckp")
    with gate.client() as client:
        assert ask(client)["text"]
        assert client.get("/health").json()["restarts"] == 0
        assert moves(client) == {"parkings refused": 1}
    assert gpu.calls() == ["Lock", "Checkpoint", "Unlock"]


def test_sigterm_ends_a_parked_server_at_once(serve: Callable[..., Warmgate], gpu: FakeGpu) -> None:
    gate = serve(*AT_ONCE, **gpu.environment)
    gate.wait_for_line(PARKED)
    engine = gate.engine()
    assert gate.end() == 0
    assert not engine.is_running()
    assert "did not end within" not in gate.output


def test_a_machine_without_a_gpu_is_told_so_in_one_sentence(start_warmgate: Callable[..., Warmgate]) -> None:
    gate = start_warmgate("serve", "--port", "0", "--park-after", "300")
    gate.wait_for_line("^warmgate: ")
    assert gate.wait() == 1
    *_, last = gate.output.splitlines()
    assert last == (
        "warmgate: --park-after cannot be used: there is no NVIDIA driver here: libcuda.so.1 cannot be loaded."
    )
