"""The request dialect of Responses: what becomes of each kind of item and tool, what is refused and how it is named."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from fake_upstream import RECORDED
from responses_checks import DIALECT, ReadableSeal, parsed

from gateway.dialects.openai_responses_request import IGNORED, STORED, UNSUPPORTED, ResponsesRequest
from gateway.errors import InvalidRequest
from gateway.request import GenerationRequest, ImageSource, ToolChoice
from gateway.thinking import OFF, Thinking

DEFAULT = Thinking(budget=8192)
WEATHER = {"type": "function", "name": "weather"}
HOSTED = {"type": "mcp"}
WEATHER_TOOL = {"type": "function", "function": {"name": "weather"}}
AGENTS = {
    "type": "namespace",
    "name": "agents",
    "description": "Tools for agents.",
    "tools": [
        {"type": "function", "name": "open", "description": "Open one.", "strict": False, "parameters": {}},
        {"type": "function", "name": "close"},
        {"type": "custom", "name": "edit"},
    ],
}
CALL = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Paris"}', "id": "fc_1"}
CHAT_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
}
HELLO = {"role": "user", "content": "Hello"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}
SEALED = ReadableSeal().seal("hidden")


def generation(**fields: Any) -> GenerationRequest:
    return parsed(**fields).generation


def messages(*items: Any, **fields: Any) -> Any:
    return generation(input=list(items), **fields).messages


def assistant(content: str = "", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def reasoning(**fields: Any) -> dict[str, Any]:
    return {"type": "reasoning", "id": "rs_1", "summary": [], **fields}


def refusal(body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        DIALECT.parse(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert caught.value.status == 400
    return caught.value


# -- the whole request


def test_the_least_request() -> None:
    assert generation() == GenerationRequest(
        messages=[{"role": "user", "content": "Hi"}], thinking=DEFAULT, tool_choice=ToolChoice("none")
    )
    assert (parsed().stream, parsed().choices, parsed().seal) == (False, 1, None)


def test_every_field_has_its_place() -> None:
    request = parsed(
        model="any",
        instructions="Be brief.",
        stream=True,
        include=["reasoning.encrypted_content"],
        max_output_tokens=4096,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        min_p=0.1,
        seed=-1,
        presence_penalty=1,
        frequency_penalty=-1,
        repeat_penalty=1.1,
        tools=[{**WEATHER, "description": "Tells it.", "parameters": {"type": "object"}, "strict": True}],
        tool_choice="required",
        parallel_tool_calls=False,
        text={"format": {"type": "json_object"}, "verbosity": "low"},
        reasoning={"effort": "low", "summary": "auto"},
    )
    assert request.stream
    assert request.seal is not None
    assert request.generation == GenerationRequest(
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        thinking=Thinking(budget=2048),
        max_tokens=4096,
        tools=[
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "Tells it.",
                    "parameters": {"type": "object"},
                    "strict": True,
                },
            }
        ],
        tool_choice=ToolChoice("required"),
        parallel_tool_calls=False,
        response_format={"type": "json_object"},
        sampling={
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 40,
            "min_p": 0.1,
            "presence_penalty": 1,
            "frequency_penalty": -1,
            "repeat_penalty": 1.1,
            "seed": 2**32 - 1,
        },
    )


def test_a_turn_of_codex() -> None:
    recorded = json.loads((RECORDED / "codex-0.169.json").read_bytes())["body"]
    request = DIALECT.parse(json.dumps(recorded).encode())
    made = request.generation
    assert request.stream
    assert request.seal is not None
    assert [message["role"] for message in made.messages] == ["system", "user", "user", "assistant", "tool"]
    assert made.messages[3:] == [
        assistant(
            reasoning_content="I should read it.",
            tool_calls=[
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "exec_command", "arguments": '{"cmd": "cat marker.txt"}'},
                }
            ],
        ),
        {"role": "tool", "tool_call_id": "call_1", "content": recorded["input"][-1]["output"]},
    ]
    assert made.tools is not None
    assert [tool["function"]["name"] for tool in made.tools] == [
        "exec_command",
        "write_stdin",
        "request_user_input",
        "view_image",
        "multi_agent_v1__close_agent",
        "multi_agent_v1__resume_agent",
        "multi_agent_v1__send_input",
        "multi_agent_v1__spawn_agent",
        "multi_agent_v1__wait_agent",
        "get_goal",
        "create_goal",
        "update_goal",
    ]
    assert made.tool_choice == ToolChoice("auto")
    assert made.thinking == DEFAULT


# -- items


def test_messages_of_all_roles_with_and_without_a_type() -> None:
    assert messages(
        {"role": "user", "content": "Hi"},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": "Hello"},
        {"role": "user", "id": "x", "content": [{"type": "input_text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "c", "annotations": []}], "phase": None},
        {"role": "user", "content": ""},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    ) == [
        {"role": "user", "content": "Hi"},
        assistant("Hello"),
        {"role": "user", "content": "ab"},
        assistant("c"),
        {"role": "user", "content": ""},
        assistant("No."),
    ]


def test_instructions_and_system_messages_in_a_row_are_one_system_message() -> None:
    assert messages(
        {"role": "developer", "content": "b"},
        {"role": "system", "content": [{"type": "input_text", "text": "c"}]},
        {"role": "user", "content": "Hi"},
        {"role": "developer", "content": "d"},
        {"role": "user", "content": "Ho"},
        instructions="a",
    ) == [
        {"role": "system", "content": "a\n\nb\n\nc"},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "d"},
        {"role": "user", "content": "Ho"},
    ]


def test_images_keep_their_place_and_know_their_field() -> None:
    url = "data:image/png;base64,AA=="
    request = generation(
        input=[
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "See"}, {"type": "input_image", "image_url": url}],
            },
            CALL,
            {**OUTPUT, "output": [{"type": "input_image", "image_url": "https://a.example/b.png", "detail": "high"}]},
        ]
    )
    first = {"type": "image_url", "image_url": {"url": url}}
    second = {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}
    assert request.messages == [
        {"role": "user", "content": [{"type": "text", "text": "See"}, first]},
        assistant(tool_calls=[CHAT_CALL]),
        {"role": "tool", "tool_call_id": "call_1", "content": [second]},
    ]
    assert request.images == (
        ImageSource(first, "input[0].content[1].image_url"),
        ImageSource(second, "input[2].output[0].image_url"),
    )


def test_what_the_model_wrote_in_one_turn_is_one_message() -> None:
    other = {**CALL, "call_id": "call_2"}
    assert messages(
        {"role": "user", "content": "Hi"},
        reasoning(summary=[{"type": "summary_text", "text": "Hm."}]),
        {"role": "assistant", "content": "I will look."},
        CALL,
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        other,
        OUTPUT,
        {**OUTPUT, "call_id": "call_2", "output": "sun"},
        reasoning(summary=[{"type": "summary_text", "text": "So."}]),
        {"role": "assistant", "content": "Rain."},
        {"role": "assistant", "content": "And sun."},
    ) == [
        {"role": "user", "content": "Hi"},
        assistant("I will look.", reasoning_content="Hm.", tool_calls=[CHAT_CALL, {**CHAT_CALL, "id": "call_2"}]),
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        {"role": "tool", "tool_call_id": "call_2", "content": "sun"},
        assistant("Rain.\n\nAnd sun.", reasoning_content="So."),
    ]


@pytest.mark.parametrize(
    ("item", "thought"),
    [
        (reasoning(encrypted_content=SEALED), "hidden"),
        (reasoning(encrypted_content=SEALED, summary=[{"type": "summary_text", "text": "shown"}]), "hidden"),
        (reasoning(encrypted_content="gAAAA", summary=[{"type": "summary_text", "text": "shown"}]), "shown"),
        (reasoning(content=[{"type": "reasoning_text", "text": "raw"}]), "raw"),
        (reasoning(content=None, summary=[{"text": "a"}, {"text": "b"}]), "a\n\nb"),
        (reasoning(content=[], summary=[{"text": "a"}]), "a"),
        (reasoning(encrypted_content="gAAAA"), None),
        ({"type": "reasoning"}, None),
    ],
)
def test_a_thought_comes_back_from_its_seal_or_else_as_it_was_shown(item: dict[str, Any], thought: str | None) -> None:
    given = {"reasoning_content": thought} if thought else {}
    assert messages(item, CALL, OUTPUT)[0] == assistant(tool_calls=[CHAT_CALL], **given)


def test_a_thought_that_led_to_nothing_is_left_out() -> None:
    thought = reasoning(encrypted_content=SEALED)
    assert messages({"role": "user", "content": "Hi"}, thought, {"role": "user", "content": "Ho"}, thought) == [
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": "Ho"},
    ]


@pytest.mark.parametrize(
    ("output", "content"),
    [
        ("rain", "rain"),
        ("", ""),
        (None, ""),
        ([{"type": "input_text", "text": "ra"}, {"type": "output_text", "text": "in"}], "rain"),
        ([{"type": "text", "text": "rain"}], "rain"),
        ({"content": "rain", "success": False}, "rain"),
        ({"content": [{"type": "text", "text": "rain"}], "isError": False}, "rain"),
        ({"mm": 3, "wind": [1, 2]}, '{"mm":3,"wind":[1,2]}'),
        ({"content": 5}, '{"content":5}'),
        ([1, "a", None], '[1,"a",null]'),
        ([], "[]"),
        ([{"type": "text", "text": "a"}, {"b": 1}], '[{"type":"text","text":"a"},{"b":1}]'),
        (3.5, "3.5"),
        (True, "true"),
    ],
)
def test_a_tools_output_in_every_shape(output: Any, content: str) -> None:
    assert messages(CALL, {**OUTPUT, "output": output})[1] == {
        "role": "tool",
        "tool_call_id": "call_1",
        "content": content,
    }


def test_calls_of_custom_tools_in_the_history_keep_their_text() -> None:
    assert messages(
        {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": 'a "b"'},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "done"},
    ) == [
        assistant(
            tool_calls=[
                {"id": "c", "type": "function", "function": {"name": "patch", "arguments": '{"input":"a \\"b\\""}'}}
            ]
        ),
        {"role": "tool", "tool_call_id": "c", "content": "done"},
    ]


@pytest.mark.parametrize(
    ("before", "fields", "goes_on"),
    [
        ([HELLO], {}, True),
        ([HELLO], {"tools": [WEATHER]}, True),
        ([HELLO], {"tools": [WEATHER], "tool_choice": "required"}, False),
        ([HELLO], {"text": {"format": {"type": "json_object"}}}, False),
        ([], {}, False),
    ],
)
def test_a_last_text_of_the_models_is_gone_on_with_where_that_can_be(
    before: list[Any], fields: dict[str, Any], goes_on: bool
) -> None:
    begun = [*before, {"role": "assistant", "content": "The answer is"}]
    last = generation(input=begun, **fields).messages[-1]
    assert last == (begun[-1] if goes_on else {"role": "user", "content": ""})


def test_a_broken_history_of_calls_is_mended() -> None:
    oslo = {"type": "function_call", "name": "weather", "arguments": "Oslo"}
    outputs = [
        {"type": "function_call_output", "call_id": call_id, "output": text}
        for text, call_id in [("rain", "call_1"), ("snow", None), ("fog", "call_0")]
    ]
    function = {"name": "weather", "arguments": '{"arguments":"Oslo"}'}
    assert messages(oslo, CALL, *outputs) == [
        assistant(tool_calls=[{"id": "call-0-0", "type": "function", "function": function}, CHAT_CALL]),
        {"role": "tool", "tool_call_id": "call-0-0", "content": "snow"},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        {"role": "user", "content": "The result of a tool call that is not shown here:\nfog"},
    ]


# -- tools


def test_a_namespace_is_flattened_and_mapped_back() -> None:
    request = parsed(tools=[WEATHER, AGENTS], tool_choice="auto")
    assert request.generation.tools == [
        WEATHER_TOOL,
        {
            "type": "function",
            "function": {
                "name": "agents__open",
                "description": "Tools for agents.\n\nOpen one.",
                "strict": False,
                "parameters": {},
            },
        },
        {"type": "function", "function": {"name": "agents__close"}},
    ]
    assert request.tools.client_name("agents__close") == {"name": "close", "namespace": "agents"}
    assert request.tools.client_name("weather") == {"name": "weather"}
    assert request.tools.client_name("unheard__of") == {"name": "unheard__of"}


def test_flat_names_are_unique() -> None:
    space = {"type": "namespace", "name": "a__", "tools": [{"type": "function", "name": "__b"}]}
    tools = parsed(
        tools=[
            space,
            {"type": "function", "name": "a__b"},
            {**space, "name": "a"},
            {**space, "name": "a_", "tools": [{"type": "function", "name": "b"}]},
        ]
    ).tools
    assert [function.name for function in tools.functions] == ["a__b_2", "a__b", "a__b_3", "a__b_4"]
    assert [tools.client_name(f"a__b{end}") for end in ("", "_2", "_3", "_4")] == [
        {"name": "a__b"},
        {"name": "__b", "namespace": "a__"},
        {"name": "__b", "namespace": "a"},
        {"name": "b", "namespace": "a_"},
    ]


def test_calls_in_the_history_have_the_names_that_the_model_knows() -> None:
    space = {**CALL, "name": "close", "namespace": "agents"}
    made = messages(space, {**space, "namespace": "gone_"}, {**CALL, "namespace": None}, tools=[AGENTS])
    assert [call["function"]["name"] for call in made[0]["tool_calls"]] == ["agents__close", "gone__close", "weather"]


@pytest.mark.parametrize(
    "kind", ["web_search", "web_search_preview", "custom", "local_shell", "mcp", "image_generation", "of_tomorrow"]
)
def test_tools_of_other_kinds_are_skipped(kind: str) -> None:
    assert generation(tools=[{"type": kind, "name": "x", "tools": 1}, WEATHER]).tools == [WEATHER_TOOL]
    alone = generation(tools=[{"type": kind}], tool_choice="auto", parallel_tool_calls=True)
    assert (alone.tools, alone.tool_choice, alone.parallel_tool_calls) == (None, ToolChoice("none"), None)


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        (None, ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("auto", ToolChoice("auto")),
        ("required", ToolChoice("required")),
        (WEATHER, ToolChoice("required", frozenset({"weather"}))),
        (
            {"type": "function", "name": "close", "namespace": "agents"},
            ToolChoice("required", frozenset({"agents__close"})),
        ),
        ({"type": "function", "name": "agents__close"}, ToolChoice("required", frozenset({"agents__close"}))),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [WEATHER, {"type": "web_search"}]},
            ToolChoice("auto", frozenset({"weather"})),
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [WEATHER]},
            ToolChoice("required", frozenset({"weather"})),
        ),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}, ToolChoice("none")),
    ],
)
def test_the_choice_among_tools(given: Any, choice: ToolChoice) -> None:
    assert generation(tools=[WEATHER, AGENTS], tool_choice=given).tool_choice == choice


# -- text, thinking, what is ignored


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (None, None),
        ({}, None),
        ({"format": {"type": "text"}}, None),
        ({"format": {"type": "json_object"}}, {"type": "json_object"}),
        (
            {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
        ),
    ],
)
def test_the_texts_format(given: Any, made: Any) -> None:
    assert generation(text=given).response_format == made


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({"reasoning": {"effort": "none"}}, OFF),
        ({"reasoning": {"effort": "minimal", "summary": "detailed"}}, Thinking(budget=512)),
        ({"reasoning": {"summary": "auto"}}, DEFAULT),
        ({"reasoning": None}, DEFAULT),
        ({"reasoning": {"effort": "high"}, "enable_thinking": False}, OFF),
        ({"chat_template_kwargs": {"enable_thinking": False}}, OFF),
        ({"thinking_budget_tokens": 100}, Thinking(budget=100)),
        ({"reasoning_budget": 0}, OFF),
    ],
)
def test_thinking_is_planned_from_every_field_about_it(fields: dict[str, Any], thinking: Thinking) -> None:
    assert generation(**fields).thinking == thinking


@pytest.mark.parametrize(
    ("fields", "logprobs"),
    [
        ({}, None),
        ({"top_logprobs": 0}, None),
        ({"top_logprobs": 3}, 3),
        ({"include": ["message.output_text.logprobs"]}, 0),
        ({"include": ["message.output_text.logprobs"], "top_logprobs": 2}, 2),
        ({"include": ["file_search_call.results"]}, None),
    ],
)
def test_log_probabilities_are_reported_when_asked_for(fields: dict[str, Any], logprobs: int | None) -> None:
    assert generation(**fields).logprobs == logprobs


@pytest.mark.parametrize("name", IGNORED)
@pytest.mark.parametrize("value", [None, True, "x", 5, {"a": [1]}])
def test_what_is_ignored_changes_nothing(name: str, value: Any) -> None:
    assert generation(**{name: value}) == generation()


@pytest.mark.parametrize("name", STORED)
def test_null_and_false_ask_for_nothing_stored(name: str) -> None:
    assert generation(**{name: None}) == generation() == generation(**{name: False})


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_null_asks_for_nothing_that_cannot_be_honoured(name: str) -> None:
    assert generation(**{name: None}) == generation()


def test_every_field_is_honoured_ignored_or_refused() -> None:
    fields = {field.encode_name for field in msgspec.structs.fields(ResponsesRequest)}
    assert IGNORED.keys() | STORED.keys() | UNSUPPORTED.keys() < fields


# -- refusals


@pytest.mark.parametrize("body", [b"", b"{", b"hello", b"\xff\xfe", b'{"input": "Hi"} and more', b'{"input": NaN}'])
def test_what_is_not_json_is_refused_as_that(body: bytes) -> None:
    error = refusal(body)
    assert (error.code, error.param) == ("invalid_json", None)


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        ([], "Expected `object`, got `array`.", None),
        ({}, "Missing required parameter", "input"),
        ({"input": []}, "length >= 1", "input"),
        ({"input": 5}, "Expected", "input"),
        ({"input": [5]}, "Expected `object`, got `int`", "input[0]"),
        ({"input": "Hi", "foo": 1}, "Unknown parameter", "foo"),
        ({"input": "Hi", "messages": []}, "Unknown parameter", "messages"),
        *[({"input": "Hi", name: {"a": 1}}, why, name) for name, why in UNSUPPORTED.items()],
        *[({"input": "Hi", name: True}, why, name) for name, why in STORED.items()],
        ({"input": "Hi", "tools": [WEATHER], "top_logprobs": 1}, "no log-probabilities", "top_logprobs"),
        ({"input": "Hi", "tools": [WEATHER], "include": ["message.output_text.logprobs"]}, "no log-prob", "include"),
        ({"input": "Hi", "previous_response_id": "resp_1"}, "Nothing is stored here", "previous_response_id"),
        ({"input": "Hi", "temperature": 3}, "Expected `float` <= 2.0", "temperature"),
        ({"input": "Hi", "max_output_tokens": 0}, "Expected `int` >= 1", "max_output_tokens"),
        ({"input": "Hi", "top_logprobs": 21}, "Expected `int` <= 20", "top_logprobs"),
        # items
        ({"input": [{"role": "user"}]}, "Missing required parameter", "input[0].content"),
        ({"input": [{"role": "narrator", "content": "x"}]}, "narrator", "input[0].role"),
        ({"input": [{"type": "of_tomorrow"}]}, "of_tomorrow", "input[0].type"),
        ({"input": [{"type": "mcp_call"}]}, "mcp_call", "input[0].type"),
        ({"input": [{"type": "compaction", "encrypted_content": "x"}]}, "compaction", "input[0].type"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "nothing is stored", "input[0]"),
        ({"input": [{"type": None, "id": "x"}]}, "nothing is stored", "input[0]"),
        ({"input": [{"id": "x"}]}, "nothing is stored", "input[0]"),
        ({"input": [{"type": "web_search_call"}]}, "there is no message", "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "Missing", "input[0].content[0].text"),
        ({"input": [{"role": "user", "content": [{"type": "smell"}]}]}, "smell", "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input_file", "input[0].content[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "file_id",
            "input[0].content[0].image_url",
        ),
        (
            {"input": [{"role": "developer", "content": [{"type": "input_image", "image_url": "data:"}]}]},
            "only the user's",
            "input[0].content",
        ),
        ({"input": [{**CALL, "arguments": 1}]}, "got `int`", "input[0].arguments"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "Missing", "input[0].output"),
        ({"input": [{**OUTPUT, "output": [{"type": "input_file"}]}]}, "input_file", "input[0].output[0]"),
        ({"input": [{**OUTPUT, "output": [{"type": "text", "text": 1}]}]}, "a string", "input[0].output[0].text"),
        (
            {"input": [{**OUTPUT, "output": {"content": [{"type": "input_image"}]}}]},
            "file_id",
            "input[0].output.content[0].image_url",
        ),
        # tools
        ({"input": "Hi", "tools": [{"type": "function"}]}, "Missing required parameter", "tools[0].name"),
        ({"input": "Hi", "tools": [{"name": "x"}]}, "Missing required parameter", "tools[0].type"),
        ({"input": "Hi", "tools": [{"type": "function", "name": "a b"}]}, "matching regex", "tools[0].name"),
        (
            {"input": "Hi", "tools": [{**AGENTS, "tools": [{"type": "function"}]}]},
            "Missing required parameter",
            "tools[0].tools[0].name",
        ),
        ({"input": "Hi", "tools": [WEATHER] * 129}, "length <= 128", "tools"),
        ({"input": "Hi", "tools": [{"type": "mcp"}, WEATHER, WEATHER]}, "two tools called 'weather'", "tools[2].name"),
        (
            {"input": "Hi", "tools": [{**AGENTS, "tools": [HOSTED, {**WEATHER, "parameters": {"type": "no"}}]}]},
            "invalid schema for function 'agents__weather'",
            "tools[0].tools[1].parameters.type",
        ),
        ({"input": "Hi", "tool_choice": "required"}, "no functions to choose from", "tool_choice"),
        ({"input": "Hi", "tools": [WEATHER], "tool_choice": "any"}, "any", "tool_choice"),
        ({"input": "Hi", "tools": [WEATHER], "tool_choice": {"type": "mcp"}}, "mcp", "tool_choice.type"),
        (
            {"input": "Hi", "tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}},
            "there is no function 'x'",
            "tool_choice.name",
        ),
        (
            {
                "input": "Hi",
                "tools": [WEATHER],
                "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [WEATHER, {**WEATHER, "name": 5}]},
            },
            "there is no function 5",
            "tool_choice.tools[1].name",
        ),
        (
            {
                "input": "Hi",
                "tools": [WEATHER],
                "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "mcp"}]},
            },
            "no function among them",
            "tool_choice.tools",
        ),
        # text and thinking
        ({"input": "Hi", "text": {"format": {"type": "xml"}}}, "xml", "text.format.type"),
        ({"input": "Hi", "text": {"format": {"type": "json_schema", "name": "n"}}}, "Missing", "text.format.schema"),
        ({"input": "Hi", "reasoning": {"effort": "huge"}}, "reasoning.effort", "reasoning.effort"),
        ({"input": "Hi", "chat_template_kwargs": {"messages": []}}, "Unknown", "chat_template_kwargs.messages"),
    ],
)
def test_a_refusal_names_the_field(body: Any, message: str, param: str | None) -> None:
    error = refusal(body)
    assert message.lower().strip(".") in error.message.lower()
    assert error.param == param


def test_a_body_that_is_nested_too_deeply_is_refused() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    assert "nested too deeply" in refusal(b'{"input": [{"type": "function_call_output", "output": %b}]}' % deep).message
