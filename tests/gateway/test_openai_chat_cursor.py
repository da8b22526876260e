"""What Cursor's agent posts to Chat Completions: bodies and tools of the Responses API, answered as chat."""

from __future__ import annotations

import json
from typing import Any

import pytest
from driving import client_of, events_of, make_gateway, text_of
from fake_upstream import CHAT, FakeUpstream, scenario

from gateway.dialects.openai_chat import ChatCompletions, ParsedChat
from gateway.errors import InvalidRequest
from gateway.request import GenerationRequest, ToolChoice
from gateway.thinking import Thinking

FLAT = {
    "type": "function",
    "name": "read_file",
    "description": "Read a file.",
    "parameters": {"type": "object"},
    "strict": True,
}
NESTED = {
    "type": "function",
    "function": {"name": "read_file", "description": "Read a file.", "parameters": {"type": "object"}, "strict": True},
}
PATCH = {"type": "custom", "name": "ApplyPatch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}}
AGENT: dict[str, Any] = {
    "model": "gemma",
    "instructions": "Be concise.",
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 20_000,
    "reasoning": {"effort": "low"},
    "tools": [FLAT, PATCH],
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Read package.json"}]},
        {"type": "function_call", "call_id": "c", "name": "read_file", "arguments": '{"path":"package.json"}'},
        {"type": "function_call_output", "call_id": "c", "output": "{}"},
    ],
}


def parse(body: Any) -> ParsedChat:
    return ChatCompletions().parse(json.dumps(body).encode())


def test_a_body_of_the_responses_api_is_a_chat() -> None:
    assert parse(AGENT) == ParsedChat(
        generation=GenerationRequest(
            messages=[
                {"role": "system", "content": "Be concise."},
                {"role": "user", "content": "Read package.json"},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [
                        {
                            "id": "c",
                            "type": "function",
                            "function": {"name": "read_file", "arguments": '{"path":"package.json"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "c", "content": "{}"},
            ],
            thinking=Thinking(budget=2048),
            max_tokens=20_000,
            tools=[NESTED],
            tool_choice=ToolChoice("auto"),
        ),
        stream=True,
        choices=1,
        include_usage=True,
    )


def test_no_messages_beside_an_input_are_none() -> None:
    assert parse({"input": "Hi", "messages": []}).generation.messages == [{"role": "user", "content": "Hi"}]


def test_of_several_limits_the_newest_word_holds() -> None:
    limits = {"max_tokens": 1, "max_completion_tokens": 2}
    assert parse({"input": "Hi", **limits}).generation.max_tokens == 2
    assert parse({"input": "Hi", **limits, "max_output_tokens": 3}).generation.max_tokens == 3


def test_flat_tools_in_a_chat_are_nested_and_others_skipped() -> None:
    chat = {"messages": [{"role": "user", "content": "Hi"}], "tool_choice": "auto"}
    other = {"type": "function", "function": {"name": "list_files"}}
    assert parse({**chat, "tools": [other, FLAT, PATCH]}) == parse({**chat, "tools": [other, NESTED]})
    assert parse({**chat, "tools": [PATCH]}) == parse({**chat, "tools": []})


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "Hi", "foo": 1}, "foo"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": "Hi", "previous_response_id": "x"}, "previous_response_id"),
        ({"input": "Hi", "messages": [{"role": "user", "content": "Hi"}]}, "input"),
        ({"messages": [{"role": "user", "content": "Hi"}], "tools": [{"type": "function"}]}, "tools[0].function"),
        ({"messages": [{"role": "user"}], "tools": [FLAT]}, "messages[0].content"),
        ({"messages": []}, "messages"),
        ({}, "messages"),
    ],
)
def test_a_refusal_names_the_field_of_what_was_meant(body: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(body)
    assert caught.value.param == param


@scenario
async def test_the_answer_is_a_chat() -> None:
    async with FakeUpstream().listening() as upstream, client_of(make_gateway(upstream)) as client:
        streamed = await client.post(CHAT, json=AGENT)
        whole = await client.post(CHAT, json={**AGENT, "stream": False})
    assert text_of(streamed.content) == "Hello world"
    assert events_of(streamed.content)[-2]["usage"]["total_tokens"] == 7
    assert whole.json()["choices"][0]["message"]["content"] == "Hello world"
