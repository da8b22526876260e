"""Chat Completions: the thought that led to a call, with the call's result in the next turn.

Gemma 4 wants it back. Clients that know of thoughts send it as `reasoning_content`; for those that do not, the gateway
remembers it by the call's id. Responses and Messages have sealed thoughts: see their own files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from contract.model.acts import NOTHING, REMEMBER
from contract.playing import CHAT
from contract.scenes import SCENES, SECRETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from conftest import Warmgate

SCENE = SCENES["remember"]
KNOWN = f"{REMEMBER}{SECRETS['teal']}."
UNKNOWN = f"{REMEMBER}{NOTHING}."
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@pytest.fixture
def client(contract_warmgate: Warmgate) -> Iterator[httpx.Client]:
    with contract_warmgate.client() as client:
        yield client


def ask(client: httpx.Client, *turn: dict[str, Any]) -> Any:
    messages = [*SCENE.messages, *turn]
    answer = client.post(CHAT, json={"messages": messages, "tools": list(SCENE.tools), "temperature": 0})
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]


def result_of(message: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "It is a colour."}


def without_thought(message: Any) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name != "reasoning_content"}


def renamed(message: Any) -> dict[str, Any]:
    (call,) = message["tool_calls"]
    return {**message, "tool_calls": [{**call, "id": "call_of_another_process"}]}


def test_a_client_that_gives_the_thought_back_is_believed(client: httpx.Client) -> None:
    called = renamed(ask(client))
    assert ask(client, called, result_of(called))["content"] == KNOWN


def test_a_thought_that_the_client_lost_is_remembered(client: httpx.Client) -> None:
    called = without_thought(ask(client))
    assert ask(client, called, result_of(called))["content"] == KNOWN


def test_a_call_that_nobody_remembers_has_no_thought(client: httpx.Client) -> None:
    called = renamed(without_thought(ask(client)))
    assert ask(client, called, result_of(called))["content"] == UNKNOWN
