"""The OpenAI Agents SDK, with only a base URL and a key: a function tool, through each of its two kinds of models."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import openai
import pytest
import weather
from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from conftest import KEY
from fake_model import PREFIX, serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Warmgate

Model = type[OpenAIChatCompletionsModel] | type[OpenAIResponsesModel]
MODELS = [OpenAIChatCompletionsModel, OpenAIResponsesModel]

set_tracing_disabled(disabled=True)  # or it sends its traces to OpenAI


@function_tool
def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    assert city == weather.ARGUMENTS["city"]
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
def test_an_agent_with_a_tool(
    tmp_path: Path, gateway_before: Callable[[Path], Warmgate], model: Model, stream: bool
) -> None:
    with serving(tmp_path, weather.TOOL, weather.ARGUMENTS) as scripted:
        url = gateway_before(scripted.socket_path).url
        assert asyncio.run(run(model, url, stream=stream)) == PREFIX + weather.RESULT
