from __future__ import annotations

import json
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.events import ToolCall
from gateway.toolcalls.gemma_syntax import write_call
from gateway.toolcalls.text_hold import TextHold, find_calls

NAMES = ("weather", "weather_report", "clock")
Q = '<|"|>'

PARIS = ToolCall("", "weather", '{"city":"Paris"}')
CLOCK = ToolCall("", "clock", "{}")
AS_JSON = '{"name": "weather", "arguments": {"city": "Paris"}}'
AS_GEMMA = f"call:weather{{city:{Q}Paris{Q}}}"

CALLS: list[tuple[str, str, list[ToolCall]]] = [
    (AS_GEMMA, "", [PARIS]),
    (f"<|tool_call>{AS_GEMMA}<tool_call|>", "", [PARIS]),
    (f"<|tool_call>{AS_GEMMA}<tool_call|><|tool_response>", "", [PARIS]),
    (f"<|tool_call>{AS_GEMMA}<tool_call|><|tool_call>call:clock{{}}<tool_call|>\n", "", [PARIS, CLOCK]),
    (f"{AS_GEMMA}\ncall:clock{{}}", "", [PARIS, CLOCK]),
    (f"I look it up.\n{AS_GEMMA}", "I look it up.\n", [PARIS]),
    (f"I look it up. <|tool_call>{AS_GEMMA}", "I look it up. ", [PARIS]),
    (f"  {AS_GEMMA}<turn|>", "  ", [PARIS]),
    (f"```\nx\n```\n{AS_GEMMA}", "```\nx\n```\n", [PARIS]),
    (AS_JSON, "", [PARIS]),
    (f"\n{AS_JSON}\n", "", [PARIS]),
    (f"```json\n{AS_JSON}\n```", "", [PARIS]),
    (f"```\n{AS_JSON}\n```\n", "", [PARIS]),
    ('[{"name": "weather", "parameters": {"city": "Paris"}}, {"name": "clock", "arguments": {}}]', "", [PARIS, CLOCK]),
    ('{"type": "function", "name": "clock", "parameters": {}}', "", [CLOCK]),
    ('{"arguments": {}, "name": "clock"}', "", [CLOCK]),
    (f"<tool_call>{AS_JSON}</tool_call>", "", [PARIS]),
    (f"Well.\n<tool_call>\n[{AS_JSON}]</tool_call>\n", "Well.\n", [PARIS]),
    (f'<tool_call>{AS_JSON}</tool_call>\n<tool_call>{{"name": "clock", "arguments": {{}}}}', "", [PARIS, CLOCK]),
    ('{"name": "weather", "arguments": "{\\"city\\":\\"Paris\\"}"}', "", [PARIS]),
]

TEXTS = [
    "",
    "Hello.",
    "To call:weather{} is how it is written.",
    f"Write {AS_GEMMA}",
    f"{AS_GEMMA} is how you call it.",
    f"<|tool_call>{AS_GEMMA}<tool_call|> is how you call it.",
    "call:unknown{}",
    "<|tool_call>call:unknown{}<tool_call|>",
    "call:weatherman{}",
    "call:weather",
    "call:weather {}",
    f"call:weather{{city:{Q}Paris",
    "call:weather{city:Paris}",
    f"```\n{AS_GEMMA}",
    f"```\n{AS_GEMMA}\n```",
    f"For example:\n```json\n{AS_JSON}\n```",
    f"{AS_JSON} is how you call it.",
    f"```json\n{AS_JSON}\n```\nThis is how you call it.",
    '{"name": "unknown", "arguments": {}}',
    '{"name": "clock"}',
    '{"name": "clock", "arguments": {}, "why": "it is late"}',
    '{"name": "clock", "arguments": {}, "parameters": {}}',
    '{"name": "clock", "arguments": [1]}',
    '{"name": "clock", "arguments": {}',
    '{"type": "object", "name": "clock", "arguments": {}}',
    '{"answer": 42}',
    "[]",
    "[1, 2]",
    "```python\nprint()\n```",
    "`` ` <| < call the office <tool_call> maybe",
    f"<tool_call>{AS_JSON}</tool_call> is how you call it.",
    "<tool_call>nothing</tool_call>",
    "<tool_call>",
    "{",
    "ca",
]


@pytest.mark.parametrize(("text", "before", "calls"), CALLS)
def test_a_call_that_is_written_out_is_found(text: str, before: str, calls: list[ToolCall]) -> None:
    assert find_calls(text, NAMES) == (before, calls)


@pytest.mark.parametrize("text", TEXTS)
def test_text_about_calls_stays_text(text: str) -> None:
    assert find_calls(text, NAMES) == (text, [])


def test_a_thought_in_json_is_no_call() -> None:
    assert find_calls(AS_JSON, NAMES, whole_json=False) == (AS_JSON, [])
    assert find_calls(f"Let me see.\n{AS_GEMMA}", NAMES, whole_json=False) == ("Let me see.\n", [PARIS])


pieces = st.sampled_from(
    [text for text, _, _ in CALLS]
    + TEXTS
    + [
        AS_GEMMA[:20],
        "<|tool_call>",
        "<tool_call|>",
        "<tool_call>",
        "</tool_call>",
        "call:",
        "weather{",
        "}",
        "```",
        "`",
        "\n",
        " ",
        "{",
        '"name"',
    ]
    + ['"arguments":', Q, "<", "prose ", "json"]
)
texts = st.lists(pieces, max_size=4).map("".join)


def split(text: str, sizes: list[int]) -> list[str]:
    parts = []
    for size in sizes:
        parts.append(text[:size])
        text = text[size:]
    return [*parts, text]


@given(texts, st.lists(st.integers(0, 30), max_size=20))
@example(f"``{'`'}\n{AS_GEMMA}", [1, 1, 1, 1])
@example("call:weather{n:123456789012345678.5}", [32])
def test_how_the_text_is_cut_changes_nothing(text: str, sizes: list[int]) -> None:
    hold = TextHold(NAMES)
    passed = "".join(hold.feed(part) for part in split(text, sizes))
    rest, calls = hold.end()
    assert (passed + rest, calls) == find_calls(text, NAMES)


@given(texts)
def test_no_text_is_lost_unless_it_is_a_call(text: str) -> None:
    passed, calls = find_calls(text, NAMES)
    assert text.startswith(passed)
    assert bool(calls) == (passed != text)


@given(st.text(alphabet='calwether:{}<|>_tool`\n "', max_size=60), st.lists(st.integers(0, 9), max_size=20))
def test_random_text_is_cut_as_one_likes(text: str, sizes: list[int]) -> None:
    hold = TextHold(NAMES)
    passed = "".join(hold.feed(part) for part in split(text, sizes))
    rest, calls = hold.end()
    assert (passed + rest, calls) == find_calls(text, NAMES)


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("Hello, I ", ""),
        ("Hello <", "<"),
        ("Hello <b", ""),
        ("Hello <|tool_c", "<|tool_c"),
        ("Hello <|tool_call>call:w", "<|tool_call>call:w"),
        ("Hello <|tool_call>call:x", ""),
        ("I call:", ""),
        ("Hello\ncal", "cal"),
        ("Hello\ncall me", ""),
        ("call:weather{city:", "call:weather{city:"),
        ("call:weather{} is", ""),
        ('{"na', '{"na'),
        ('{"name": "wea', '{"name": "wea'),
        ('{"name": "Peter', ""),
        ('{"city', ""),
        ("```js", "```js"),
        ("```js\nlet", ""),
        ("```python", ""),
        ("The JSON is {", ""),
    ],
)
def test_only_what_may_be_a_call_is_held_back(text: str, held: str) -> None:
    assert TextHold(NAMES).feed(text) == text[: len(text) - len(held)]


def test_a_long_call_is_not_read_again_with_every_piece() -> None:
    text = write_call("weather", {"city": "x" * 40_000, "list": list(range(5000))})
    hold = TextHold(NAMES)
    assert "".join(map(hold.feed, text)) == ""
    [call] = hold.end()[1]
    assert len(json.loads(call.arguments)["city"]) == 40_000


STUCK = ["call:clock{a:", "\ncall:clock{a:", "<|tool_call>", "<|tool_call><tool_call|>", "<tool_call>", "<tool_call>{"]
STUCK += ["\ncall:clock{}", "<|tool_call>call:clock{}<tool_call|>", '<tool_call>{"name": "clock", "arguments": {}}']


def work(text: str) -> int:
    """Return how many function calls it takes to look for calls in a text."""
    called = 0

    def count(*_: object) -> None:
        nonlocal called
        called += 1

    sys.setprofile(count)
    try:
        find_calls(text, NAMES)
    finally:
        sys.setprofile(None)
    return called


@pytest.mark.parametrize("before", ["", f"call:clock{{a:{Q}"], ids=["at once", "held"])
@pytest.mark.parametrize("unit", STUCK)
def test_a_model_that_is_stuck_costs_no_more_than_its_length(unit: str, before: str) -> None:
    once, twice = (work(before + unit * times + "and so on") for times in (200, 400))
    assert twice < 2.1 * once
