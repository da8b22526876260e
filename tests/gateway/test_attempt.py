"""One upstream stream: what of it is passed on, and what is counted."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.answers.attempt import Attempt
from gateway.events import (
    Counts,
    Finish,
    PromptRead,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from gateway.request import GenerationRequest
from gateway.thinking import OFF, Thinking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.events import Event, UpstreamEvent

HI = [{"role": "user", "content": "Hi"}]
READ = PromptRead(26, 8)
STOPPED = Finish("stop")


def asking(**fields: Any) -> GenerationRequest:
    return GenerationRequest(messages=HI, **fields)


def at(written: int) -> Counts:
    return Counts(26, 8, written)


def chunk(written: int, *events: UpstreamEvent) -> list[UpstreamEvent]:
    """Return the events of one chunk, `written` tokens into the answer."""
    return [*events, at(written)]


def thoughts(first: int, *words: str) -> list[list[UpstreamEvent]]:
    return [chunk(first + i, ReasoningDelta(word)) for i, word in enumerate(words)]


def texts(first: int, *words: str) -> list[list[UpstreamEvent]]:
    return [chunk(first + i, TextDelta(word)) for i, word in enumerate(words)]


def ending(written: int, reason: str = "stop") -> list[list[UpstreamEvent]]:
    return [[Finish(reason)], [Usage(26, written, 8)]]


# As llama-server b11549 sends it: what opens a thought, and the line feed after that, come with its first word.
TWO_THOUGHTS = [
    chunk(1),
    *thoughts(4, "One", " two", "."),
    *texts(8, "First", ". "),
    *thoughts(13, "Three", " four", "."),
    *texts(17, "Last", "."),
    *ending(19),
]
FIRST_THOUGHT = [ReasoningDelta("One"), ReasoningDelta(" two"), ReasoningDelta(".")]
SECOND_THOUGHT = [ReasoningDelta("Three"), ReasoningDelta(" four"), ReasoningDelta(".")]
FIRST_TEXT = [TextDelta("First"), TextDelta(". ")]
LAST_TEXT = [TextDelta("Last"), TextDelta(".")]


def run(attempt: Attempt, chunks: Sequence[Sequence[UpstreamEvent]]) -> list[Event]:
    return [event for each in chunks for event in attempt.feed(each)]


@pytest.mark.parametrize(
    ("budget", "passed", "tokens"),
    [
        (None, [*FIRST_THOUGHT, *FIRST_TEXT, *SECOND_THOUGHT, *LAST_TEXT], 8),
        (8, [*FIRST_THOUGHT, *FIRST_TEXT, *SECOND_THOUGHT, *LAST_TEXT], 8),
        (7, [*FIRST_THOUGHT, *FIRST_TEXT, *SECOND_THOUGHT[:2], *LAST_TEXT], 7),
        (6, [*FIRST_THOUGHT, *FIRST_TEXT, *SECOND_THOUGHT[:1], *LAST_TEXT], 6),
        (5, [*FIRST_THOUGHT, *FIRST_TEXT, *LAST_TEXT], 4),
        (4, [*FIRST_THOUGHT, *FIRST_TEXT, *LAST_TEXT], 4),
        (3, [*FIRST_THOUGHT[:2], *FIRST_TEXT, *LAST_TEXT], 3),
        (1, [*FIRST_TEXT, *LAST_TEXT], 0),
    ],
)
def test_the_budget_holds_for_all_thoughts_together(budget: int | None, passed: list[Event], tokens: int) -> None:
    attempt = Attempt(asking(thinking=Thinking(budget=budget)))
    assert run(attempt, TWO_THOUGHTS) == [READ, *passed]
    assert attempt.usage == Usage(26, 19, 8, tokens)
    assert attempt.finish == STOPPED
    assert not attempt.lost_text


def test_a_thought_that_was_not_asked_for_is_not_passed_on() -> None:
    attempt = Attempt(asking(thinking=OFF))
    assert run(attempt, TWO_THOUGHTS) == [READ, *FIRST_TEXT, *LAST_TEXT]
    assert attempt.usage == Usage(26, 19, 8, 0)


def test_it_is_told_once_for_each_thought_that_it_goes_beyond_the_budget() -> None:
    attempt = Attempt(asking(thinking=Thinking(budget=2)))
    told = []
    for each in TWO_THOUGHTS:
        attempt.feed(each)
        told.append(attempt.overthinks)
    beyond = [chunk(5, ReasoningDelta(" two")), chunk(13, ReasoningDelta("Three"))]
    assert told == [each in beyond for each in TWO_THOUGHTS]


@given(st.integers(0, 9), st.sets(st.integers(1, len(TWO_THOUGHTS) - 1)))
def test_it_does_not_matter_which_chunks_come_together(budget: int, cuts: set[int]) -> None:
    ends = [0, *sorted(cuts), len(TWO_THOUGHTS)]
    batches = [[event for each in TWO_THOUGHTS[start:end] for event in each] for start, end in pairwise(ends)]
    request = asking(thinking=Thinking(budget=budget))
    together, apart = Attempt(request), Attempt(request)
    assert run(together, batches) == run(apart, TWO_THOUGHTS)
    assert together.usage == apart.usage


@given(st.integers(1, 30), st.lists(st.tuples(st.booleans(), st.integers(1, 5)), max_size=12))
def test_never_more_thought_is_passed_on_than_the_budget(budget: int, blocks: list[tuple[bool, int]]) -> None:
    chunks, written = [chunk(1)], 1
    for is_thought, length in blocks:
        words = ["w"] * length
        first = written + (4 if is_thought else 2)
        chunks += (thoughts if is_thought else texts)(first, *words)
        written = first + length - 1
    attempt = Attempt(asking(thinking=Thinking(budget=budget)))
    passed = run(attempt, chunks)
    assert sum(isinstance(event, ReasoningDelta) for event in passed) <= attempt.thought_tokens <= budget
    assert [e for e in passed if isinstance(e, TextDelta)] == [
        e for each in chunks for e in each if isinstance(e, TextDelta)
    ]


# -- text that was lost


@pytest.mark.parametrize(
    ("written", "is_lost"),
    [(24, False), (25, False), (29, False), (30, True), (31, True), (500, True)],
)
def test_text_that_came_to_nothing_is_noticed(written: int, is_lost: bool) -> None:
    attempt = Attempt(asking())
    run(attempt, [chunk(1), *texts(24, "."), *ending(written)])
    assert attempt.lost_text == is_lost


def test_an_answer_all_of_which_came_to_nothing_is_noticed() -> None:
    attempt = Attempt(asking())
    run(attempt, [chunk(1), *ending(7)])
    assert attempt.lost_text


@pytest.mark.parametrize(
    ("fields", "chunks"),
    [
        ({}, [*texts(4, "."), *ending(30, "length")]),
        ({"response_format": {"type": "json_object"}}, [*texts(4, "{}"), *ending(30)]),
        ({"stop": ("b",)}, [*texts(4, "ab"), [Usage(26, 30, 8)]]),
        ({}, [chunk(9, ToolCallDelta(0, "c", "f", "{}")), *ending(30, "stop")]),
        ({}, [[TextDelta("uncounted")], *ending(30)]),
    ],
    ids=["cut off", "fences", "a stop text", "a call", "nothing was counted"],
)
def test_what_may_leave_no_trace_is_not_taken_for_lost_text(fields: Any, chunks: Any) -> None:
    attempt = Attempt(asking(**fields))
    run(attempt, chunks)
    assert not attempt.lost_text


# -- stop texts, marks, log-probabilities, calls


def test_a_stop_text_ends_the_text_and_what_follows_is_dropped_but_counted() -> None:
    attempt = Attempt(asking(stop=("END",)))
    usage: list[UpstreamEvent] = [Usage(26, 10, 8)]
    batches = [chunk(1), *thoughts(4, "END"), *texts(6, "a", " E", "ND b"), *texts(9, "c"), usage]
    assert run(attempt, batches) == [READ, ReasoningDelta("END"), TextDelta("a"), TextDelta(" ")]
    assert attempt.finish == Finish("stop", "END")
    assert attempt.usage == Usage(26, 10, 8, 2)


def test_what_was_held_back_is_passed_on_before_the_calls() -> None:
    attempt = Attempt(asking(stop=("END",)))
    calls = [chunk(9 + i, ToolCallDelta(i, f"c{i}", "f", "{}")) for i in range(2)]
    batches = [chunk(1), *texts(2, "a<E"), *calls, *ending(10, "tool_calls")]
    assert run(attempt, batches) == [
        READ,
        TextDelta("a"),
        TextDelta("<E"),
        ToolCall("c0", "f", "{}"),
        ToolCall("c1", "f", "{}"),
    ]
    assert attempt.finish == Finish("tool_calls")


def test_marks_are_removed_from_the_text_alone() -> None:
    attempt = Attempt(asking())
    batches = [chunk(1), *thoughts(4, "<|tool_call>"), *texts(6, "a", "<tool_", "call|>", '<|"|>b', "<"), *ending(11)]
    assert run(attempt, batches) == [
        READ,
        ReasoningDelta("<|tool_call>"),
        TextDelta("a"),
        TextDelta("b"),
        TextDelta("<"),
    ]


def test_a_stop_text_may_be_a_mark() -> None:
    attempt = Attempt(asking(stop=("<tool|>",)))
    assert run(attempt, [chunk(1), *texts(2, "a<to", "ol|>b")]) == [READ, TextDelta("a")]
    assert attempt.finish == Finish("stop", "<tool|>")


def logprob(token: str) -> TokenLogprob:
    return TokenLogprob(token, -0.5)


def test_who_asks_for_log_probabilities_gets_those_of_the_text_and_sees_every_token() -> None:
    attempt = Attempt(asking(logprobs=0, stop=("xyz",)))
    words = ["a", "x", "yb", "<tool|>", "xyz"]
    batches = [chunk(1), *(chunk(2 + i, TextDelta(word, [logprob(word)])) for i, word in enumerate(words))]
    assert run(attempt, batches) == [
        READ,
        TextDelta("a", [logprob("a")]),
        TextDelta("xyb", [logprob("x"), logprob("yb")]),
        TextDelta("<tool|>", [logprob("<tool|>")]),
    ]
