"""What llama-server itself does with what Gemma 4 may write, without warmgate: the contract that warmgate mends.

Seen in llama.cpp b11549 (PyPI's xllamacpp 2026.10.11549), with Gemma 4's own template and parser
(common/parsers/gemma4.cpp). A test that fails after an update says what upstream has changed.
"""

from __future__ import annotations

import json
from enum import StrEnum
from importlib.metadata import version
from pydoc_data.topics import topics
from typing import TYPE_CHECKING, Any, Literal

import httpx
import pytest
from pydantic import BaseModel, Field

from contract.model.acts import (
    CHAIN_END,
    DEFAULT_ANSWER,
    LONG_THOUGHT,
    NO_TOOL,
    ODD,
    PARIS,
    SHORT_THOUGHT,
    STEPS,
    THOUGHT,
    trigger,
)
from contract.scenes import ANSWERS_AT_RANDOM, SCENES, SECRETS, tool, tools
from gateway.toolcalls.showing import show

if TYPE_CHECKING:
    from contract.upstream import Answer, Upstream

NO_MATCH = "The model produced output that does not match the expected peg-gemma4 format"
BEFORE_STRAY = "This comes before the stray token."
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
ON_OFF = pytest.mark.parametrize("thinking", [True, False], ids=["thinking", "not thinking"])

# Scenes whose output llama-server hands on as the model meant it.
FAITHFUL = [
    name
    for name, scene in SCENES.items()
    if scene.text.find("<") < 0 and name not in {"remember", "json", "unknown-tool", *ANSWERS_AT_RANDOM}
]


def play(upstream: Upstream, name: str, **fields: Any) -> Answer:
    scene = SCENES[name]
    if scene.tools:
        fields = {"tools": scene.tools} | fields
    return upstream.ask(scene.messages, **fields)


def go_on(upstream: Upstream, name: str, answer: Answer, *results: str, **fields: Any) -> Answer:
    """Give the results of an answer's calls."""
    messages = answered(SCENES[name].messages, answer, *results)
    return upstream.ask(messages, tools=SCENES[name].tools, **fields)


def answered(messages: list[dict[str, Any]], answer: Answer, *results: str) -> list[dict[str, Any]]:
    calls = answer.message["tool_calls"]
    given = [
        {"role": "tool", "tool_call_id": call["id"], "content": result}
        for call, result in zip(calls, results, strict=True)
    ]
    return [*messages, answer.message, *given]


def test_this_is_the_build_that_was_looked_at(upstream: Upstream) -> None:
    assert version("xllamacpp") == "2026.10.11549"
    assert upstream.get("/props")["chat_template_caps"]["supports_tool_calls"]


# --- the model and the template ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAITHFUL)
@BOTH
@ON_OFF
def test_a_scene_is_played(upstream: Upstream, name: str, thinking: bool, stream: bool) -> None:
    scene = SCENES[name]
    answer = play(upstream, name, thinking=thinking, stream=stream)
    thought = scene.thought if thinking or name == "thought-though-off" else ""
    text = scene.text if thinking else scene.text_without_thinking
    assert (answer.status, answer.thought, answer.text, answer.arguments()) == (200, thought, text, list(scene.calls))
    assert answer.finish == ("tool_calls" if scene.calls else "stop")
    assert answer.done == stream


@ON_OFF
def test_a_result_is_repeated(upstream: Upstream, thinking: bool) -> None:
    call = play(upstream, "call", thinking=thinking)
    answer = go_on(upstream, "call", call, "Rain, 14 degrees, wind from the west.", thinking=thinking)
    assert (answer.text, answer.finish) == ("The result is: Rain, 14 degrees, wind from the west.", "stop")


@ON_OFF
def test_results_belong_to_calls_by_id_in_any_order(upstream: Upstream, thinking: bool) -> None:
    # the outdated template, which llama-server warns of, pairs them by order
    calls = play(upstream, "parallel", thinking=thinking)
    answer = go_on(upstream, "parallel", calls, "Sunny, 25 °C", "Snow, -3 °C", thinking=thinking)
    assert answer.text == "Paris: Sunny, 25 °C\nOslo: Snow, -3 °C"
    assert not any("outdated" in line for line in upstream.log)


@ON_OFF
def test_text_beside_a_call_is_handed_on(upstream: Upstream, thinking: bool) -> None:
    call = play(upstream, "say-and-call", thinking=thinking)
    assert call.text == "I will look at the weather for you."
    answer = go_on(upstream, "say-and-call", call, "It rains.", thinking=thinking)
    assert answer.text == "The result is: It rains."


@ON_OFF
def test_five_steps(upstream: Upstream, thinking: bool) -> None:
    messages, declared = SCENES["chain"].messages, SCENES["chain"].tools
    for step, later in zip(STEPS, (*STEPS[1:], ""), strict=True):
        answer = upstream.ask(messages, tools=declared, thinking=thinking)
        assert answer.arguments() == [(step, {})]
        messages = answered(messages, answer, f"ok, next: {later}" if later else "done")
    assert upstream.ask(messages, tools=declared, thinking=thinking).text == CHAIN_END


@ON_OFF
def test_a_loop_has_no_end(upstream: Upstream, thinking: bool) -> None:
    messages, declared = SCENES["loop"].messages, SCENES["loop"].tools
    for turn in range(4):
        answer = upstream.ask(messages, tools=declared, thinking=thinking)
        assert answer.arguments() == [("lookup", {"colour": "blue"})]
        messages = answered(messages, answer, f"Blue, as in the sky and the sea ({turn}).")


@pytest.mark.parametrize("colour", ["teal", "red", "navy"])
def test_a_thought_is_remembered_if_the_client_gives_it_back(upstream: Upstream, colour: str) -> None:
    messages = [{"role": "user", "content": f"{trigger('remember')} Remember the colour {colour}."}]
    call = upstream.ask(messages, tools=tools("lookup"))
    assert SECRETS[colour] in call.thought
    assert call.arguments() == [("lookup", {"colour": colour})]
    messages = answered(messages, call, "It is a colour.")
    assert upstream.ask(messages, tools=tools("lookup")).text == f"I remember {SECRETS[colour]}."
    del messages[1]["reasoning_content"]
    assert upstream.ask(messages, tools=tools("lookup")).text == "I remember nothing."


@ON_OFF
@pytest.mark.parametrize(
    "told", ["Error: invalid arguments: minutes must be an integer", "The arguments were invalid."]
)
def test_a_wrong_call_is_put_right_once_told(upstream: Upstream, told: str, thinking: bool) -> None:
    wrong = play(upstream, "retry-once-told", thinking=thinking)
    right = go_on(upstream, "retry-once-told", wrong, told, thinking=thinking)
    assert right.arguments() == [("set_timer", {"label": "tea", "minutes": 5})]
    stubborn = play(upstream, "wrong-type", thinking=thinking)
    assert go_on(upstream, "wrong-type", stubborn, told, thinking=thinking).calls == stubborn.calls


@pytest.mark.parametrize("name", ["codex", "claude"])
def test_an_agent_finds_its_way_behind_a_long_prompt(upstream: Upstream, name: str) -> None:
    others = [
        tool(f"tool_{number}", topics["assignment"][:600], {"path": {"type": "string"}}, ["path"])
        for number in range(5)
    ]
    messages = [
        {"role": "system", "content": topics["compound"][:8000]},
        {
            "role": "user",
            "content": f"{trigger(name)}\n\n<system-reminder>{topics['operator-summary'][:1500]}</system-reminder>",
        },
    ]
    call = upstream.ask(messages, tools=[*others, *SCENES[name].tools])
    assert call.arguments() == list(SCENES[name].calls)
    answer = upstream.ask(answered(messages, call, "the marker is kettle\n"), tools=[*others, *SCENES[name].tools])
    assert answer.text == "The result is: the marker is kettle\n"


def test_other_seeds_give_other_answers(upstream: Upstream) -> None:
    answers = [play(upstream, "flaky", temperature=1, seed=seed) for seed in range(12)]
    assert {answer.status for answer in answers} == {200, 500}
    calls = [play(upstream, "flaky-call", temperature=1, seed=seed) for seed in range(12)]
    assert {json.dumps(call.arguments()[0][1]["minutes"]) for call in calls} == {'"five"', "5"}


# --- thoughts ---------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("budget", [0, 1, 3, 10, 40])
def test_a_budget_cuts_the_thought_and_the_answer_still_comes(upstream: Upstream, budget: int, stream: bool) -> None:
    answer = play(upstream, "think", reasoning_budget_tokens=budget, stream=stream)
    assert THOUGHT.startswith(answer.thought)
    assert bool(answer.thought) == (budget > 1)  # the newline after "thought" counts, and is not shown
    assert answer.text == SCENES["think"].text


def test_a_budget_counts_tokens_from_the_newline_after_the_opening(upstream: Upstream) -> None:
    none = play(upstream, "think", reasoning_budget_tokens=0)
    some = play(upstream, "think", reasoning_budget_tokens=40)
    assert none.tokens is not None
    assert some.tokens == none.tokens + 40


def test_a_budget_is_for_each_thought_and_not_for_the_answer(upstream: Upstream) -> None:
    answer = play(upstream, "two-thoughts", reasoning_budget_tokens=3)
    assert answer.thought == "This isThis is"
    assert answer.text == "Here is the first part. Here is the second part."


@BOTH
def test_two_thoughts_are_joined_into_one(upstream: Upstream, stream: bool) -> None:
    answer = play(upstream, "two-thoughts", stream=stream)
    assert answer.thought == (
        "This is the first thought of two, and it comes before any text."
        "This is the second thought, and it comes in the middle of the answer."
    )
    assert answer.text == "Here is the first part. Here is the second part."


def test_a_model_thinks_though_thinking_is_off_unless_the_budget_is_nothing(upstream: Upstream) -> None:
    assert play(upstream, "thought-though-off", thinking=False).thought
    cut = play(upstream, "thought-though-off", thinking=False, reasoning_budget_tokens=0)
    assert (cut.thought, cut.text) == ("", "I thought about it first.")


def test_a_thought_can_take_all_of_max_tokens(upstream: Upstream) -> None:
    answer = play(upstream, "think-long", max_tokens=100)
    assert (answer.text, answer.finish) == ("", "length")
    assert LONG_THOUGHT.startswith(answer.thought)


@BOTH
def test_a_thought_that_is_never_closed_is_no_error(upstream: Upstream, stream: bool) -> None:
    answer = play(upstream, "thought-unclosed", stream=stream)
    assert answer.thought == "This thought is about to end without a word that it has ended"
    assert (answer.text, answer.finish) == ("", "stop")


@BOTH
def test_a_call_in_a_thought_is_no_call(upstream: Upstream, stream: bool) -> None:
    # https://github.com/ggml-org/llama.cpp/issues/20837
    answer = play(upstream, "call-in-thought", stream=stream)
    assert answer.thought == f"I should ask for the weather. {PARIS} That should do."
    assert (answer.text, answer.calls, answer.finish) == ("", [], "stop")


# --- calls ------------------------------------------------------------------------------------------------------


@BOTH
def test_an_undeclared_tool_is_turned_into_a_declared_one(upstream: Upstream, stream: bool) -> None:
    # The grammar lets only declared names pass. The arguments are still those of the other tool.
    answer = play(upstream, "unknown-tool", stream=stream)
    assert answer.arguments() == [("get_weather", {"door": "front"})]


@BOTH
def test_a_call_without_tools_is_text(upstream: Upstream, stream: bool) -> None:
    # https://github.com/ggml-org/llama.cpp/issues/22786
    answer = upstream.ask(SCENES["unknown-tool"].messages, stream=stream)
    assert answer.text == '<|tool_call>call:open_door{door:<|"|>front<|"|>}<tool_call|>'
    assert (answer.calls, answer.finish) == ([], "stop")


@BOTH
def test_with_tool_choice_none_tools_are_declared_all_the_same(upstream: Upstream, stream: bool) -> None:
    answer = play(upstream, "call", tool_choice="none", thinking=False, stream=stream)
    assert (answer.text, answer.calls) == (str(PARIS), [])
    bare = upstream.ask(SCENES["call"].messages, thinking=False)
    assert bare.text == NO_TOOL


@BOTH
@ON_OFF
def test_a_call_that_max_tokens_cut_off_has_half_its_arguments(
    upstream: Upstream, thinking: bool, stream: bool
) -> None:
    answer = play(upstream, "unterminated", max_tokens=80, thinking=thinking, stream=stream)
    ((name, arguments),) = answer.calls
    assert name == "set_timer"
    assert arguments.startswith('{"label":"tea tea')
    assert not arguments.endswith("}")
    assert answer.finish == "length"


@ON_OFF
@pytest.mark.parametrize("name", ["plain", "think", "count"])
def test_a_required_call_comes_whatever_the_scene(upstream: Upstream, name: str, thinking: bool) -> None:
    declared = [
        tool("add_numbers", "Add two numbers.", {"a": {"type": "integer"}, "b": {"type": "integer"}}),
        *tools("get_weather", "set_timer"),
    ]
    answer = upstream.ask(SCENES[name].messages, tools=declared, tool_choice="required", thinking=thinking)
    assert answer.arguments() == [("add_numbers", {"a": 1, "b": 1})]
    assert answer.text == ""


def test_required_does_not_check_arguments(upstream: Upstream) -> None:
    # https://github.com/ggml-org/llama.cpp/issues/23247
    answer = play(upstream, "wrong-type", tool_choice="required")
    assert answer.arguments() == [("set_timer", {"label": "tea", "minutes": "five"})]


def test_a_named_tool_choice_is_taken_for_auto(upstream: Upstream) -> None:
    # https://github.com/ggml-org/llama.cpp/issues/26535
    choice = {"type": "function", "function": {"name": "get_weather"}}
    answer = upstream.ask(SCENES["plain"].messages, tools=tools("get_weather"), tool_choice=choice)
    assert (answer.text, answer.calls) == (SCENES["plain"].text, [])


@pytest.mark.parametrize("stream", [False, True])
def test_without_parallel_calls_the_second_never_comes(upstream: Upstream, stream: bool) -> None:
    answer = play(upstream, "parallel", parallel_tool_calls=False, stream=stream)
    assert answer.arguments() == [("get_weather", {"city": "Paris", "unit": "celsius"})]


# --- stray tokens -----------------------------------------------------------------------------------------------


@BOTH
@ON_OFF
@pytest.mark.parametrize("name", ["stray-close", "stray-open"])
def test_text_after_a_stray_channel_token_is_lost(upstream: Upstream, name: str, thinking: bool, stream: bool) -> None:
    answer = play(upstream, name, thinking=thinking, stream=stream)
    assert (answer.status, answer.text, answer.finish, answer.error) == (200, BEFORE_STRAY, "stop", None)


@BOTH
@ON_OFF
def test_a_quote_token_stays_in_the_text(upstream: Upstream, thinking: bool, stream: bool) -> None:
    answer = play(upstream, "stray-quote", thinking=thinking, stream=stream)
    assert answer.text == 'There is a <|"|> in this text, and another <|"|> after it.'


def test_an_unknown_channel_is_an_error_500(upstream: Upstream) -> None:
    # https://github.com/ggml-org/llama.cpp/issues/25072, 21760, 27619
    answer = play(upstream, "odd-channel")
    assert (answer.status, answer.error) == (500, NO_MATCH)


def test_an_unknown_channel_ends_a_stream_with_an_error_and_without_done(upstream: Upstream) -> None:
    answer = play(upstream, "odd-channel", stream=True)
    assert (answer.status, answer.error, answer.text, answer.done) == (200, NO_MATCH, "", False)


def test_an_unknown_channel_with_thinking_off_is_text_or_nothing_at_all(upstream: Upstream) -> None:
    # the prompt's own empty thought has matched already, and the rest is not looked at
    whole = play(upstream, "odd-channel", thinking=False)
    assert (whole.status, whole.text) == (200, ODD)
    streamed = play(upstream, "odd-channel", thinking=False, stream=True)
    assert (streamed.text, streamed.finish, streamed.error, streamed.done) == ("", "stop", None, True)


@ON_OFF
def test_an_unknown_channel_beside_tools_is_text_or_nothing_at_all(upstream: Upstream, thinking: bool) -> None:
    whole = play(upstream, "odd-channel", tools=tools("get_weather"), thinking=thinking)
    assert (whole.status, whole.text) == (200, ODD)
    streamed = play(upstream, "odd-channel", tools=tools("get_weather"), thinking=thinking, stream=True)
    assert (streamed.text, streamed.finish, streamed.error, streamed.done) == ("", "stop", None, True)


# --- response_format --------------------------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "population": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "place": {
            "type": "object",
            "properties": {"capital": {"type": "boolean"}, "kind": {"enum": ["town", "village"]}},
            "required": ["capital", "kind"],
        },
    },
    "required": ["city", "population", "tags", "place"],
}


@BOTH
@ON_OFF
@pytest.mark.parametrize("name", ["json", "plain", "think"])
def test_an_answer_keeps_to_its_schema(upstream: Upstream, name: str, thinking: bool, stream: bool) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}}
    answer = upstream.ask(SCENES[name].messages, response_format=wanted, thinking=thinking, stream=stream)
    value = json.loads(answer.text)
    assert list(value) == ["city", "population", "tags", "place"]
    assert [type(item) for item in value.values()] == [str, int, list, dict]
    assert answer.finish == "stop"


@pytest.mark.parametrize(
    ("schema", "status", "error"),
    [
        ({"$ref": "#"}, 500, "JSON schema error at #: unsupported $ref #,"),
        ({"type": "foo"}, 500, "JSON schema error at #: unrecognized type foo"),
        ({"type": "array", "items": {"type": "string"}, "minItems": 10**6}, 400, "failed to parse grammar"),
    ],
)
def test_a_schema_without_a_grammar_is_the_servers_own_failure(
    upstream: Upstream, schema: dict[str, Any], status: int, error: str
) -> None:
    """Those over which it takes all memory (b11549) are not tried: a minimum above its maximum, and `a{5,2}`."""
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = upstream.ask(SCENES["plain"].messages, response_format=wanted)
    assert answer.status == status
    assert error in str(answer.error)


def test_a_response_format_puts_tools_out_of_reach(upstream: Upstream) -> None:
    answer = play(upstream, "call", response_format={"type": "json_object"})
    assert (json.loads(answer.text), answer.calls) == ({"answer": "yes"}, [])


def test_items_of_several_types_cannot_be_shown(upstream: Upstream) -> None:
    """`map` with a filter is missing from llama.cpp's template engine."""
    tags = {"type": "array", "items": {"type": ["string", "null"]}}
    answer = upstream.ask(SCENES["call"].messages, tools=[tool("tag", "Tag.", {"tags": tags})])
    assert (answer.status, answer.error) == (500, "NotImplemented: map: filter-mapping not implemented")


# --- no scene ---------------------------------------------------------------------------------------------------


def test_without_a_scene_there_is_a_short_thought_and_a_short_answer(upstream: Upstream) -> None:
    answer = upstream.ask([{"role": "user", "content": "Good morning!"}])
    assert (answer.thought, answer.text) == (SHORT_THOUGHT, DEFAULT_ANSWER)


def test_only_the_newest_turn_sets_the_scene(upstream: Upstream) -> None:
    earlier = [*SCENES["count"].messages, {"role": "assistant", "content": "1, 2, 3."}]
    assert upstream.ask([*earlier, *SCENES["plain"].messages]).text == SCENES["plain"].text
    assert upstream.ask([*earlier, {"role": "user", "content": "Thank you."}]).text == DEFAULT_ANSWER


# --- tools in the prompt ----------------------------------------------------------------------------------------


class Kind(StrEnum):
    WALK = "walk"
    DRIVE = "drive"


class Leg(BaseModel):
    """One leg."""

    city: str
    days: int | None = None
    next: Leg | None = None


class Trip(BaseModel):
    home: Leg = Field(description="Where it begins.")
    kind: Kind
    legs: list[Leg]
    nights: int | None = Field(None, description="How many.")
    pace: Literal["slow", "fast"] | None = None
    unit: Literal["km"]
    who: int | str


def parameters_in_prompt(upstream: Upstream, parameters: Any, *, shown: bool) -> str:
    """Return what the model is told of a tool's parameters, as they are or as warmgate shows them; in plain quotes."""
    declared = [{"type": "function", "function": {"name": "f", "description": "", "parameters": parameters}}]
    found = json.loads(bytes(show(declared))) if shown else declared
    body = {"messages": [{"role": "user", "content": "Hello."}], "tools": found}
    prompt: str = httpx.post(f"{upstream.url}/apply-template", json=body).raise_for_status().json()["prompt"]
    return prompt.partition("parameters:")[2].partition("<tool|>")[0].replace('<|"|>', '"')


def test_the_template_tells_no_type_of_references_and_unions(upstream: Upstream) -> None:
    assert parameters_in_prompt(upstream, Trip.model_json_schema(), shown=False) == (
        '{properties:{home:{description:"Where it begins.",type:""},kind:{type:""},'
        'legs:{items:{$ref:"#/$defs/Leg"},type:"ARRAY"},nights:{description:"How many.",type:""},pace:{type:""},'
        'unit:{type:"STRING"},who:{type:""}},required:["home","kind","legs","unit","who"],type:"OBJECT"}}'
    )


def test_the_template_tells_every_type_as_warmgate_shows_it(upstream: Upstream) -> None:
    leg = (
        'properties:{city:{type:"STRING"},days:{nullable:true,type:"INTEGER"},'
        'next:{nullable:true,properties:{},type:"OBJECT"}},required:["city"]'
    )
    assert parameters_in_prompt(upstream, Trip.model_json_schema(), shown=True) == (
        f'{{properties:{{home:{{description:"Where it begins.",{leg},type:"OBJECT"}},'
        'kind:{enum:["walk","drive"],type:"STRING"},'
        f'legs:{{items:{{description:"One leg.",{leg},title:"Leg",type:"OBJECT"}},type:"ARRAY"}},'
        'nights:{description:"How many.",nullable:true,type:"INTEGER"},'
        'pace:{enum:["slow","fast"],nullable:true,type:"STRING"},unit:{enum:["km"],type:"STRING"},'
        """who:{type:"['INTEGER', 'STRING']"}},required:["home","kind","legs","unit","who"],type:"OBJECT"}}"""
    )
