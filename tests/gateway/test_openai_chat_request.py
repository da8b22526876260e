"""The request dialect: what is refused and how it is named, what is accepted and what of it goes upstream."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming

from gateway.dialects.openai_chat import ChatCompletions
from gateway.dialects.openai_chat_request import IGNORED, UNSUPPORTED, ChatCompletionRequest
from gateway.dialects.openai_chat_thinking import ThinkingFields
from gateway.errors import InvalidRequest
from gateway.request import GenerationRequest, ImageSource, ToolChoice
from gateway.thinking import OFF, Thinking, ThinkingPolicy
from gateway.upstream.wire import encode_request

HI = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "weather"}}
CLOCK = {"type": "function", "function": {"name": "clock"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
ALWAYS = {
    "stream": True,
    "stream_options": {"include_usage": True},
    "timings_per_token": True,
    "chat_template_kwargs": {"enable_thinking": True},
}
NO_TOOLS: dict[str, Any] = {"tool_choice": ToolChoice("none")}

parse = ChatCompletions(ThinkingPolicy(budget=None)).parse


def with_hi(**fields: Any) -> dict[str, Any]:
    return {"messages": [HI], **fields}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def refusal(body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"hello",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"messages=Hi",
        b'{"messages": [{"role": "user", "content": "Hi"}]} and more',
        b"{'messages': []}",
        b'{"messages": [{"role": "user", "content": "\xff"}]}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": [{"role": "user", "content": "a\nb"}]}',
        b'{"messages": [{"role": "user", "content": "Hi"}], "temperature": NaN}',
        b'{"messages": [{"role": "user", "content": "Hi"}], "temperature": Infinity}',
    ],
)
def test_what_is_not_json_is_refused_as_that(body: bytes) -> None:
    error = refusal(body)
    assert (error.code, error.param) == ("invalid_json", None)
    assert error.message.startswith("The request body is not valid JSON: ")


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        # the body
        ([], "Expected `object`, got `array`.", None),
        ("messages", "Expected `object`, got `str`.", None),
        (None, "Expected `object`, got `null`.", None),
        ({}, "Invalid 'messages': Missing required parameter.", "messages"),
        # unknown fields, and known ones that cannot be honoured
        (with_hi(foo=1), "Invalid 'foo': Unknown parameter.", "foo"),
        (with_hi(Temperature=1), "Unknown parameter", "Temperature"),
        (with_hi(verbose=True), "Unknown parameter", "verbose"),
        (with_hi(id_slot=0), "Unknown parameter", "id_slot"),
        (with_hi(cache_prompt=False), "Unknown parameter", "cache_prompt"),
        (with_hi(grammar='root ::= "a"'), "Unknown parameter", "grammar"),
        (with_hi(grammar_lazy=True, grammar_triggers=[{"type": 99}]), "Unknown parameter", "grammar_lazy"),
        (with_hi(json_schema={}), "Unknown parameter", "json_schema"),
        (with_hi(n_predict=5), "Unknown parameter", "n_predict"),
        (with_hi(n_probs=5), "Unknown parameter", "n_probs"),
        (with_hi(n_keep=5), "Unknown parameter", "n_keep"),
        (with_hi(prompt="Hi"), "Unknown parameter", "prompt"),
        (with_hi(samplers=["top_k"]), "Unknown parameter", "samplers"),
        (with_hi(lora=[{"id": 0, "scale": 1}]), "Unknown parameter", "lora"),
        (with_hi(timings_per_token=True), "Unknown parameter", "timings_per_token"),
        (with_hi(return_progress=True), "Unknown parameter", "return_progress"),
        (with_hi(sse_ping_interval=1), "Unknown parameter", "sse_ping_interval"),
        (with_hi(chat_template="{{ x }}"), "Unknown parameter", "chat_template"),
        (with_hi(add_generation_prompt=False), "Unknown parameter", "add_generation_prompt"),
        (with_hi(reasoning_format="none"), "Unknown parameter", "reasoning_format"),
        (with_hi(parse_tool_calls=False), "Unknown parameter", "parse_tool_calls"),
        *[(with_hi(**{name: {}}), f"Invalid '{name}': {why}", name) for name, why in UNSUPPORTED.items()],
        *[(with_hi(**{name: False}), f"Invalid '{name}': {why}", name) for name, why in UNSUPPORTED.items()],
        # messages
        (with_hi(messages=[]), "length >= 1", "messages"),
        (with_hi(messages=None), "Expected `array`, got `null`", "messages"),
        (with_hi(messages="Hi"), "Expected `array`, got `str`", "messages"),
        (with_hi(messages=["Hi"]), "Expected `object`, got `str`", "messages[0]"),
        (with_hi(messages=[HI, {"role": "bot", "content": "x"}]), "Invalid value 'bot'", "messages[1].role"),
        (with_hi(messages=[{"role": "function", "content": "x"}]), "Invalid value 'function'", "messages[0].role"),
        (with_hi(messages=[{"role": 5, "content": "x"}]), "Expected `str`", "messages[0].role"),
        (with_hi(messages=[{"content": "x"}]), "Missing required parameter", "messages[0].role"),
        (with_hi(messages=[{"role": "user"}]), "Missing required parameter", "messages[0].content"),
        (with_hi(messages=[{"role": "user", "content": None}]), "got `null`", "messages[0].content"),
        (with_hi(messages=[{"role": "user", "content": 5}]), "got `int`", "messages[0].content"),
        (with_hi(messages=[{"role": "user", "content": {"text": "x"}}]), "got `object`", "messages[0].content"),
        (with_hi(messages=[{"role": "user", "content": ["x"]}]), "got `str`", "messages[0].content[0]"),
        (
            with_hi(messages=[{"role": "user", "content": [{"type": "text", "text": 5}]}]),
            "Expected `str`, got `int`",
            "messages[0].content[0].text",
        ),
        (
            with_hi(messages=[{"role": "user", "content": [{"type": "video"}]}]),
            "Invalid value 'video'",
            "messages[0].content[0].type",
        ),
        (
            with_hi(messages=[{"role": "user", "content": [{"text": "x"}]}]),
            "Missing required parameter",
            "messages[0].content[0].type",
        ),
        *[
            (
                with_hi(messages=[HI, {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": kind}]}]),
                f"the served model takes text and images only, not '{kind}'",
                "messages[1].content[1]",
            )
            for kind in ("input_audio", "file")
        ],
        (
            with_hi(messages=[{"role": "user", "content": [{"type": "image_url"}]}]),
            "Missing required parameter",
            "messages[0].content[0].image_url",
        ),
        (
            with_hi(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 5}}]}]),
            "Expected `str`, got `int`",
            "messages[0].content[0].image_url.url",
        ),
        # the assistant's turns
        (with_hi(messages=[{"role": "assistant"}]), "needs content or tool_calls", "messages[0].content"),
        (
            with_hi(messages=[{"role": "assistant", "content": None, "tool_calls": []}]),
            "needs content or tool_calls",
            "messages[0].content",
        ),
        (
            with_hi(messages=[{"role": "assistant", "tool_calls": [CALL | {"type": "custom"}]}]),
            "Invalid enum value 'custom'",
            "messages[0].tool_calls[0].type",
        ),
        (
            with_hi(messages=[{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 5}}]}]),
            "Expected `str | object | null`, got `int`",
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            with_hi(messages=[{"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}]),
            "Missing required parameter",
            "messages[0].tool_calls[0].function.name",
        ),
        (
            with_hi(messages=[{"role": "tool", "content": "x", "tool_call_id": 1}]),
            "Expected `str | null`, got `int`",
            "messages[0].tool_call_id",
        ),
        # tools
        (with_hi(tools={}), "Expected `array | null`, got `object`", "tools"),
        (with_hi(tools=[TOOL] * 129), "length <= 128", "tools"),
        (with_hi(tools=[TOOL, {"type": "function"}]), "Missing required parameter", "tools[1].function"),
        (with_hi(tools=[TOOL | {"type": "web_search"}]), "Invalid enum value 'web_search'", "tools[0].type"),
        (with_hi(tools=[{"function": {}}]), "Missing required parameter", "tools[0].function.name"),
        *[
            (with_hi(tools=[{"function": {"name": name}}]), "matching regex", "tools[0].function.name")
            for name in ("", "a b", "a" * 129, "naïve", "a\n", "a/b")
        ],
        (
            with_hi(tools=[{"function": {"name": "f", "parameters": "{}"}}]),
            "got `str`",
            "tools[0].function.parameters",
        ),
        (with_hi(tools=[{"function": {"name": "f", "strict": 1}}]), "got `int`", "tools[0].function.strict"),
        (with_hi(tool_choice="sometimes", tools=[TOOL]), "Invalid enum value 'sometimes'", "tool_choice"),
        (with_hi(tool_choice="required"), "no tools to choose from", "tool_choice"),
        (with_hi(tool_choice="required", tools=[]), "no tools to choose from", "tool_choice"),
        (with_hi(tool_choice={"function": {"name": "f"}}), "no tools to choose from", "tool_choice"),
        (
            with_hi(tool_choice={"type": "function", "function": {"name": "f"}}, tools=[TOOL]),
            "there is no tool 'f'",
            "tool_choice.function.name",
        ),
        (with_hi(tool_choice={"type": "function"}, tools=[TOOL]), "Missing required", "tool_choice.function"),
        (with_hi(tool_choice=allowed("auto", "weather")), "no tools to choose from", "tool_choice"),
        (
            with_hi(tool_choice=allowed("auto", "weather", "f"), tools=[TOOL]),
            "there is no tool 'f'",
            "tool_choice.allowed_tools.tools[1].function.name",
        ),
        (with_hi(tool_choice=allowed("required"), tools=[TOOL]), "none among them", "tool_choice.allowed_tools.tools"),
        (with_hi(tool_choice=allowed("none"), tools=[TOOL]), "Invalid enum", "tool_choice.allowed_tools.mode"),
        (
            with_hi(tool_choice={"type": "allowed_tools", "mode": "auto", "tools": []}, tools=[TOOL]),
            "Missing required",
            "tool_choice.allowed_tools",
        ),
        (with_hi(tool_choice={"type": "custom"}, tools=[TOOL]), "Invalid enum value 'custom'", "tool_choice.type"),
        # numbers and their bounds
        (with_hi(n=9), "Expected `int` <= 8", "n"),
        (with_hi(n=0), "Expected `int` >= 1", "n"),
        (with_hi(temperature=3), "Expected `float` <= 2.0", "temperature"),
        (with_hi(temperature=-0.1), "Expected `float` >= 0.0", "temperature"),
        (with_hi(temperature="1"), "got `str`", "temperature"),
        (with_hi(temperature=True), "got `bool`", "temperature"),
        (with_hi(top_p=1.1), "<= 1.0", "top_p"),
        (with_hi(min_p=-1), ">= 0.0", "min_p"),
        (with_hi(top_k=-1), ">= 0", "top_k"),
        (with_hi(top_k=1.5), "got `float`", "top_k"),
        (with_hi(presence_penalty=2.1), "<= 2.0", "presence_penalty"),
        (with_hi(frequency_penalty=-2.1), ">= -2.0", "frequency_penalty"),
        (with_hi(repeat_penalty=0), "> 0.0", "repeat_penalty"),
        (with_hi(seed=2**63), "<= 9223372036854775807", "seed"),
        (with_hi(seed="1"), "got `str`", "seed"),
        (with_hi(max_tokens=0), ">= 1", "max_tokens"),
        (with_hi(max_tokens=-1), ">= 1", "max_tokens"),
        (with_hi(max_completion_tokens=2**31), "<= 2147483647", "max_completion_tokens"),
        (with_hi(max_completion_tokens=1.5), "got `float`", "max_completion_tokens"),
        (with_hi(logit_bias={"5": 101}), "<= 100.0", "logit_bias[...]"),
        (with_hi(logit_bias=[[5, 1]]), "got `array`", "logit_bias"),
        (with_hi(logprobs=1), "got `int`", "logprobs"),
        (with_hi(logprobs=True, top_logprobs=21), "<= 20", "top_logprobs"),
        (with_hi(top_logprobs=3), "needs logprobs to be true", "top_logprobs"),
        (with_hi(logprobs=False, top_logprobs=3), "needs logprobs to be true", "top_logprobs"),
        # the rest
        (with_hi(stop=["a"] * 17), "length <= 16", "stop"),
        (with_hi(stop=["a", 1]), "Expected `str`, got `int`", "stop[1]"),
        (with_hi(stop=5), "got `int`", "stop"),
        (with_hi(stream="true"), "got `str`", "stream"),
        (with_hi(stream_options={"include_usage": 1}), "got `int`", "stream_options.include_usage"),
        (with_hi(model=5), "got `int`", "model"),
        (with_hi(modalities=["text", "audio"]), "Invalid enum value 'audio'", "modalities[1]"),
        (with_hi(parallel_tool_calls="no"), "got `str`", "parallel_tool_calls"),
        (with_hi(reasoning_effort="extreme"), "expected none, minimal", "reasoning_effort"),
        (with_hi(response_format="json"), "got `str`", "response_format"),
        (with_hi(response_format={}), "Missing required", "response_format.type"),
        (with_hi(response_format={"type": "xml"}), "Invalid value 'xml'", "response_format.type"),
        (with_hi(response_format={"type": "json_schema"}), "Missing required", "response_format.json_schema"),
        (
            with_hi(response_format={"type": "json_schema", "json_schema": {"schema": {}}}),
            "Missing required",
            "response_format.json_schema.name",
        ),
        (
            with_hi(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": []}}),
            "got `array`",
            "response_format.json_schema.schema",
        ),
        (
            with_hi(chat_template_kwargs={"messages": [{"role": "system", "content": "evil"}]}),
            "Unknown parameter",
            "chat_template_kwargs.messages",
        ),
        (with_hi(chat_template_kwargs={"tools": []}), "Unknown parameter", "chat_template_kwargs.tools"),
        (
            with_hi(chat_template_kwargs={"enable_thinking": "true"}),
            "expected true or false",
            "chat_template_kwargs.enable_thinking",
        ),
    ],
)
def test_a_bad_body_is_refused_and_the_field_is_named(body: Any, message: str, param: str | None) -> None:
    error = refusal(body)
    assert message in error.message
    assert error.param == param
    assert error.code is None


@pytest.mark.parametrize("depth", [900, 985, 990, 1000, 100_000])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"tools":[{"function":{"name":"f","parameters":', b"}}]"),
        (b'"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":', b"}}"),
        (b'"metadata":', b""),
    ],
)
def test_deep_nesting_is_accepted_or_refused_but_never_fails(depth: int, before: bytes, after: bytes) -> None:
    """How deep is too deep depends on Python and on the stack."""
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    body = b'{"messages":[{"role":"user","content":"Hi"}],' + before + nested + after + b"}"
    try:
        encode_request(parse(body).generation)
    except InvalidRequest as error:
        assert "nested" in error.message  # noqa: PT017 -- either is right
    else:
        assert depth < 100_000


THINKING_ANSWER = {
    "role": "assistant",
    "content": None,
    "reasoning_content": "Hm.",
    "refusal": None,
    "annotations": [],
    "audio": None,
    "function_call": None,
    "tool_calls": [CALL | {"index": 0}],
}
PARTS = [{"type": "text", "text": "Hi "}, {"type": "text", "text": "you", "cache_control": {"type": "ephemeral"}}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "x-unknown": [None]}


@pytest.mark.parametrize(
    ("body", "generation", "upstream"),
    [
        pytest.param(with_hi(), {}, {}, id="the least"),
        pytest.param(with_hi(model="whatever", stream=False, n=1, modalities=["text"]), {}, {}, id="the usual"),
        pytest.param(
            dict.fromkeys(
                [
                    "stream",
                    "stream_options",
                    "max_completion_tokens",
                    "max_tokens",
                    "stop",
                    "n",
                    "temperature",
                    "top_p",
                    "top_k",
                    "min_p",
                    "seed",
                    "presence_penalty",
                    "frequency_penalty",
                    "repeat_penalty",
                    "logit_bias",
                    "logprobs",
                    "top_logprobs",
                    "tools",
                    "tool_choice",
                    "parallel_tool_calls",
                    "response_format",
                    "modalities",
                    *ThinkingFields.__struct_fields__,
                    *IGNORED,
                    *UNSUPPORTED,
                ]
            )
            | with_hi(),
            {},
            {},
            id="null is as good as nothing",
        ),
        pytest.param(
            with_hi(max_tokens=50, max_completion_tokens=70),
            {"max_tokens": 70, "thinking": Thinking(budget=32)},
            {"max_tokens": 70, "reasoning_budget_tokens": 32, "reasoning_control": True},
            id="the newer limit",
        ),
        pytest.param(
            with_hi(max_tokens=50),
            {"max_tokens": 50, "thinking": Thinking(budget=22)},
            {"max_tokens": 50, "reasoning_budget_tokens": 22, "reasoning_control": True},
            id="the older limit",
        ),
        pytest.param(with_hi(stop="\n"), {"stop": ("\n",)}, {}, id="one stop"),
        pytest.param(with_hi(stop=["a", "b"]), {"stop": ("a", "b")}, {}, id="stops"),
        pytest.param(with_hi(stop=""), {}, {}, id="an empty stop"),
        pytest.param(with_hi(stop=["", "b"]), {"stop": ("b",)}, {}, id="an empty one of two stops"),
        pytest.param(
            with_hi(
                temperature=0,
                top_p=0.5,
                top_k=0,
                min_p=0,
                presence_penalty=-2,
                frequency_penalty=2,
                repeat_penalty=1.5,
                logit_bias={"15043": -100, "5": 1.5},
                seed=42,
            ),
            {
                "sampling": {
                    "temperature": 0,
                    "top_p": 0.5,
                    "top_k": 0,
                    "min_p": 0,
                    "presence_penalty": -2,
                    "frequency_penalty": 2,
                    "repeat_penalty": 1.5,
                    "logit_bias": {"15043": -100, "5": 1.5},
                    "seed": 42,
                }
            },
            {
                "temperature": 0,
                "top_p": 0.5,
                "top_k": 0,
                "min_p": 0,
                "presence_penalty": -2,
                "frequency_penalty": 2,
                "repeat_penalty": 1.5,
                "logit_bias": {"15043": -100, "5": 1.5},
                "seed": 42,
            },
            id="sampling",
        ),
        pytest.param(with_hi(seed=-1), {"sampling": {"seed": 2**32 - 1}}, {"seed": 2**32 - 1}, id="any seed"),
        pytest.param(with_hi(seed=2**32 + 5), {"sampling": {"seed": 5}}, {"seed": 5}, id="a seed of 64 bits"),
        pytest.param(
            with_hi(logprobs=True), {"logprobs": 0}, {"logprobs": True, "top_logprobs": 1}, id="log-probabilities"
        ),
        pytest.param(
            with_hi(logprobs=True, top_logprobs=3),
            {"logprobs": 3},
            {"logprobs": True, "top_logprobs": 3},
            id="alternatives",
        ),
        pytest.param(with_hi(logprobs=False, top_logprobs=0), {}, {}, id="no log-probabilities"),
        pytest.param(
            with_hi(tools=[{"function": {"name": "f"}}]),
            {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": ToolChoice("auto")},
            {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "auto"},
            id="the least tool",
        ),
        pytest.param(
            with_hi(
                tools=[
                    {
                        "type": "function",
                        "function": {
                            "name": "a.b-c_D",
                            "description": "Grüße",
                            "parameters": SCHEMA,
                            "strict": True,
                            "x": 1,
                        },
                        "x": 1,
                    }
                ],
                tool_choice="auto",
                parallel_tool_calls=False,
            ),
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            "name": "a.b-c_D",
                            "description": "Grüße",
                            "parameters": SCHEMA,
                            "strict": True,
                        },
                    }
                ],
                "tool_choice": ToolChoice("auto"),
                "parallel_tool_calls": False,
            },
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            "name": "a.b-c_D",
                            "description": "Grüße",
                            "parameters": SCHEMA,
                            "strict": True,
                        },
                    }
                ],
                "tool_choice": "auto",
                "parallel_tool_calls": False,
            },
            id="a whole tool, its unknown fields dropped",
        ),
        pytest.param(
            with_hi(tools=[TOOL], tool_choice="required"),
            {"tools": [TOOL], "tool_choice": ToolChoice("required")},
            {"tools": [TOOL], "tool_choice": "required"},
            id="some tool required",
        ),
        pytest.param(
            with_hi(tools=[TOOL], tool_choice="none"),
            {"tools": [TOOL], "tool_choice": ToolChoice("none")},
            {"tools": [TOOL], "tool_choice": "none"},
            id="no tool wanted",
        ),
        pytest.param(
            with_hi(
                tools=[{"type": "function", "function": {"name": "other"}}, TOOL],
                tool_choice={"type": "function", "function": {"name": "weather"}},
            ),
            {
                "tools": [{"type": "function", "function": {"name": "other"}}, TOOL],
                "tool_choice": ToolChoice("required", frozenset({"weather"})),
            },
            {"tools": [TOOL], "tool_choice": "required"},
            id="a named tool becomes the only one",
        ),
        pytest.param(
            with_hi(tools=[TOOL, CLOCK], tool_choice=allowed("auto", "clock")),
            {"tools": [TOOL, CLOCK], "tool_choice": ToolChoice("auto", frozenset({"clock"}))},
            {"tools": [CLOCK], "tool_choice": "auto"},
            id="some tools may be called",
        ),
        pytest.param(
            with_hi(tools=[TOOL, CLOCK], tool_choice=allowed("required", "weather", "clock")),
            {"tools": [TOOL, CLOCK], "tool_choice": ToolChoice("required", frozenset({"weather", "clock"}))},
            {"tools": [TOOL, CLOCK], "tool_choice": "required"},
            id="one of some tools must be called",
        ),
        pytest.param(
            with_hi(tools=[TOOL], tool_choice=allowed("auto")),
            {"tools": [TOOL], "tool_choice": ToolChoice("none")},
            {"tools": [TOOL], "tool_choice": "none"},
            id="no tool may be called",
        ),
        pytest.param(
            with_hi(tools=[], tool_choice="auto", parallel_tool_calls=True), {}, {}, id="a choice among no tools"
        ),
        pytest.param(with_hi(tool_choice="none"), {}, {}, id="none of no tools"),
        pytest.param(with_hi(response_format={"type": "text"}), {}, {}, id="text"),
        pytest.param(
            with_hi(response_format={"type": "json_object", "x": 1}),
            {"response_format": {"type": "json_object"}},
            {"response_format": {"type": "json_object"}},
            id="a JSON object",
        ),
        pytest.param(
            with_hi(
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True, "x": 1},
                }
            ),
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
                }
            },
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
                }
            },
            id="a schema",
        ),
        *[
            pytest.param(
                with_hi(**fields),
                {"thinking": OFF},
                {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_budget_tokens": 0},
                id=f"thinking is off by {next(iter(fields))}",
            )
            for fields in ({"reasoning_effort": "none"}, {"chat_template_kwargs": {"enable_thinking": False}})
        ],
        pytest.param(
            with_hi(reasoning={"max_tokens": 9, "summary": "auto"}),
            {"thinking": Thinking(budget=9)},
            {"reasoning_budget_tokens": 9, "reasoning_control": True},
            id="a budget",
        ),
        pytest.param(with_hi(chat_template_kwargs={}), {}, {}, id="no template switches"),
        pytest.param(
            with_hi(chat_template_kwargs={"enable_thinking": None}), {}, {}, id="a template switch without a value"
        ),
    ],
)
def test_a_good_body_becomes_this_request_and_this_upstream_body(
    body: dict[str, Any], generation: dict[str, Any], upstream: dict[str, Any]
) -> None:
    parsed = parse(json.dumps(body).encode())
    assert parsed.generation == GenerationRequest(messages=[HI], **(NO_TOOLS | generation))
    assert not parsed.stream
    assert not parsed.include_usage
    assert json.loads(encode_request(parsed.generation)) == {"messages": [HI], **ALWAYS, **upstream}


@pytest.mark.parametrize(
    ("sent", "upstream"),
    [
        ({"role": "user", "content": "Grüße, 世界 😀\x00\u2028"},) * 2,
        ({"role": "system", "content": ""},) * 2,
        ({"role": "developer", "content": "Be kind."}, {"role": "system", "content": "Be kind."}),
        ({"role": "user", "content": PARTS, "name": "me"}, {"role": "user", "content": "Hi you"}),
        ({"role": "user", "content": []}, {"role": "user", "content": ""}),
        ({"role": "assistant", "content": "Hi", "id": 5}, {"role": "assistant", "content": "Hi"}),
        ({"role": "assistant", "content": ""},) * 2,
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "assistant", "content": "No."},
        ),
        (
            {"role": "assistant", "content": "Hi", "reasoning_content": "", "tool_calls": None},
            {"role": "assistant", "content": "Hi"},
        ),
    ],
)
def test_a_message_goes_upstream_with_its_checked_fields_only(sent: dict[str, Any], upstream: dict[str, Any]) -> None:
    parsed = parse(json.dumps({"messages": [HI, sent]}).encode())
    assert parsed.generation == GenerationRequest(messages=[HI, upstream], **NO_TOOLS)
    assert json.loads(encode_request(parsed.generation)) == {"messages": [HI, upstream], **ALWAYS}


def test_calls_and_results_go_upstream_with_their_checked_fields_only() -> None:
    result = {"role": "tool", "content": PARTS, "tool_call_id": "c1", "name": "weather", "is_error": False}
    parsed = parse(json.dumps({"messages": [HI, THINKING_ANSWER, result]}).encode())
    assert parsed.generation.messages == [
        HI,
        {"role": "assistant", "content": "", "reasoning_content": "Hm.", "tool_calls": [CALL]},
        {"role": "tool", "content": "Hi you", "tool_call_id": "c1"},
    ]


def test_a_broken_history_of_calls_is_mended() -> None:
    function = {"name": "weather", "arguments": {"city": "Oslo"}}
    calls = [{"function": function}, CALL]
    results = [{"role": "tool", "content": text, "tool_call_id": id_} for text, id_ in [("rain", "c1"), ("snow", None)]]
    parsed = parse(json.dumps({"messages": [HI, {"role": "assistant", "tool_calls": calls}, *results]}).encode())
    encoded = {"name": "weather", "arguments": '{"city":"Oslo"}'}
    assert parsed.generation.messages == [
        HI,
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call-1-0", "type": "function", "function": encoded}, CALL],
        },
        {"role": "tool", "content": "snow", "tool_call_id": "call-1-0"},
        {"role": "tool", "content": "rain", "tool_call_id": "c1"},
    ]


SAID = {"role": "assistant", "content": "Hello"}
NOTHING = {"role": "user", "content": ""}
OBJECT = {"response_format": {"type": "json_object"}}


@pytest.mark.parametrize(
    ("messages", "fields", "sent"),
    [
        ([HI, SAID], {}, [HI, SAID]),
        ([HI, SAID], {"tools": [TOOL], "response_format": {"type": "text"}}, [HI, SAID]),
        ([HI, SAID], OBJECT, [HI, SAID, NOTHING]),
        ([HI, SAID], {"tools": [TOOL], "tool_choice": "required"}, [HI, SAID, NOTHING]),
        ([HI, SAID, HI], OBJECT, [HI, SAID, HI]),
        ([HI, SAID, SAID], {}, [HI, SAID, SAID, NOTHING]),
        ([HI, SAID, SAID, HI], {}, [HI, SAID, SAID, HI]),
        ([SAID], {}, [SAID, NOTHING]),
        ([HI], OBJECT, [HI]),
    ],
)
def test_a_last_message_of_the_assistants_is_gone_on_with_where_that_can_be(
    messages: list[Any], fields: dict[str, Any], sent: list[Any]
) -> None:
    assert parse(json.dumps(with_hi(messages=messages, **fields)).encode()).generation.messages == sent


def test_a_refusal_is_what_the_assistant_said() -> None:
    refused = {"role": "assistant", "content": None, "refusal": "I will not."}
    parsed = parse(json.dumps(with_hi(messages=[HI, refused, HI])).encode())
    assert parsed.generation.messages == [HI, {"role": "assistant", "content": "I will not."}, HI]


def test_images_keep_their_place_among_the_texts_and_the_field_that_they_came_in() -> None:
    parts = [
        {"type": "text", "text": "This"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "text", "text": "or this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    ]
    parsed = parse(json.dumps(with_hi(messages=[HI, {"role": "user", "content": parts}])).encode())
    first = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    second = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    content = [parts[0], first, parts[2], second]
    assert parsed.generation == GenerationRequest(
        messages=[HI, {"role": "user", "content": content}],
        images=(
            ImageSource(first, "messages[1].content[1].image_url.url"),
            ImageSource(second, "messages[1].content[3].image_url.url"),
        ),
        **NO_TOOLS,
    )


@pytest.mark.parametrize("name", IGNORED)
@pytest.mark.parametrize("value", [None, "x", 5, True, {"deep": [1, {"er": None}]}, []])
def test_a_field_that_is_ignored_is_accepted_whatever_it_holds(name: str, value: object) -> None:
    parsed = parse(json.dumps(with_hi(**{name: value})).encode())
    assert parsed.generation == GenerationRequest(messages=[HI], **NO_TOOLS)


@pytest.mark.parametrize(
    ("fields", "stream", "include_usage"),
    [
        ({}, False, False),
        ({"stream": True}, True, False),
        ({"stream": True, "stream_options": {}}, True, False),
        ({"stream": True, "stream_options": {"include_usage": None}}, True, False),
        ({"stream": True, "stream_options": {"include_usage": True}}, True, True),
        ({"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False, "x": 1}}, True, True),
        ({"stream": False, "stream_options": {"include_usage": True}}, False, True),
    ],
)
def test_how_the_answer_is_wanted(fields: dict[str, Any], stream: object, include_usage: object) -> None:
    parsed = parse(json.dumps(with_hi(**fields)).encode())
    assert (parsed.stream, parsed.include_usage) == (stream, include_usage)
    assert json.loads(encode_request(parsed.generation)) == {"messages": [HI], **ALWAYS}


def test_every_field_is_honoured_ignored_or_refused_and_none_is_two_of_these() -> None:
    fields = {field.name for field in msgspec.structs.fields(ChatCompletionRequest)}
    assert fields >= IGNORED.keys() | UNSUPPORTED.keys()
    assert not IGNORED.keys() & UNSUPPORTED.keys()


def test_every_field_that_openai_python_sends_is_known() -> None:
    fields = {field.name for field in msgspec.structs.fields(ChatCompletionRequest)}
    assert fields >= CompletionCreateParamsStreaming.__annotations__.keys()
