"""A model that calls the same tool for ever, on the real llama-server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from conftest import END_SECONDS, KEY, Warmgate

from contract.scenes import SCENES, SERVED

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

CHAT = "/v1/chat/completions"
SCENE = SCENES["loop"]
MOST = 3
CALL = ("lookup", '{"colour":"blue"}')


@pytest.fixture(scope="module")
def bounded_warmgate() -> Iterator[Warmgate]:
    environment = {"WARMGATE_API_KEYS": f"tests:{KEY}", "WARMGATE_MOST_IDENTICAL_CALLS": str(MOST)}
    process = Warmgate("serve", "--port", "0", *SERVED, "--set", "slots=1", env=environment)
    try:
        yield process.ready()
    finally:
        process.process.kill()
        process.process.wait(END_SECONDS)


def ask(client: httpx.Client, messages: list[Any], **fields: Any) -> httpx.Response:
    body = {"messages": messages, "tools": SCENE.tools, "temperature": 0, "max_tokens": 900, "enable_thinking": True}
    return client.post(CHAT, json=body | fields)


def go_round(client: httpx.Client, rounds: int) -> list[Any]:
    """Return the conversation after so many calls, each one the same and each with its result."""
    messages: list[Any] = [*SCENE.messages]
    for _ in range(rounds):
        answer = ask(client, messages)
        assert answer.status_code == 200, answer.text
        message = answer.json()["choices"][0]["message"]
        (call,) = message["tool_calls"]
        assert (call["function"]["name"], call["function"]["arguments"]) == CALL
        messages += [message, {"role": "tool", "tool_call_id": call["id"], "content": "red"}]
    return messages


def test_without_a_bound_it_goes_on(contract_warmgate: Warmgate) -> None:
    with contract_warmgate.client() as client:
        go_round(client, MOST + 2)


def test_at_the_bound_it_answers_in_words(bounded_warmgate: Warmgate) -> None:
    with bounded_warmgate.client() as client:
        messages = go_round(client, MOST)
        body = ask(client, messages).json()
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"]
    assert "lookup" not in choice["message"]["content"]
    assert "tool_calls" not in choice["message"]
    assert body["usage"]["prompt_tokens_details"]["cached_tokens"] > body["usage"]["prompt_tokens"] // 2


def test_at_the_bound_a_required_call_is_refused(bounded_warmgate: Warmgate) -> None:
    with bounded_warmgate.client() as client:
        answer = ask(client, go_round(client, MOST), tool_choice="required", stream=True)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "identical_tool_calls")


def test_after_another_word_of_the_users_it_may_call_again(bounded_warmgate: Warmgate) -> None:
    with bounded_warmgate.client() as client:
        answer = ask(client, [*go_round(client, MOST), *SCENE.messages])
    assert answer.json()["choices"][0]["finish_reason"] == "tool_calls"


def test_a_model_that_may_not_call_answers_in_words(contract_warmgate: Warmgate) -> None:
    with contract_warmgate.client() as client:
        message = ask(client, SCENE.messages, tool_choice="none").json()["choices"][0]["message"]
    assert message["content"]
    assert "lookup" not in message["content"]


def test_a_broken_history_goes_on(contract_warmgate: Warmgate) -> None:
    """llama-server itself answers such arguments with a 500, and drops such results."""
    call = {"type": "function", "function": {"name": "lookup", "arguments": "blue"}}
    results = [{"role": "tool", "content": "red"}, {"role": "tool", "content": "red", "tool_call_id": "x"}]
    with contract_warmgate.client() as client:
        answer = ask(client, [*SCENE.messages, {"role": "assistant", "tool_calls": [call]}, *results])
    assert answer.status_code == 200, answer.text
