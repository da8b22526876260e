"""langchain-openai, with only a base URL and a key, through both of OpenAI's APIs."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Literal

import pytest
from conftest import KEY
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field, SecretStr

from clients import weather

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conftest import Warmgate
    from langchain_core.messages import BaseMessage


QUESTION = [("system", "You are a helpful assistant."), ("user", "What is the capital of France?")]


class Capital(BaseModel):
    """A country and its capital."""

    country: str = Field(max_length=30)
    capital: str = Field(max_length=30)


@tool
def get_weather(city: str, unit: Literal["celsius", "fahrenheit"]) -> str:
    """Get the weather of a city."""
    assert {"city": city, "unit": unit} == weather.ARGUMENTS
    return weather.RESULT


def model_at(url: str, *, responses: bool) -> ChatOpenAI:
    return ChatOpenAI(
        model="any",
        base_url=f"{url}/v1",
        api_key=SecretStr(KEY),
        temperature=0,
        max_tokens=200,  # type: ignore[call-arg]
        max_retries=0,
        use_responses_api=responses,
    )


@pytest.fixture(params=[False, True], ids=["chat", "responses"])
def responses(request: pytest.FixtureRequest) -> bool:
    """Tell which API is spoken."""
    return bool(request.param)


@pytest.fixture
def model(warmgate: Warmgate, responses: bool) -> ChatOpenAI:
    return model_at(warmgate.url, responses=responses)


def test_an_answer_in_one_piece(model: ChatOpenAI) -> None:
    answer = model.invoke(QUESTION)
    assert "Paris" in answer.text
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0


def test_a_streamed_answer(model: ChatOpenAI) -> None:
    parts = list(model.stream(QUESTION))
    assert len(parts) > 2
    assert "Paris" in "".join(part.text for part in parts)


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_call_and_its_result(contract_url: str, responses: bool, stream: bool) -> None:
    model = model_at(contract_url, responses=responses).bind_tools([get_weather])
    messages: list[BaseMessage] = [HumanMessage(weather.QUESTION)]

    def ask() -> AIMessage:
        return joined(model.stream(messages)) if stream else model.invoke(messages)

    asked = ask()
    (call,) = asked.tool_calls
    assert (call["name"], call["args"]) == (weather.NAME, weather.ARGUMENTS)
    messages += [asked, ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])]
    assert ask().text == weather.ANSWER


def joined(parts: Iterable[AIMessage]) -> AIMessage:
    chunks = [part for part in parts if isinstance(part, AIMessageChunk)]
    return functools.reduce(operator.add, chunks)


def test_structured_output_by_schema(model: ChatOpenAI) -> None:
    answer = model.with_structured_output(Capital, method="json_schema").invoke(QUESTION)
    assert isinstance(answer, Capital)


CONVERSATION = [HumanMessage(weather.QUESTION), AIMessage("It is sunny.")]


def test_structured_output_of_a_conversation(contract_url: str) -> None:
    """As an agent asks for it at its end, with the model's own words as the last message."""
    model = model_at(contract_url, responses=False)
    by_schema = model.with_structured_output(Capital, method="json_schema")
    assert isinstance(by_schema.invoke(CONVERSATION), Capital)
    by_tool = model.with_structured_output(weather.TOOL, method="function_calling")
    assert by_tool.invoke(CONVERSATION) == weather.ARGUMENTS


def test_agents_that_speak_in_turn(contract_url: str) -> None:
    model = model_at(contract_url, responses=False)
    assert model.invoke([*CONVERSATION, AIMessage("It is warm.", name="another")]).text
    assert model.invoke([AIMessage("What may I do for you?")]).text


def test_structured_output_by_tool(contract_url: str, responses: bool) -> None:
    model = model_at(contract_url, responses=responses)
    answer = model.with_structured_output(weather.TOOL, method="function_calling").invoke(weather.QUESTION)
    assert answer == weather.ARGUMENTS
