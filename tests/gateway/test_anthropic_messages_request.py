"""Messages dialect: each field, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from anthropic.types.beta import BetaThinkingConfigParam
from anthropic_dialect import HI, MESSAGES, generation, parse
from fake_upstream import RECORDED

from gateway.dialects.anthropic_messages_request import IGNORED, UNSUPPORTED
from gateway.errors import InvalidRequest
from gateway.request import GenerationRequest, ToolChoice
from gateway.thinking import OFF, Thinking

SCHEMA = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": {}}
WEATHER = {"name": "weather", "input_schema": SCHEMA}
CLOCK = {"name": "clock", "input_schema": SCHEMA}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
WEATHER_FUNCTION = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}


def refusal(**fields: Any) -> tuple[str | None, str]:
    with pytest.raises(InvalidRequest) as caught:
        parse(**fields)
    return caught.value.param, caught.value.message


# -- whole requests


def test_the_least_that_can_be_asked() -> None:
    parsed = parse()
    assert parsed.generation == GenerationRequest(
        messages=[{"role": "user", "content": "Hi"}],
        thinking=OFF,
        max_tokens=1000,
        tool_choice=ToolChoice("none"),
    )
    assert (parsed.stream, parsed.choices, parsed.show_thoughts) == (False, 1, True)


def test_all_that_can_be_asked() -> None:
    parsed = parse(
        model="claude-opus-5",
        system="Be kind.",
        stream=True,
        stop_sequences=["END", "STOP"],
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        tools=[WEATHER | {"description": "Weather.", "strict": True, "cache_control": {"type": "ephemeral"}}],
        tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        thinking={"type": "enabled", "budget_tokens": 300, "display": "omitted"},
        output_config={"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}},
    )
    assert parsed.generation == GenerationRequest(
        messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        thinking=Thinking(budget=300),
        max_tokens=1000,
        stop=("END", "STOP"),
        tools=[
            {
                "type": "function",
                "function": {"name": "weather", "description": "Weather.", "parameters": SCHEMA, "strict": True},
            }
        ],
        tool_choice=ToolChoice("required", frozenset({"weather"})),
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": {"name": "output", "schema": SCHEMA, "strict": True}},
        sampling={"temperature": 0.5, "top_p": 0.9, "top_k": 40},
    )
    assert (parsed.stream, parsed.show_thoughts) == (True, False)


def test_what_claude_code_sends() -> None:
    sent = json.loads((RECORDED / "claude-code-2.1.json").read_text())["body"]
    parsed = MESSAGES.parse(json.dumps(sent).encode())
    built = parsed.generation
    system, question, agents = (
        "\n".join(block["text"] for block in sent["system"][1:]),
        "\n".join(block["text"] for block in sent["messages"][0]["content"]),
        sent["messages"][1]["content"],
    )
    bash = {"name": "Bash", "arguments": '{"command":"cat marker.txt","description":"Read"}'}
    assert built.messages == [
        {"role": "system", "content": system},
        {"role": "user", "content": question},
        {"role": "system", "content": agents},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "toolu_1", "type": "function", "function": bash}],
        },
        {"role": "tool", "content": "marker-7c2f", "tool_call_id": "toolu_1"},
    ]
    assert built.tools == [
        {
            "type": "function",
            "function": {
                "name": tool["name"],
                "parameters": tool["input_schema"],
                "description": tool["description"],
            },
        }
        for tool in sent["tools"]
    ]
    assert (parsed.stream, built.max_tokens, built.tool_choice) == (True, 32000, ToolChoice("auto"))
    assert built.thinking.enabled


# -- fields without effect, and refused ones


@pytest.mark.parametrize("name", IGNORED)
def test_fields_without_effect_are_accepted(name: str) -> None:
    assert generation(**{name: {"any": ["thing"]}}) == generation()


def test_what_has_no_effect_or_is_refused_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    _, section = page.split("## `POST /v1/messages`\n")
    for name in [*IGNORED, *UNSUPPORTED]:
        assert f"`{name}`" in section


@pytest.mark.parametrize(("name", "words"), UNSUPPORTED.items())
def test_fields_that_cannot_be_honoured_are_refused_with_the_reason(name: str, words: str) -> None:
    assert refusal(**{name: {"type": "create"}}) == (name, f"Invalid {name!r}: {words}")


@pytest.mark.parametrize("name", UNSUPPORTED)
@pytest.mark.parametrize("nothing", [None, []])
def test_fields_that_cannot_be_honoured_may_ask_for_nothing(name: str, nothing: Any) -> None:
    assert generation(**{name: nothing}) == generation()


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({"tools": [WEATHER], "tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "weather"}}, "tool_choice"),
        ({"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, "output_config.format"),
        ({"output_format": {"type": "json_schema", "schema": SCHEMA}}, "output_config.format"),
    ],
)
def test_an_answer_that_must_have_a_form_cannot_have_been_begun(fields: dict[str, Any], form: str) -> None:
    begun = [*HI, {"role": "assistant", "content": "{"}]
    param, message = refusal(messages=begun, **fields)
    assert param == "messages"
    assert message.endswith(f"where there is a {form}.")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"temprature": 1}, "temprature"),
        ({"temperature": 1.5}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"tools": [{"name": "weather"}]}, "tools[0].input_schema"),
        ({"tools": [{"input_schema": SCHEMA}]}, "tools[0].name"),
        ({"tools": [{"name": "a b", "input_schema": SCHEMA}]}, "tools[0].name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "tool"}, "tools": [WEATHER]}, "tool_choice.name"),
        ({"tool_choice": {"type": "tool", "name": "clock"}, "tools": [WEATHER]}, "tool_choice.name"),
        ({"tool_choice": {"type": "tool", "name": "web_search"}, "tools": [SEARCH]}, "tool_choice.name"),
        ({"tool_choice": {"type": "any"}, "tools": [SEARCH]}, "tool_choice"),
        ({"output_config": {"formt": {}}}, "output_config.formt"),
        ({"output_config": {"format": {"type": "json_object"}}}, "output_config.format.type"),
        ({"thinking": {"type": "enabled", "display": "loud"}}, "thinking.display"),
        ({"thinking": {"type": "perhaps"}}, "thinking.type"),
        ({"thinking": True}, "thinking"),
        ({"thinking_budget": {"tokens": 5}}, "thinking_budget"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs.messages"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"thinking": {"type": "enabled", "budget_tokens": "5"}}, "thinking.budget_tokens"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    body = {"max_tokens": 10, "messages": HI} | fields
    with pytest.raises(InvalidRequest) as caught:
        MESSAGES.parse(json.dumps({name: value for name, value in body.items() if value is not None}).encode())
    assert caught.value.param == param
    assert repr(param) in caught.value.message


def test_a_body_that_is_nested_too_deeply_is_refused() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        MESSAGES.parse(b'{"max_tokens":1,"messages":[{"role":"user","content":"Hi"}],"metadata":' + deep + b"}")


# -- tools


def test_tools_of_anthropics_servers_are_left_out() -> None:
    custom = WEATHER | {"type": "custom"}
    editor = {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}
    toolset = {"type": "mcp_toolset", "mcp_server_name": "example"}
    assert generation(tools=[SEARCH, custom, editor, toolset]).tools == [WEATHER_FUNCTION]
    only = generation(tools=[SEARCH])
    assert (only.tools, only.tool_choice, only.parallel_tool_calls) == (None, ToolChoice("none"), None)


@pytest.mark.parametrize(
    ("given", "choice", "parallel"),
    [
        (None, ToolChoice("auto"), None),
        ({"type": "auto"}, ToolChoice("auto"), None),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice("auto"), False),
        ({"type": "any"}, ToolChoice("required"), None),
        ({"type": "any", "disable_parallel_tool_use": False}, ToolChoice("required"), None),
        ({"type": "none"}, ToolChoice("none"), None),
        ({"type": "tool", "name": "clock"}, ToolChoice("required", frozenset({"clock"})), None),
    ],
)
def test_the_choice_among_tools(given: Any, choice: ToolChoice, parallel: bool | None) -> None:
    built = generation(tools=[WEATHER, CLOCK], tool_choice=given)
    assert (built.tool_choice, built.parallel_tool_calls) == (choice, parallel)


# -- thinking


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, OFF),
        ({"output_config": {"effort": "high"}}, OFF),
        ({"thinking": {"type": "disabled"}}, OFF),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "max"}}, OFF),
        ({"thinking": {"type": "between_tools"}, "output_config": {"effort": "max"}}, OFF),
        ({"thinking": {"type": "between_tools", "budget_tokens": 200}}, OFF),
        ({"thinking": {"type": "adaptive"}}, Thinking(budget=500)),
        ({"thinking": {"type": "enabled", "budget_tokens": 200}}, Thinking(budget=200)),
        ({"enable_thinking": True}, Thinking(budget=500)),
        ({"chat_template_kwargs": {"enable_thinking": True}}, Thinking(budget=500)),
        ({"thinking": {"type": "adaptive"}, "enable_thinking": False}, OFF),
        ({"thinking_budget_tokens": 50}, Thinking(budget=50)),
        ({"thinking_token_budget": 60}, Thinking(budget=60)),
        ({"reasoning": {"max_tokens": 70}}, Thinking(budget=70)),
        ({"reasoning_effort": "none", "thinking": {"type": "adaptive"}}, OFF),
    ],
)
def test_a_request_that_does_not_ask_for_thought_gets_none(fields: dict[str, Any], expected: Thinking) -> None:
    assert generation(**fields).thinking == expected


SHOWN = {"summarized": True, "omitted": False, "updates": False}


@pytest.mark.parametrize(("display", "shown"), [*SHOWN.items(), (None, True)])
def test_the_thought_is_shown_unless_it_is_to_be_hidden(display: str | None, shown: bool) -> None:
    assert parse(thinking={"type": "adaptive", "display": display}).show_thoughts is shown


def test_all_that_anthropics_sdk_lets_one_say_of_thinking_is_taken() -> None:
    kinds = [get_type_hints(kind) for kind in get_args(BetaThinkingConfigParam)]
    for kind in kinds:
        (name,) = get_args(kind["type"])
        assert parse(thinking={"type": name}).generation.thinking.enabled is (name in {"enabled", "adaptive"})
    shown = [get_args(option) for kind in kinds for option in get_args(kind.get("display"))]
    assert {name for names in shown for name in names} == set(SHOWN)


def test_the_older_name_of_the_output_format() -> None:
    wanted = {"type": "json_schema", "schema": SCHEMA}
    assert generation(output_format=wanted) == generation(output_config={"format": wanted})


# -- counting


def test_a_body_to_be_counted_needs_no_limit() -> None:
    body = {"messages": HI, "system": "Be kind.", "tools": [WEATHER], "tool_choice": {"type": "any"}}
    counted = MESSAGES.parse_count(json.dumps(body).encode())
    assert counted.max_tokens is None
    assert counted.messages == generation(**body).messages
    assert counted.tools == [WEATHER_FUNCTION]
