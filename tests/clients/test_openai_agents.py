"""The OpenAI Agents SDK, with only a base URL and a key: a function tool, through each of its two kinds of models."""

from __future__ import annotations

import asyncio
from typing import Literal

import openai
import pytest
from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from conftest import KEY

from clients import weather

Model = type[OpenAIChatCompletionsModel] | type[OpenAIResponsesModel]
MODELS = [OpenAIChatCompletionsModel, OpenAIResponsesModel]

set_tracing_disabled(disabled=True)  # or it sends its traces to OpenAI


@function_tool
def get_weather(city: str, unit: Literal["celsius", "fahrenheit"]) -> str:
    """Get the weather of a city."""
    assert {"city": city, "unit": unit} == weather.ARGUMENTS
    return weather.RESULT


async def run(model: Model, url: str, *, stream: bool) -> str:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        agent = Agent("Forecaster", model=model("any", client), tools=[get_weather])
        if not stream:
            return str((await Runner.run(agent, weather.QUESTION)).final_output)
        streamed = Runner.run_streamed(agent, weather.QUESTION)
        async for _ in streamed.stream_events():
            pass
        return str(streamed.final_output)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_an_agent_with_a_tool(contract_url: str, model: Model, stream: bool) -> None:
    assert asyncio.run(run(model, contract_url, stream=stream)) == weather.ANSWER
