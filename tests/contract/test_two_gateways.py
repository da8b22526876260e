"""A thought that one gateway sealed is opened by another one that has the same keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conftest import KEY

from contract.model.acts import NOTHING, REMEMBER
from contract.scenes import SCENES, SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Warmgate

    from contract.upstream import Upstream

TOOLS = [{"type": "function", **tool["function"]} for tool in SCENES["remember"].tools]
QUESTION = {"role": "user", "content": SCENES["remember"].trigger}
REQUEST: dict[str, Any] = {
    "tools": TOOLS,
    "temperature": 0,
    "store": False,
    "include": ["reasoning.encrypted_content"],
}


def respond(gateway: Warmgate, items: list[Any], key: str = KEY) -> list[Any]:
    with gateway.client(key) as client:
        answer = client.post("/v1/responses", json=REQUEST | {"input": items})
    assert answer.status_code == 200, answer.text
    output: list[Any] = answer.json()["output"]
    return output


def test_the_second_turn_may_reach_another_gateway(upstream: Upstream, start_warmgate: Callable[..., Warmgate]) -> None:
    def gateway(key: str) -> Warmgate:
        settings = {"WARMGATE_API_KEYS": f"tests:{key}"}
        return start_warmgate("gateway", "--upstream", upstream.url, "--port", "0", **settings).ready()

    one, another, stranger = gateway(KEY), gateway(KEY), gateway("sk-of-somebody-else")
    thought, call = respond(one, [QUESTION])
    thought["summary"] = []  # as a client may that shows no thoughts: all that is left of it is sealed
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "It is a colour."}
    turn = [QUESTION, thought, call, result]
    assert respond(another, turn)[-1]["content"][0]["text"] == f"{REMEMBER}{SECRETS['teal']}."
    assert respond(stranger, turn, "sk-of-somebody-else")[-1]["content"][0]["text"] == f"{REMEMBER}{NOTHING}."
