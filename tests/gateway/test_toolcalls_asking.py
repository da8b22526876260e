from __future__ import annotations

import pytest

from gateway.events import ToolCall
from gateway.request import GenerationRequest, Json, ToolChoice
from gateway.thinking import OFF, Thinking
from gateway.toolcalls.asking import ask_arguments, ask_arguments_again, ask_which_tool, read_choice
from gateway.toolcalls.grammar_schema import TIGHT, grammar_schema
from gateway.toolcalls.toolbox import Violation, compile_tools

WEATHER: Json = {"type": "object", "properties": {"days": {"type": "integer"}}, "required": ["days"]}
TOOLS: list[Json] = [
    {"type": "function", "function": {"name": "weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "clock"}},
]
HELLO: Json = {"role": "user", "content": "Hello."}
REQUEST = GenerationRequest(
    messages=[HELLO],
    thinking=Thinking(budget=500),
    max_tokens=1000,
    stop=("END",),
    logprobs=2,
    tools=TOOLS,
    tool_choice=ToolChoice("required"),
    parallel_tool_calls=False,
    sampling={"temperature": 1.0, "seed": 1},
)
BOX = compile_tools(TOOLS)
BROKEN = ToolCall("a1", "weather", '{"days":"three"}')
TOLD = (
    'This call was not carried out:\n- days: "three" is not of type "integer"\n'
    "Write the arguments of weather again, as one JSON object that is right."
)


def in_schema(name: str, schema: Json) -> Json:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}


def test_a_broken_call_is_asked_for_again_where_the_conversation_stands() -> None:
    asked = ask_arguments_again(
        REQUEST, BOX.tools["weather"], BROKEN, BOX.check(BROKEN), bounds=TIGHT, max_tokens=300, temperature=0.2
    )
    function = {"name": "weather", "arguments": '{"days":"three"}'}
    assert asked == GenerationRequest(
        messages=[
            HELLO,
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "a1", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": "a1", "content": TOLD},
        ],
        thinking=Thinking(budget=0),
        max_tokens=300,
        tools=TOOLS,
        tool_choice=ToolChoice("none"),
        parallel_tool_calls=False,
        response_format=in_schema("weather", grammar_schema(WEATHER, TIGHT)),
        sampling={"temperature": 0.2, "seed": 1},
    )


@pytest.mark.parametrize("arguments", ["{", "[1]", '"x"', ""])
def test_arguments_that_no_template_takes_are_quoted(arguments: str) -> None:
    call = ToolCall("a1", "weather", arguments)
    asked = ask_arguments_again(REQUEST, BOX.tools["weather"], call, [Violation("weather", "", "No.")])
    assert asked.messages == [
        HELLO,
        {"role": "assistant", "content": f"weather({arguments})"},
        {
            "role": "user",
            "content": "This call was not carried out:\n- No.\n"
            "Write the arguments of weather again, as one JSON object that is right.",
        },
    ]


def test_the_templates_switch_and_the_tools_stay_so_that_the_prompt_does() -> None:
    for thinking in (Thinking(), OFF):
        request = GenerationRequest(
            messages=[HELLO], tools=TOOLS, thinking=thinking, tool_choice=ToolChoice("required", frozenset({"clock"}))
        )
        asked = ask_arguments(request, BOX.tools["clock"])
        assert asked.thinking == Thinking(enabled=thinking.enabled, budget=0)
        assert asked.tools == TOOLS
        assert asked.tool_choice == ToolChoice("none", frozenset({"clock"}))
        assert asked.sampling == {}


def test_without_a_call_the_tool_is_asked_for_and_then_its_arguments() -> None:
    which = ask_which_tool(REQUEST, BOX, "It is sunny.")
    assert which.messages == [
        HELLO,
        {"role": "assistant", "content": "It is sunny."},
        {"role": "user", "content": "A tool must be called now. Which one: weather, clock? Write its name as JSON."},
    ]
    assert which.response_format == in_schema("tool", {"enum": ["weather", "clock"]})
    assert read_choice(BOX, '"clock"') is BOX.tools["clock"]
    asked = ask_arguments(REQUEST, BOX.tools["clock"])
    assert asked.messages == [
        HELLO,
        {"role": "user", "content": "The tool clock is called now. Write its arguments as one JSON object."},
    ]
    assert asked.response_format == in_schema("clock", {"type": "object", "properties": {}})
    assert asked.max_tokens == 1000


@pytest.mark.parametrize("text", ["", "clock", '"cl', '"time"', "1", "[]", '["clock"]'])
def test_a_choice_that_is_none_is_none(text: str) -> None:
    assert read_choice(BOX, text) is None
