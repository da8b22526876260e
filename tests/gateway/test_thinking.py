"""The table of all ways to ask for thought: every row, every pair of rows, and the page that shows it."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.thinking import (
    CLOSING_TOKENS,
    EFFORTS,
    MOST_TOKENS,
    OFF,
    OPENING_TOKENS,
    SOURCES,
    Thinking,
    ThinkingPolicy,
    plan_thinking,
)

PAGE = Path(__file__).parents[2] / "docs" / "thinking.md"
BY_DEFAULT = 1000
ON_POLICY = ThinkingPolicy(budget=BY_DEFAULT, answer_reserve=100)
OFF_POLICY = ThinkingPolicy(enabled=False, budget=BY_DEFAULT, answer_reserve=100)
MARKS = OPENING_TOKENS + CLOSING_TOKENS

SWITCHES = ["chat_template_kwargs.enable_thinking", "chat_template_kwargs.thinking", "enable_thinking"]
SWITCH_LAST = "reasoning.enabled"
LLAMA = ["thinking_budget_tokens", "reasoning_budget", "reasoning_budget_tokens"]
BUDGETS = [*LLAMA, "thinking_budget", "thinking_token_budget", "reasoning.max_tokens", "thinking.budget_tokens"]
EFFORT_FIELDS = ["reasoning_effort", "reasoning.effort"]

ORDER = [
    "chat_template_kwargs.enable_thinking",
    "chat_template_kwargs.thinking",
    "enable_thinking",
    "thinking_budget_tokens",
    "thinking_budget",
    "thinking_token_budget",
    "reasoning_budget",
    "reasoning_budget_tokens",
    "reasoning_effort",
    "reasoning.enabled",
    "reasoning.max_tokens",
    "reasoning.effort",
    "thinking.type",
    "thinking.budget_tokens",
    "output_config.effort",
]

# field, value, with thinking on by default, with thinking off by default
ROWS: list[tuple[str, Any, Thinking, Thinking]] = [
    *[(name, True, Thinking(budget=BY_DEFAULT), Thinking(budget=BY_DEFAULT)) for name in [*SWITCHES, SWITCH_LAST]],
    *[(name, False, OFF, OFF) for name in [*SWITCHES, SWITCH_LAST]],
    *[(name, 0, OFF, OFF) for name in BUDGETS],
    *[(name, 1, Thinking(budget=1), Thinking(budget=1)) for name in BUDGETS],
    *[(name, MOST_TOKENS, Thinking(budget=MOST_TOKENS), Thinking(budget=MOST_TOKENS)) for name in BUDGETS],
    *[(name, -1, Thinking(), OFF) for name in LLAMA],
    *[(name, "none", OFF, OFF) for name in EFFORT_FIELDS],
    *[
        (name, effort, Thinking(budget=budget), Thinking(budget=budget))
        for name in EFFORT_FIELDS
        for effort, budget in EFFORTS.items()
    ],
    ("thinking.type", "enabled", Thinking(budget=BY_DEFAULT), Thinking(budget=BY_DEFAULT)),
    ("thinking.type", "adaptive", Thinking(budget=BY_DEFAULT), Thinking(budget=BY_DEFAULT)),
    *[("thinking.type", kind, OFF, OFF) for kind in ("disabled", "between_tools")],
    *[("output_config.effort", effort, Thinking(budget=budget), OFF) for effort, budget in EFFORTS.items()],
]


def nested(*fields: tuple[str, Any]) -> dict[str, Any]:
    """Return a body that holds fields given by path."""
    body: dict[str, Any] = {}
    for path, value in fields:
        first, _, rest = path.partition(".")
        if rest:
            body.setdefault(first, {})[rest] = value
        else:
            body[first] = value
    return body


def plan(asked: dict[str, Any], policy: ThinkingPolicy = ON_POLICY, max_tokens: int | None = None) -> Thinking:
    return plan_thinking(asked, policy, max_tokens=max_tokens)


def test_the_order_of_precedence() -> None:
    assert [source.path for source in SOURCES] == ORDER


def test_every_field_is_in_the_rows() -> None:
    assert {row[0] for row in ROWS} == set(ORDER)


def test_who_asks_for_nothing_gets_what_is_set() -> None:
    assert plan({}) == Thinking(budget=BY_DEFAULT)
    assert plan({}, OFF_POLICY) == OFF
    assert plan({}, ThinkingPolicy(budget=None)) == Thinking()
    assert plan({}, ThinkingPolicy(budget=0)) == OFF


@pytest.mark.parametrize(("field", "value", "on", "off"), ROWS)
def test_each_field_alone(field: str, value: Any, on: Thinking, off: Thinking) -> None:
    assert plan(nested((field, value))) == plan({field: value}) == on
    assert plan(nested((field, value)), OFF_POLICY) == off


def says(field: str, value: Any) -> tuple[bool | None, int | None]:
    """Return what a field says: whether, and how much, -1 for no bound. In words other than the code's."""
    if isinstance(value, bool):
        return value, None
    if value == -1:
        return None, -1
    if isinstance(value, int):
        return value > 0, value
    if field == "thinking.type":
        return value not in {"disabled", "between_tools"}, None
    if field == "output_config.effort":
        return None, EFFORTS[value]
    return value != "none", EFFORTS.get(value)


@pytest.mark.parametrize("policy", [ON_POLICY, OFF_POLICY])
def test_of_two_fields_the_first_that_says_whether_decides_that_and_the_first_that_says_how_much_decides_that(
    policy: ThinkingPolicy,
) -> None:
    pairs = [
        (first, second)
        for first, second in combinations(sorted(ROWS, key=lambda row: ORDER.index(row[0])), 2)
        if first[0] != second[0]
    ]
    assert len(pairs) > 500
    for first, second in pairs:
        whether, much = zip(says(*first[:2]), says(*second[:2]), strict=True)
        enabled = next((one for one in whether if one is not None), policy.enabled)
        budget = next((one for one in much if one is not None), BY_DEFAULT)
        expected = Thinking(budget=None if budget == -1 else budget) if enabled and budget else OFF
        assert plan(nested(first[:2], second[:2]), policy) == expected, (first, second)


BAD = ["true", "5", "", 5.0, 0.5, 1e20, -1, -2, 2**31, 2**32, 2**64, [], [1], {}, {"a": 1}, True, False, "extreme"]
GOOD: dict[str, list[Any]] = {
    **{name: [True, False] for name in [*SWITCHES, SWITCH_LAST]},
    **{name: [-1] if name in LLAMA else [] for name in BUDGETS},
    **{name: [] for name in [*EFFORT_FIELDS, "thinking.type", "output_config.effort"]},
}


@pytest.mark.parametrize("field", ORDER)
def test_what_cannot_be_meant_is_refused_by_name_even_where_another_field_decides(field: str) -> None:
    first = ("chat_template_kwargs.enable_thinking", False)
    for value in BAD:
        if any(type(value) is type(good) and value == good for good in GOOD[field]) or isinstance(value, dict):
            continue
        others = [] if field == first[0] else [first]
        with pytest.raises(InvalidRequest) as caught:
            plan(nested(*others, (field, value)))
        assert caught.value.param == field
        assert caught.value.message.startswith(f"Invalid {field!r}: expected ")


@pytest.mark.parametrize("name", ["chat_template_kwargs", "reasoning", "thinking", "output_config"])
@pytest.mark.parametrize("value", [True, "high", 5, [], 0])
def test_an_object_that_is_none_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match="expected an object") as caught:
        plan({name: value})
    assert caught.value.param == name


def test_what_is_null_says_nothing() -> None:
    asked = {**dict.fromkeys(["enable_thinking", "thinking", "reasoning"]), "output_config": {"effort": None}}
    assert plan(asked) == Thinking(budget=BY_DEFAULT)


def test_claude_code_with_thinking_off_still_sends_an_effort() -> None:
    assert plan({"output_config": {"effort": "high"}}, OFF_POLICY) == OFF


def test_claude_code_thinks_as_much_as_its_effort_is_worth() -> None:
    asked = {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "high"}}
    assert plan(asked, OFF_POLICY, 32000) == Thinking(budget=EFFORTS["high"])


@pytest.mark.parametrize(
    ("max_tokens", "expected"),
    [
        (1, OFF),
        (5, OFF),
        (7, Thinking(budget=1)),
        (8, Thinking(budget=1)),
        (100, Thinking(budget=50 - MARKS)),
        (200, Thinking(budget=100 - MARKS)),
        (201, Thinking(budget=101 - MARKS)),
        (500, Thinking(budget=400 - MARKS)),
        (1099 + MARKS, Thinking(budget=999)),
        (1100 + MARKS, Thinking(budget=1000)),
        (5000, Thinking(budget=1000)),
    ],
)
def test_room_is_kept_for_the_answer(max_tokens: int, expected: Thinking) -> None:
    assert plan({}, max_tokens=max_tokens) == expected


@given(st.integers(1, 10_000), st.one_of(st.none(), st.integers(0, 10_000)), st.integers(0, 5_000))
def test_thought_and_its_marks_never_take_the_reserve_nor_more_than_is_asked(
    max_tokens: int, budget: int | None, reserve: int
) -> None:
    planned = plan({}, ThinkingPolicy(budget=budget, answer_reserve=reserve), max_tokens)
    if planned.enabled:
        assert planned.budget is not None
        assert planned.budget >= 1
        assert budget is None or planned.budget <= budget
        assert max_tokens - planned.budget - MARKS >= min(reserve, max_tokens // 2)
    else:
        assert planned == OFF


@given(st.one_of(st.none(), st.integers(1, 100)), st.integers(0, 200))
def test_what_was_thought_is_taken_from_the_budget(budget: int | None, thought: int) -> None:
    left = Thinking(budget=budget).after(thought)
    if budget is None:
        assert left == Thinking()
    else:
        assert left == (Thinking(budget=budget - thought) if thought < budget else OFF)
    assert OFF.after(thought) == OFF


def test_the_page_shows_the_table() -> None:
    page = PAGE.read_text()
    rows = ["| field | takes | says |", "| --- | --- | --- |"]
    rows += [f"| `{source.path}` | {source.values} | {source.says} |" for source in SOURCES]
    assert "\n".join(rows) in page
    efforts = ["| effort | tokens |", "| --- | --- |", *[f"| `{name}` | {worth} |" for name, worth in EFFORTS.items()]]
    assert "\n".join(efforts) in page
