"""openai-python's Responses, with only a base URL and a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openai
import pytest
from conftest import KEY
from openai.types.responses import ResponseFunctionToolCall
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Warmgate
    from openai.types.responses import FunctionToolParam, ResponseInputParam

MODEL = "smollm2-135m"
INSTRUCTIONS = "You are a helpful assistant."
QUESTION = "What is the capital of France?"
WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


@pytest.fixture
def client(warmgate: Warmgate) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{warmgate.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def test_an_answer_in_one_piece(client: openai.OpenAI) -> None:
    answer = client.responses.create(
        model=MODEL, instructions=INSTRUCTIONS, input=QUESTION, temperature=0, max_output_tokens=24
    )
    assert "Paris" in answer.output_text
    assert (answer.status, answer.model, answer.incomplete_details) == ("completed", MODEL, None)
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_the_events_of_a_stream_add_up_to_the_answer(client: openai.OpenAI) -> None:
    events = list(
        client.responses.create(
            model=MODEL, instructions=INSTRUCTIONS, input=QUESTION, temperature=0, max_output_tokens=24, stream=True
        )
    )
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    final = events[-1]
    assert final.type == "response.completed"
    assert "Paris" in text
    assert final.response.output_text == text


def test_the_stream_helper_assembles_the_answer(client: openai.OpenAI) -> None:
    with client.responses.stream(
        model=MODEL, instructions=INSTRUCTIONS, input=QUESTION, temperature=0, max_output_tokens=24
    ) as stream:
        assert "Paris" in stream.get_final_response().output_text


def test_an_answer_goes_back_as_it_came(client: openai.OpenAI) -> None:
    history: ResponseInputParam = [{"role": "user", "content": QUESTION}]
    answer = client.responses.create(model=MODEL, input=history, temperature=0, max_output_tokens=24)
    history += [item.to_dict() for item in answer.output]  # type: ignore[misc]  # what openai's own guide does
    history += [{"role": "user", "content": "And of Germany?"}]
    second = client.responses.create(model=MODEL, input=history, temperature=0, max_output_tokens=24)
    assert second.output_text
    assert second.usage is not None
    assert answer.usage is not None
    assert second.usage.input_tokens > answer.usage.input_tokens


def test_an_answer_that_was_cut_off_is_incomplete(client: openai.OpenAI) -> None:
    answer = client.responses.create(model=MODEL, input="Count to a thousand.", temperature=0, max_output_tokens=4)
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage is not None
    assert answer.usage.output_tokens == 4


def test_an_answer_in_a_schema_is_parsed(client: openai.OpenAI) -> None:
    class City(BaseModel):
        name: str
        millions: int

    answer = client.responses.parse(
        model=MODEL, input="Name a city in France.", text_format=City, temperature=0, max_output_tokens=64
    )
    assert isinstance(answer.output_parsed, City)


def test_log_probabilities_come_with_the_text(client: openai.OpenAI) -> None:
    answer = client.responses.create(
        model=MODEL,
        input=QUESTION,
        temperature=0,
        max_output_tokens=4,
        top_logprobs=2,
        include=["message.output_text.logprobs"],
    )
    message = answer.output[0]
    assert message.type == "message"
    part = message.content[0]
    assert part.type == "output_text"
    assert part.logprobs is not None
    assert "".join(token.token for token in part.logprobs) == part.text
    assert {len(token.top_logprobs) for token in part.logprobs} == {2}


def test_a_call_and_its_result_go_back(client: openai.OpenAI) -> None:
    """SmolLM2 does not call tools reliably, so the call is a given one."""
    call = ResponseFunctionToolCall(
        type="function_call", id="fc_1", call_id="call_1", name="get_weather", arguments='{"city": "Paris"}'
    )
    history: ResponseInputParam = [
        {"role": "user", "content": "What is the weather in Paris?"},
        call.to_dict(),  # type: ignore[list-item]  # what openai's own guide does
        {"type": "function_call_output", "call_id": "call_1", "output": "It is raining in Paris."},
    ]
    answer = client.responses.create(
        model=MODEL, input=history, tools=[WEATHER], tool_choice="none", temperature=0, max_output_tokens=32
    )
    assert answer.output_text
    assert answer.tools[0].to_dict() == WEATHER


def test_what_was_stored_elsewhere_is_refused_by_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="Nothing is stored here") as caught:
        client.responses.create(model=MODEL, input=QUESTION, previous_response_id="resp_1")
    assert caught.value.param == "previous_response_id"
