"""Messages against the real llama-server and the contract model, every object held against Anthropic's own types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import anthropic
import pytest
from anthropic_dialect import added_up, check_body, events_of
from conftest import KEY

from contract.model.acts import NOTHING, REMEMBER
from contract.scenes import SCENES, SECRETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from conftest import Warmgate

THINK: Any = {"thinking": {"type": "adaptive"}}
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@pytest.fixture
def client(contract_warmgate: Warmgate) -> Iterator[httpx.Client]:
    with contract_warmgate.client() as client:
        yield client


def ask(client: httpx.Client, scene: str, *, stream: bool = False, **fields: Any) -> Any:
    """Play a scene. Returns the `message` object, whichever way it came."""
    functions = [tool["function"] for tool in SCENES[scene].tools]
    tools = [
        {"name": one["name"], "description": one["description"], "input_schema": one["parameters"]} for one in functions
    ]
    messages = [{"role": "user", "content": SCENES[scene].trigger}]
    body = {"messages": messages, "tools": tools, "temperature": 0, "max_tokens": 4096, "stream": stream, **fields}
    answer = client.post("/v1/messages?beta=true", json=body)
    assert answer.status_code == 200, answer.text
    message = added_up(events_of(answer.content)) if stream else answer.json()
    check_body(message)
    return message


def said(message: Any) -> list[tuple[str, Any]]:
    """Return an answer's blocks, each as its kind and what it holds."""
    return [_held(block) for block in message["content"]]


def _held(block: Any) -> tuple[str, Any]:
    match block["type"]:
        case "tool_use":
            return block["name"], block["input"]
        case kind:
            return kind, block[kind]


@STREAMED
def test_a_thought_and_an_answer(client: httpx.Client, stream: bool) -> None:
    scene = SCENES["think"]
    message = ask(client, "think", stream=stream, **THINK)
    assert said(message) == [("thinking", scene.thought), ("text", scene.text)]
    usage = message["usage"]
    assert 0 < usage["output_tokens_details"]["thinking_tokens"] < usage["output_tokens"]


@STREAMED
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"output_config": {"effort": "high"}},
        {"thinking": {"type": "disabled"}},
        {"thinking": {"type": "between_tools"}},
    ],
)
def test_who_does_not_ask_for_thought_gets_none(client: httpx.Client, fields: Any, stream: bool) -> None:
    message = ask(client, "think", stream=stream, **fields)
    assert said(message) == [("text", SCENES["think"].text_without_thinking)]
    assert message["stop_reason"] == "end_turn"
    assert message["usage"]["output_tokens_details"]["thinking_tokens"] == 0


@STREAMED
@pytest.mark.parametrize("scene", ["call", "parallel"])
def test_calls_come_whole_after_their_thought(client: httpx.Client, scene: str, stream: bool) -> None:
    message = ask(client, scene, stream=stream, **THINK)
    assert said(message) == [("thinking", SCENES[scene].thought), *SCENES[scene].calls]
    assert message["stop_reason"] == "tool_use"


@STREAMED
def test_an_answer_that_was_cut_off_says_so(client: httpx.Client, stream: bool) -> None:
    message = ask(client, "count", stream=stream, max_tokens=8)
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", 8)


@STREAMED
def test_a_stop_sequence_is_named(client: httpx.Client, stream: bool) -> None:
    message = ask(client, "count", stream=stream, stop_sequences=[" 5,"])
    assert said(message) == [("text", "1, 2, 3, 4,")]
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", " 5,")


@STREAMED
@pytest.mark.parametrize("display", ["summarized", "omitted", "updates"])
def test_a_sealed_thought_is_given_back_to_the_model(client: httpx.Client, display: str, stream: bool) -> None:
    colour = "teal"
    asked: Any = {"stream": stream, "thinking": {"type": "adaptive", "display": display}}
    first = ask(client, "remember", **asked)
    (_, thought), call = said(first)
    assert (SECRETS[colour] in thought) == (display == "summarized")
    assert call == ("lookup", {"colour": colour})

    question = {"role": "user", "content": SCENES["remember"].trigger}
    sealed, use = first["content"]
    use = {**use, "id": "toolu_unknown"}  # or the gateway would remember the thought by the call's id
    result = {"type": "tool_result", "tool_use_id": use["id"], "content": [{"type": "text", "text": "It is a colour."}]}

    def go_on(*blocks: Any) -> Any:
        answer = {"role": "assistant", "content": list(blocks)}
        return said(
            ask(client, "remember", messages=[question, answer, {"role": "user", "content": [result]}], **asked)
        )

    assert go_on({**sealed, "thinking": ""}, use)[-1] == ("text", f"{REMEMBER}{SECRETS[colour]}.")
    assert go_on({**sealed, "signature": "EqQBCgIYAhIM"}, use)[-1] == ("text", f"{REMEMBER}{NOTHING}.")
    assert go_on(use)[-1] == ("text", f"{REMEMBER}{NOTHING}.")


@STREAMED
def test_results_reach_the_calls_that_they_belong_to(client: httpx.Client, stream: bool) -> None:
    first = ask(client, "parallel", stream=stream)
    results = [
        {"type": "tool_result", "tool_use_id": use["id"], "content": use["input"]["city"]} for use in first["content"]
    ]
    messages = [
        {"role": "user", "content": SCENES["parallel"].trigger},
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": results},
    ]
    turned = [*messages[:2], {"role": "user", "content": results[::-1]}]
    assert said(ask(client, "parallel", messages=turned)) == said(ask(client, "parallel", messages=messages))


def test_the_tokens_are_counted_as_they_are_read(client: httpx.Client) -> None:
    body = {"messages": [{"role": "user", "content": SCENES["think"].trigger}], **THINK}
    counted = client.post("/v1/messages/count_tokens", json=body).json()["input_tokens"]
    usage = client.post("/v1/messages", json={**body, "max_tokens": 1000}).json()["usage"]
    assert counted == usage["input_tokens"] + usage["cache_read_input_tokens"]


def test_the_tool_runner_of_the_sdk_goes_on_without_the_thread_that_it_asks_for(contract_warmgate: Warmgate) -> None:
    asked: list[str] = []

    @anthropic.beta_tool
    def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> str:
        """Get the weather of a city."""
        asked.append(f"{city}, {unit}")
        return "Snow."

    with anthropic.Anthropic(base_url=contract_warmgate.url, api_key=KEY, max_retries=0) as client:
        runner = client.beta.messages.tool_runner(
            model="contract",
            messages=[{"role": "user", "content": SCENES["call"].trigger}],
            tools=[get_weather],
            max_tokens=200,
            extra_body={"temperature": 0},
        )
        assert [message.stop_reason for message in runner] == ["tool_use", "end_turn"]
    assert len(asked) == 1


@STREAMED
@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "assistant", "content": "Hello"}]},
        {"tool_choice": {"type": "any"}},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
    ],
    ids=["nothing-else", "required-call", "schema"],
)
def test_a_beginning_that_gemma_cannot_go_on_with_is_refused_by_name(
    client: httpx.Client, fields: Any, stream: bool
) -> None:
    begun = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "{"}]
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    body = {"messages": begun, "tools": tools, "max_tokens": 9, "stream": stream} | fields
    answer = client.post("/v1/messages", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages")
