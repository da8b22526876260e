"""litellm, with only a base URL and a key."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Warmgate


os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it asks the network for its price list when imported
import litellm


@pytest.fixture(scope="module", autouse=True)
def _event_loop() -> Iterator[None]:
    """Give litellm the loop that it asks the thread for: it would make one, and leave it open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def arguments(warmgate: Warmgate) -> dict[str, Any]:
    return {
        "model": "openai/smollm2-135m",
        "base_url": f"{warmgate.url}/v1",
        "api_key": KEY,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "What is the capital of France?"},
        ],
        "temperature": 0,
        "max_tokens": 24,
    }


def test_an_answer_in_one_piece(arguments: dict[str, Any]) -> None:
    answer = litellm.completion(**arguments)
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


def test_a_streamed_answer(arguments: dict[str, Any]) -> None:
    parts = list(litellm.completion(**arguments, stream=True))
    assert "Paris" in "".join(part.choices[0].delta.content or "" for part in parts)
