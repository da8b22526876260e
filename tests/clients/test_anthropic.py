"""Anthropic's Python client, with only a base URL and a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anthropic.types import MessageParam, ToolParam
    from conftest import Warmgate

MODEL = "smollm2-135m"
GREEDY = {"temperature": 0}  # the client has no such argument any more
SYSTEM = "You are a helpful assistant."
QUESTION: list[MessageParam] = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER: ToolParam = {
    "name": "get_weather",
    "description": "Get the weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
def client(warmgate: Warmgate) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=warmgate.url, api_key=KEY, max_retries=0) as client:
        yield client


def test_an_answer_in_one_piece(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(model=MODEL, system=SYSTEM, messages=QUESTION, max_tokens=24, extra_body=GREEDY)
    (block,) = answer.content
    assert block.type == "text"
    assert "Paris" in block.text
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens > 0


def test_the_beta_api_answers_too(client: anthropic.Anthropic) -> None:
    answer = client.beta.messages.create(
        model=MODEL,
        system=SYSTEM,
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        max_tokens=24,
        betas=["context-management-2025-06-27"],
    )
    assert answer.content[0].type == "text"


def test_the_stream_helper_assembles_the_answer(client: anthropic.Anthropic) -> None:
    with client.messages.stream(
        model=MODEL, system=SYSTEM, messages=QUESTION, max_tokens=24, extra_body=GREEDY
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert "Paris" in text
    assert [block.text for block in final.content if block.type == "text"] == [text]
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens > 0


def test_the_input_is_counted_without_and_with_an_answer(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model=MODEL, system=SYSTEM, messages=QUESTION)
    answer = client.messages.create(model=MODEL, system=SYSTEM, messages=QUESTION, max_tokens=1)
    assert answer.stop_reason == "max_tokens"
    assert counted.input_tokens == answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)
    longer = client.messages.count_tokens(model=MODEL, system=SYSTEM * 2, messages=QUESTION)
    assert longer.input_tokens > counted.input_tokens


def test_a_prompt_that_was_read_before_is_read_from_the_cache(client: anthropic.Anthropic) -> None:
    _, again = (
        client.messages.create(model=MODEL, system=SYSTEM * 20, messages=QUESTION, max_tokens=1).usage for _ in range(2)
    )
    assert again.cache_read_input_tokens
    assert again.cache_read_input_tokens > again.input_tokens


def test_a_stop_sequence_ends_the_answer_and_is_named(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(
        model=MODEL, system=SYSTEM, messages=QUESTION, max_tokens=24, extra_body=GREEDY, stop_sequences=["Paris"]
    )
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "Paris")
    assert "Paris" not in "".join(block.text for block in answer.content if block.type == "text")


def test_a_last_message_of_the_models_is_gone_on_with(client: anthropic.Anthropic) -> None:
    begun: list[MessageParam] = [*QUESTION, {"role": "assistant", "content": "The capital of France is"}]
    answer = client.messages.create(model=MODEL, system=SYSTEM, messages=begun, max_tokens=8, extra_body=GREEDY)
    (block,) = answer.content
    assert block.type == "text"
    assert block.text.lstrip().startswith("Paris")


def test_the_result_of_a_tool_is_read(client: anthropic.Anthropic) -> None:
    conversation: list[MessageParam] = [
        {"role": "user", "content": "What is the weather in Paris?"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "It is snowing heavily."}],
        },
    ]
    with client.messages.stream(
        model=MODEL, messages=conversation, tools=[WEATHER], max_tokens=40, extra_body=GREEDY
    ) as stream:
        final = stream.get_final_message()
    assert final.content
    unasked = client.messages.count_tokens(model=MODEL, messages=conversation[:1], tools=[WEATHER])
    read = client.messages.count_tokens(model=MODEL, messages=conversation, tools=[WEATHER])
    assert read.input_tokens > unasked.input_tokens


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
def test_a_call_that_is_asked_for_comes_and_its_schema_holds(client: anthropic.Anthropic, choice: Any) -> None:
    asked: Any = {"model": MODEL, "tools": [WEATHER], "tool_choice": choice, "max_tokens": 200, "extra_body": GREEDY}
    question: MessageParam = {"role": "user", "content": "What is the weather in Paris?"}
    answer = client.messages.create(messages=[question], **asked)
    with client.messages.stream(messages=[question], **asked) as stream:
        streamed = stream.get_final_message()
    for message in (answer, streamed):
        assert message.stop_reason == "tool_use"
        calls: list[Any] = [block for block in message.content if block.type == "tool_use"]
        (call,) = calls
        assert call.id.startswith("toolu_")
        assert call.name == "get_weather"
        assert isinstance(call.input["city"], str)


def test_an_answer_after_a_schema(client: anthropic.Anthropic) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["n"],
        "additionalProperties": False,
    }
    answer = client.messages.create(
        model=MODEL,
        messages=[{"role": "user", "content": "A number, please."}],
        max_tokens=64,
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    (block,) = answer.content
    assert block.type == "text"
    assert block.text.replace(" ", "").replace("\n", "").startswith('{"n":')


def test_a_wrong_key_is_an_authentication_error(warmgate: Warmgate) -> None:
    with (
        anthropic.Anthropic(base_url=warmgate.url, api_key="sk-wrong", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError, match="Incorrect API key") as caught,
    ):
        client.messages.create(model=MODEL, messages=QUESTION, max_tokens=1)
    assert caught.value.type == "authentication_error"


def test_a_bad_value_is_a_bad_request_that_names_the_field(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="'temperature'") as caught:
        client.messages.create(model=MODEL, messages=QUESTION, max_tokens=1, extra_body={"temperature": 9})
    assert caught.value.type == "invalid_request_error"


def test_a_prompt_that_is_too_long_is_refused_with_its_length(client: anthropic.Anthropic) -> None:
    long: list[MessageParam] = [{"role": "user", "content": "sea " * 40_000}]
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > \d+ maximum"):
        client.messages.create(model=MODEL, messages=long, max_tokens=1)
