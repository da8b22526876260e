"""openai-python, with only a base URL and a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openai
import pytest
from conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Warmgate
    from openai.types.chat import ChatCompletionMessageParam

MODEL = "smollm2-135m"
QUESTION: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]


@pytest.fixture
def client(warmgate: Warmgate) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{warmgate.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def test_an_answer_in_one_piece(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=24)
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    assert answer.choices[0].finish_reason == "stop"


def test_a_streamed_answer_with_usage(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        temperature=0,
        max_tokens=24,
        stream=True,
        stream_options={"include_usage": True},
    )
    parts = list(stream)
    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert "Paris" in text
    assert parts[-1].usage is not None
    assert parts[-1].usage.completion_tokens > 0


def test_the_stream_helper_assembles_the_answer(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model=MODEL, messages=QUESTION, temperature=0, max_tokens=24) as stream:
        final = stream.get_final_completion()
    assert "Paris" in (final.choices[0].message.content or "")


def test_the_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]


def test_a_wrong_key_is_an_authentication_error(warmgate: Warmgate) -> None:
    with (
        openai.OpenAI(base_url=f"{warmgate.url}/v1", api_key="sk-wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError, match="Incorrect API key"),
    ):
        client.models.list()


def test_a_bad_value_is_a_bad_request_that_names_the_field(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=9)
    assert caught.value.param == "temperature"
