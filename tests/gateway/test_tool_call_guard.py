"""What of an answer's text and calls is passed on, and what waits to be asked for again."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.answers.attempt import Attempt
from gateway.events import Finish, ReasoningDelta, TextDelta, TokenLogprob, ToolCall, ToolCallDelta
from gateway.request import GenerationRequest, ToolChoice
from gateway.toolcalls.guard import CallGuard, CallReport
from gateway.toolcalls.normalise import Rule
from gateway.toolcalls.policy import Mode, Outcome
from gateway.toolcalls.toolbox import compile_tools

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.events import Event, UpstreamEvent

TIMER: dict[str, Any] = {
    "type": "object",
    "properties": {"minutes": {"type": "integer"}},
    "required": ["minutes"],
    "additionalProperties": False,
}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "timer", "parameters": TIMER}},
    {"type": "function", "function": {"name": "clock"}},
]
STOP, CALLED, CUT = Finish("stop"), Finish("tool_calls"), Finish("length")
GOOD = ToolCall("a", "timer", '{"minutes":5}')
QUOTED = ToolCall("b", "timer", '{"minutes":"5"}')
BAD = ToolCall("c", "timer", '{"minutes":"five"}')
UNKNOWN = ToolCall("d", "door", "{}")
WRITTEN = "call:timer{minutes:5}"
MARKED = f"<|tool_call>{WRITTEN}<tool_call|>"


class Watched:
    """One attempt and its guard."""

    def __init__(
        self, mode: Mode = Mode.REPAIR, *, required: bool = False, reads_text: bool = True, **options: Any
    ) -> None:
        ids = (f"new{number}" for number in itertools.count())
        box = compile_tools(TOOLS, ToolChoice("required") if required else None, **options)
        self.report = CallReport()
        self.guard = CallGuard(box, mode, self.report, lambda: next(ids), reads_text=reads_text)
        self.attempt = Attempt(GenerationRequest(messages=[{"role": "user", "content": "Hi"}]), self.guard)

    def read(self, *events: UpstreamEvent) -> list[Event]:
        """Return what is passed on, pieces of one kind put together."""
        return joined([passed for event in events for passed in self.attempt.feed([event])])

    @property
    def waiting(self) -> list[ToolCall]:
        return [one.call for one in self.guard.waiting]


def joined(events: Sequence[Event]) -> list[Event]:
    found: list[Event] = []
    for event in events:
        last = found[-1] if found else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            found[-1] = TextDelta(last.text + event.text)
        elif isinstance(event, ReasoningDelta) and isinstance(last, ReasoningDelta):
            found[-1] = ReasoningDelta(last.text + event.text)
        else:
            found.append(event)
    return found


def called(*calls: ToolCall) -> list[UpstreamEvent]:
    """Return calls as llama-server sends them."""
    found: list[UpstreamEvent] = []
    for index, call in enumerate(calls):
        found.append(ToolCallDelta(index, call.id, call.name, ""))
        found += [ToolCallDelta(index, None, None, piece) for piece in (call.arguments[:5], call.arguments[5:])]
    return found


def test_a_valid_call_is_passed_on_as_it_came() -> None:
    watched = Watched()
    assert watched.read(TextDelta("Now."), *called(GOOD), CALLED) == [TextDelta("Now."), GOOD]
    assert (watched.report.outcomes, watched.report.rules) == ({Outcome.VALID: 1}, {})
    assert watched.guard.has_passed


def test_a_call_that_can_be_put_right_is() -> None:
    watched = Watched()
    assert watched.read(*called(QUOTED), CALLED) == [ToolCall("b", "timer", '{"minutes":5}')]
    assert (watched.report.outcomes, watched.report.rules) == ({Outcome.NORMALISED: 1}, {Rule.QUOTED: 1})


def test_from_the_first_broken_call_on_all_wait_in_their_order() -> None:
    watched = Watched()
    assert watched.read(*called(GOOD, BAD, QUOTED, UNKNOWN), CALLED) == [GOOD]
    assert watched.waiting == [BAD, ToolCall("b", "timer", '{"minutes":5}'), UNKNOWN]
    assert [one.is_valid for one in watched.guard.waiting] == [False, True, False]
    assert watched.report.outcomes == {Outcome.VALID: 1}
    assert watched.attempt.has_calls is True


@pytest.mark.parametrize("first", [GOOD, BAD])
def test_who_wants_one_call_gets_the_first(first: ToolCall) -> None:
    watched = Watched(parallel=False)
    passed = watched.read(*called(first, QUOTED), CALLED)
    assert [*passed, *watched.waiting] == [first]


def test_a_report_passes_all_on_and_says_so() -> None:
    watched = Watched(Mode.VALIDATE, required=True, parallel=False)
    assert watched.read(TextDelta(WRITTEN), *called(GOOD, BAD), CALLED) == [TextDelta(WRITTEN), GOOD, BAD]
    assert watched.report.outcomes == {Outcome.VALID: 1, Outcome.INVALID: 1}
    assert watched.report.summary() == "invalid; attempts=1"
    assert not watched.guard.must_call


@pytest.mark.parametrize(
    "text", [WRITTEN, MARKED, "I will.\n" + WRITTEN, '{"name": "timer", "arguments": {"minutes": 5}}']
)
def test_a_call_that_is_written_out_becomes_one(text: str) -> None:
    watched = Watched()
    *texts, call = watched.read(TextDelta(text), STOP)
    assert call == ToolCall("new0", "timer", '{"minutes":5}')
    assert texts == ([TextDelta("I will.\n")] if text.startswith("I") else [])
    assert watched.report.rules == {Rule.WRITTEN_OUT: 1}


def test_a_broken_call_that_is_written_out_waits() -> None:
    watched = Watched()
    assert watched.read(TextDelta('call:timer{minutes:<|"|>five<|"|>}'), STOP) == []
    assert watched.waiting == [ToolCall("new0", "timer", '{"minutes":"five"}')]


def test_where_json_was_asked_for_it_is_no_call() -> None:
    watched = Watched(reads_text=False)
    text = '{"name": "timer", "arguments": {"minutes": 5}}'
    assert watched.read(TextDelta(text), STOP) == [TextDelta(text)]


@pytest.mark.parametrize("thought", [f"Hm. {MARKED}", f"I call. {MARKED} That should do."])
def test_a_call_in_a_thought_that_nothing_follows_is_meant(thought: str) -> None:
    watched = Watched()
    assert watched.read(ReasoningDelta(thought), STOP) == [
        ReasoningDelta(thought),
        ToolCall("new0", "timer", '{"minutes":5}'),
    ]
    assert watched.attempt.has_calls is True


@pytest.mark.parametrize(
    ("thought", "rest"),
    [
        (f"One way: {MARKED} Another: {MARKED}, or none.", [STOP]),
        (f"Perhaps {WRITTEN} or not.", [STOP]),
        (MARKED, [TextDelta("No."), STOP]),
        (MARKED, [CUT]),
        ("<|tool_call>call:door{}<tool_call|> That is it.", [STOP]),
    ],
)
def test_a_call_that_is_only_thought_of_is_none(thought: str, rest: list[UpstreamEvent]) -> None:
    watched = Watched()
    assert not any(isinstance(event, ToolCall) for event in watched.read(ReasoningDelta(thought), *rest))
    assert not watched.attempt.has_calls


def test_where_a_call_is_required_text_is_not_passed_on_and_too_much_of_it_ends_the_attempt() -> None:
    watched = Watched(required=True)
    assert watched.read(TextDelta("Sure! " * 10)) == []
    assert not watched.attempt.strays
    assert watched.read(TextDelta("Then I will. ")) == []
    assert watched.attempt.strays


def test_text_beside_a_call_that_was_required_does_not_end_the_attempt() -> None:
    watched = Watched(required=True)
    assert watched.read(*called(GOOD), TextDelta("Well. " * 30)) == []
    assert not watched.attempt.strays
    assert watched.read(STOP) == [GOOD]


@pytest.mark.parametrize("arguments", ["", '{"minutes":', '{"minutes":5'])
def test_a_call_that_the_end_of_the_tokens_cut_off_is_none(arguments: str) -> None:
    watched = Watched()
    assert watched.read(*called(GOOD, ToolCall("x", "timer", arguments)), CUT) == [GOOD]
    assert watched.waiting == []


def test_log_probabilities_stay_with_their_text_while_it_is_held_back() -> None:
    def token(text: str) -> TokenLogprob:
        return TokenLogprob(text, -0.5)

    watched = Watched()
    watched.attempt = Attempt(GenerationRequest(messages=[], logprobs=0), watched.guard)
    pieces = ["<|tool", "_call>", " is", " a mark."]
    passed = [event for piece in pieces for event in watched.attempt.feed([TextDelta(piece, [token(piece)])])]
    passed += watched.attempt.feed([STOP])
    assert joined(passed) == [TextDelta("".join(pieces))]
    assert [one for event in passed if isinstance(event, TextDelta) for one in event.logprobs or ()] == [
        token(piece) for piece in pieces
    ]


def test_a_report_adds_up_and_tells_the_worst() -> None:
    first, second = CallReport(), CallReport()
    assert first.summary() == ""
    first.outcomes[Outcome.VALID] += 2
    assert first.summary() == "valid; attempts=1"
    second.outcomes[Outcome.REPAIRED] += 1
    second.asked_again, second.tokens = 2, 30
    first.add(second)
    assert first.summary() == "repaired; attempts=3"
    assert first.outcomes == {Outcome.VALID: 2, Outcome.REPAIRED: 1}
    first.forget()
    assert (first.outcomes, first.rules, first.asked_again, first.tokens) == ({}, {}, 2, 30)


# -- however it is cut into pieces

ENDS = [
    "",
    WRITTEN,
    MARKED,
    MARKED * 2,
    "```json\n" + json.dumps({"name": "clock", "arguments": {}}) + "\n```",
    "call:timer{",
]
BEGINS = ["", "Hello.\n", "A call is call:name{key:1}. ", "`<|tool_call>`\n", "```\ncall:timer{minutes:1}\n```\n"]


@given(
    begin=st.sampled_from(BEGINS),
    end=st.sampled_from(ENDS),
    calls=st.lists(st.sampled_from([GOOD, QUOTED, BAD, UNKNOWN]), max_size=3),
    required=st.booleans(),
    cuts=st.lists(st.integers(0, 200)),
)
def test_the_pieces_do_not_matter(begin: str, end: str, calls: list[ToolCall], required: bool, cuts: list[int]) -> None:
    text = begin + end
    places = sorted({cut for cut in cuts if cut < len(text)} | {0, len(text)})
    pieces: list[UpstreamEvent] = [TextDelta(text[at:to]) for at, to in itertools.pairwise(places)]
    deltas: list[UpstreamEvent] = []
    for index, call in enumerate(calls):
        deltas.append(ToolCallDelta(index, call.id, call.name, ""))
        deltas += [ToolCallDelta(index, None, None, character) for character in call.arguments]
    ending = CALLED if calls else STOP
    in_pieces, whole = Watched(required=required), Watched(required=required)
    assert in_pieces.read(*pieces, *deltas, ending) == whole.read(TextDelta(text), *called(*calls), ending)
    assert in_pieces.guard.waiting == whole.guard.waiting
    assert in_pieces.report == whole.report
