"""`warmgate gateway` before a llama-server that runs already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Warmgate

SHORT = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}


def test_it_answers_over_the_servers_socket_and_learns_its_slots(
    warmgate: Warmgate, start_warmgate: Callable[..., Warmgate]
) -> None:
    arguments = warmgate.engine().cmdline()
    upstream = f"unix:{arguments[arguments.index('--host') + 1]}"
    gate = start_warmgate("gateway", "--upstream", upstream, "--port", "0", WARMGATE_API_KEYS=KEY).ready()
    with gate.client() as client:
        assert client.post("/v1/chat/completions", json=SHORT).json()["usage"]["completion_tokens"] == 4
        assert client.get("/readyz").json() == {"status": "ok", "state": "ready"}
        assert "warmgate_slots 4.0" in client.get("/metrics").text
    assert gate.end() == 0


def test_while_nobody_listens_there_it_says_so(start_warmgate: Callable[..., Warmgate]) -> None:
    settings = {"WARMGATE_API_KEYS": KEY, "WARMGATE_READY_WAIT_SECONDS": "0.5"}
    gate = start_warmgate("gateway", "--upstream", "unix:/nowhere/llama.sock", "--port", "0", **settings).ready()
    with gate.client() as client:
        response = client.post("/v1/chat/completions", json=SHORT)
        health = client.get("/health")
    assert response.status_code == 503
    assert response.json()["error"]["message"] == "The model is not ready (unreachable)."
    assert health.status_code == 503
    assert health.json()["state"] == "unreachable"
