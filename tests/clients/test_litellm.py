"""litellm, with only a base URL and a key: as an OpenAI server, and as Anthropic's."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from conftest import KEY

from clients import weather

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Warmgate


os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it asks the network for its price list when imported
import litellm

QUESTION = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]


@pytest.fixture(scope="module", autouse=True)
def _event_loop() -> Iterator[None]:
    """Give litellm the loop that it asks the thread for: it would make one, and leave it open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture(params=["openai", "anthropic"])
def provider(request: pytest.FixtureRequest) -> str:
    """Tell whose API is spoken."""
    return str(request.param)


def arguments_for(provider: str, url: str) -> dict[str, Any]:
    base_url = f"{url}/v1" if provider == "openai" else url
    return {"model": f"{provider}/any", "base_url": base_url, "api_key": KEY, "temperature": 0}


@pytest.fixture
def arguments(warmgate: Warmgate, provider: str) -> dict[str, Any]:
    return arguments_for(provider, warmgate.url) | {"messages": QUESTION, "max_tokens": 24}


def test_an_answer_in_one_piece(arguments: dict[str, Any]) -> None:
    answer = litellm.completion(**arguments)
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


def test_a_streamed_answer(arguments: dict[str, Any]) -> None:
    parts = list(litellm.completion(**arguments, stream=True))
    assert "Paris" in "".join(part.choices[0].delta.content or "" for part in parts)


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_call_and_its_result(contract_url: str, provider: str, stream: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": weather.QUESTION}]

    def ask() -> Any:
        answer: Any = litellm.completion(
            **arguments_for(provider, contract_url), messages=messages, tools=[weather.TOOL], stream=stream
        )
        if stream:
            answer = litellm.stream_chunk_builder(list(answer))
        return answer.choices[0].message

    asked = ask()
    (call,) = asked.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == (weather.NAME, weather.ARGUMENTS)
    messages += [asked, {"role": "tool", "tool_call_id": call.id, "content": weather.RESULT}]
    assert ask().content == weather.ANSWER
