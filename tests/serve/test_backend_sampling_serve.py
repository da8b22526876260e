"""Answers sampled in the engine's own graph, with the real llama-server. On a CPU that is slow, and just as right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from conftest import KEY, Warmgate

if TYPE_CHECKING:
    from collections.abc import Callable

GREEDY = {"messages": [{"role": "user", "content": "Count from one to ten."}], "max_tokens": 5, "temperature": 0}


def sampled_by_the_engine(gate: Warmgate) -> list[bool]:
    """Return, for each slot that has been used, whether its last answer was sampled in the graph."""
    command = gate.engine().cmdline()
    transport = httpx.HTTPTransport(uds=command[command.index("--host") + 1])
    with httpx.Client(transport=transport, base_url="http://llama-server") as client:
        slots: list[dict[str, Any]] = client.get("/slots").json()
    return [slot["params"]["backend_sampling"] for slot in slots if "params" in slot]


def text(gate: Warmgate) -> str:
    with gate.client() as client:
        answer = client.post("/v1/chat/completions", json=GREEDY).json()
    return str(answer["choices"][0]["message"]["content"])


def counted(gate: Warmgate) -> float:
    with gate.client() as client:
        lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("warmgate_backend_sampling_requests_total{"))


def test_a_greedy_answer_is_the_same_wherever_it_is_sampled(
    warmgate: Warmgate, start_warmgate: Callable[..., Warmgate]
) -> None:
    other = start_warmgate("serve", "--port", "0", WARMGATE_API_KEYS=KEY, WARMGATE_BACKEND_SAMPLING="on").ready()
    assert text(other) == text(warmgate)
    assert True in sampled_by_the_engine(other)
    assert True not in sampled_by_the_engine(warmgate)  # auto, and the model is not on a GPU
    assert counted(other) == 1
    assert counted(warmgate) == 0
    other.end()
