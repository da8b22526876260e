"""langchain-openai, with only a base URL and a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from conftest import KEY
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

if TYPE_CHECKING:
    from conftest import Warmgate


QUESTION = [("system", "You are a helpful assistant."), ("user", "What is the capital of France?")]


@pytest.fixture
def model(warmgate: Warmgate) -> ChatOpenAI:
    return ChatOpenAI(
        model="smollm2-135m", base_url=f"{warmgate.url}/v1", api_key=SecretStr(KEY), temperature=0, max_retries=0
    )


def test_an_answer_in_one_piece(model: ChatOpenAI) -> None:
    answer = model.invoke(QUESTION)
    assert "Paris" in str(answer.content)
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0


def test_a_streamed_answer(model: ChatOpenAI) -> None:
    parts = list(model.stream(QUESTION))
    assert len(parts) > 2
    assert "Paris" in "".join(str(part.content) for part in parts)
