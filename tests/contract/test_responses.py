"""Responses against the real llama-server and the contract model, every object held against the specification."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from responses_checks import checked_events, checked_response

from contract.model.acts import NOTHING, REMEMBER
from contract.scenes import SCENES, SECRETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from conftest import Warmgate

PATH = "/v1/responses"
SEALED = {"include": ["reasoning.encrypted_content"]}
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@pytest.fixture
def client(contract_warmgate: Warmgate) -> Iterator[httpx.Client]:
    with contract_warmgate.client() as client:
        yield client


def ask(client: httpx.Client, scene: str, *, stream: bool = False, **fields: Any) -> Any:
    """Play a scene. Returns the `response` object, whichever way it came."""
    flat = [{"type": "function", **tool["function"]} for tool in SCENES[scene].tools]
    body = {"input": SCENES[scene].trigger, "tools": flat, "temperature": 0, "stream": stream, **fields}
    answer = client.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    if not stream:
        return checked_response(answer.json())
    events = checked_events(answer.content)
    assert events[-1] == "[DONE]"
    assert [event["sequence_number"] for event in events[:-1]] == list(range(len(events) - 1))
    return events[-2]["response"]


def said(response: Any) -> list[tuple[str, Any]]:
    """Return an answer's items, each as its kind and what it holds."""
    return [_held(item) for item in response["output"]]


def _held(item: Any) -> tuple[str, Any]:
    match item["type"]:
        case "reasoning":
            return "thought", item["summary"][0]["text"]
        case "message":
            return "text", item["content"][0]["text"]
        case _:
            return item["name"], json.loads(item["arguments"])


@STREAMED
def test_a_thought_and_an_answer(client: httpx.Client, stream: bool) -> None:
    scene = SCENES["think"]
    response = ask(client, "think", stream=stream)
    assert said(response) == [("thought", scene.thought), ("text", scene.text)]
    usage = response["usage"]
    assert 0 < usage["output_tokens_details"]["reasoning_tokens"] < usage["output_tokens"]


@STREAMED
def test_no_effort_is_no_thought(client: httpx.Client, stream: bool) -> None:
    response = ask(client, "think", stream=stream, reasoning={"effort": "none"})
    assert said(response) == [("text", SCENES["think"].text_without_thinking)]
    assert response["status"] == "completed"
    assert response["usage"]["output_tokens_details"]["reasoning_tokens"] == 0


@STREAMED
@pytest.mark.parametrize("scene", ["call", "parallel"])
def test_calls_come_whole_after_their_thought(client: httpx.Client, scene: str, stream: bool) -> None:
    response = ask(client, scene, stream=stream)
    assert said(response) == [("thought", SCENES[scene].thought), *SCENES[scene].calls]


@STREAMED
def test_an_answer_that_was_cut_off_is_incomplete(client: httpx.Client, stream: bool) -> None:
    response = ask(client, "count", stream=stream, max_output_tokens=8, reasoning={"effort": "none"})
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response["output"][-1]["status"] == "incomplete"
    assert response["usage"]["output_tokens"] == 8


@STREAMED
def test_a_sealed_thought_is_given_back_to_the_model(client: httpx.Client, stream: bool) -> None:
    colour = "teal"
    first = ask(client, "remember", stream=stream, **SEALED)
    (_, thought), (name, arguments) = said(first)
    assert SECRETS[colour] in thought
    assert (name, arguments) == ("lookup", {"colour": colour})

    sealed = {**first["output"][0], "summary": []}
    assert thought not in json.dumps(sealed)
    call = {**first["output"][1], "call_id": "call_of_another_process"}  # by its own id the gateway would know it
    question = {"role": "user", "content": SCENES["remember"].trigger}
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "It is a colour."}
    with_thought = ask(client, "remember", stream=stream, input=[question, sealed, call, result])
    without = ask(client, "remember", stream=stream, input=[question, call, result])
    assert said(with_thought)[-1] == ("text", f"{REMEMBER}{SECRETS[colour]}.")
    assert said(without)[-1] == ("text", f"{REMEMBER}{NOTHING}.")


@STREAMED
@pytest.mark.parametrize(
    ("before", "fields"),
    [
        ([], {}),
        ([{"role": "user", "content": "Hi"}], {"text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}}),
        ([{"role": "user", "content": "Hi"}], {"tool_choice": "required"}),
    ],
    ids=["nothing-else", "schema", "required-call"],
)
def test_a_text_of_the_models_that_cannot_be_gone_on_with_is_answered(
    client: httpx.Client, before: list[Any], fields: Any, stream: bool
) -> None:
    begun = [*before, {"role": "assistant", "content": SCENES["call"].trigger}]
    response = ask(client, "call", stream=stream, input=begun, max_output_tokens=100, **fields)
    assert response["output"]
