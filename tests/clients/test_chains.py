"""Five tool calls, each after the last one's result, through three clients.

The contract model decides by itself which step is next. SmolLM2-135M, which has no tools of its own and would answer in
words, is told which one to call: it is the gateway that makes a valid call of that.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from conftest import KEY
from contract.model.acts import CHAIN_END, STEPS
from contract.scenes import SCENES
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Warmgate

QUESTION = SCENES["chain"].trigger
TOOLS: list[Any] = list(SCENES["chain"].tools)
MOST_TOKENS = 400
AFTER = dict(zip(STEPS, (*STEPS[1:], ""), strict=True))


def result_of(step: str) -> str:
    return f"ok, next: {AFTER[step]}" if AFTER[step] else "done"


class OpenAIClient:
    """openai-python's Chat Completions."""

    def __init__(self, url: str) -> None:
        self._client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
        self._messages: list[Any] = [{"role": "user", "content": QUESTION}]

    def ask(self, named: str | None) -> tuple[str | None, str]:
        """Return the step that is called and answer it with its result, or None and what is said instead."""
        choice: Any = {"type": "function", "function": {"name": named}} if named else "auto"
        answer = self._client.chat.completions.create(
            model="any",
            messages=self._messages,
            tools=TOOLS,
            tool_choice=choice,
            temperature=0,
            max_tokens=MOST_TOKENS,
        )
        message = answer.choices[0].message
        if not message.tool_calls:
            return None, message.content or ""
        (call,) = message.tool_calls
        assert call.type == "function"
        assert json.loads(call.function.arguments) == {}
        self._messages += [message, {"role": "tool", "tool_call_id": call.id, "content": result_of(call.function.name)}]
        return call.function.name, ""

    def close(self) -> None:
        self._client.close()


class AnthropicClient:
    """Anthropic's Messages."""

    def __init__(self, url: str) -> None:
        self._client = anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0)
        self._messages: list[Any] = [{"role": "user", "content": QUESTION}]
        functions = [tool["function"] for tool in TOOLS]
        self._tools: list[Any] = [{"name": one["name"], "input_schema": one["parameters"]} for one in functions]

    def ask(self, named: str | None) -> tuple[str | None, str]:
        """Return the step that is called and answer it with its result, or None and what is said instead."""
        choice: Any = {"type": "tool", "name": named} if named else {"type": "auto"}
        answer = self._client.messages.create(
            model="any",
            messages=self._messages,
            tools=self._tools,
            tool_choice=choice,
            max_tokens=MOST_TOKENS,
            extra_body={"temperature": 0},
        )
        calls = [block for block in answer.content if block.type == "tool_use"]
        if not calls:
            return None, "".join(block.text for block in answer.content if block.type == "text")
        (call,) = calls
        assert call.input == {}
        result = {"type": "tool_result", "tool_use_id": call.id, "content": result_of(call.name)}
        self._messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
        return call.name, ""

    def close(self) -> None:
        self._client.close()


class LangChainClient:
    """LangChain's `bind_tools`."""

    def __init__(self, url: str) -> None:
        self._model = ChatOpenAI(
            model="any",
            base_url=f"{url}/v1",
            api_key=SecretStr(KEY),
            temperature=0,
            max_tokens=MOST_TOKENS,  # type: ignore[call-arg]
            max_retries=0,
        )
        self._messages: list[Any] = [HumanMessage(QUESTION)]

    def ask(self, named: str | None) -> tuple[str | None, str]:
        """Return the step that is called and answer it with its result, or None and what is said instead."""
        answer = self._model.bind_tools(TOOLS, tool_choice=named or "auto").invoke(self._messages)
        if not answer.tool_calls:
            return None, answer.text
        (call,) = answer.tool_calls
        assert call["args"] == {}
        self._messages += [answer, ToolMessage(result_of(call["name"]), tool_call_id=call["id"])]
        return call["name"], ""

    def close(self) -> None:
        """Leave it: it has no end of its own."""


Client = OpenAIClient | AnthropicClient | LangChainClient


@pytest.fixture(params=[OpenAIClient, AnthropicClient, LangChainClient], ids=["openai", "anthropic", "langchain"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Client]]:
    """Return a function that makes a client of a gateway's address."""
    made: list[Client] = []

    def make(url: str) -> Client:
        made.append(request.param(url))
        return made[-1]

    yield make
    for client in made:
        client.close()


def test_a_model_that_knows_the_way_goes_five_steps(connect: Callable[[str], Client], contract_url: str) -> None:
    client = connect(contract_url)
    assert [client.ask(None) for _ in range(6)] == [*((step, "") for step in STEPS), (None, CHAIN_END)]


def test_a_model_without_tools_is_led_five_steps(connect: Callable[[str], Client], warmgate: Warmgate) -> None:
    client = connect(warmgate.url)
    assert [client.ask(step) for step in STEPS] == [(step, "") for step in STEPS]
