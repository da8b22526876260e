"""The tool-call benchmark's table, how it judges answers, and its model with random weights."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from bench.random_model import Q8_0, Header, make_random_model
from bench.toolcall_results import Question, ResultLog
from bench.toolcall_table import REFUSED, VALID, Result, broken, table
from bench.toolcalls import OutOfTime, ask, outcome
from contract.scenes import MODEL

if TYPE_CHECKING:
    from pathlib import Path

TIMER = {
    "name": "timer",
    "description": "Wakes.",
    "parameters": {"type": "object", "properties": {"minutes": {"type": "integer"}}},
}
PAIRS = [
    (Result("no call", 1.0, 10), Result(VALID, 2.0, 30, 2)),
    (Result("invalid call", 1.0, 10), Result(VALID, 2.0, 30, 2)),
    (Result(VALID, 1.0, 10), Result(VALID, 1.0, 10, 1)),
    (Result("error 500", 1.0), Result(REFUSED, 3.0, None, 3)),
]


def test_the_table_shows_both_ways_side_by_side() -> None:
    others = "25.0 % error 500, 25.0 % invalid call, 25.0 % no call"
    costs = "2.00 (1.30-2.70) | 20.00 (4.00-20.00) | 3.00 (1.40-3.00) | 2.00 (1.30-2.70)"
    assert table({("tiny", "named"): PAIRS, ("tiny", "required"): []}).splitlines()[2:] == [
        f"| tiny | named | directly | 4 | 25.0 % | 0.0 % | {others} |  |  |  |  |",
        f"| tiny | named | through warmgate | 4 | 75.0 % | 25.0 % | 0.0 % | {costs} |",
    ]


def test_only_valid_calls_and_refusals_may_come_through() -> None:
    assert broken(PAIRS) == 0
    assert broken([(Result(VALID, 1.0), Result("no call", 1.0))]) == 1


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("timer", '{"minutes": 5}', VALID),
        ("timer", '{"minutes": "5"}', "invalid call"),
        ("timer", "{", "invalid call"),
        ("clock", '{"minutes": 5}', "invalid call"),
    ],
)
def test_a_call_is_held_against_the_schema_of_the_client(name: str, arguments: str, expected: str) -> None:
    call = {"function": {"name": name, "arguments": arguments}}
    assert outcome(200, {"choices": [{"message": {"tool_calls": [call]}}]}, TIMER) == expected


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"choices": [{"message": {"content": "No."}}]}, "no call"),
        (502, {"error": {"code": "tool_call_invalid"}}, REFUSED),
        (502, {"error": {"code": "upstream_error"}}, "error 502"),
        (400, {"error": {"code": 400}}, "error 400"),
    ],
)
def test_an_answer_without_a_call_is_told_apart(status: int, body: dict[str, Any], expected: str) -> None:
    assert outcome(status, body, TIMER) == expected


def test_answers_are_kept_line_by_line_and_a_run_goes_on_from_them(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first = ResultLog(path)
    for tool, pair in zip("abcd", PAIRS, strict=True):
        first.add(Question("tiny", "named", tool), pair)
    with path.open("a") as lines:
        lines.write('{"model": "tiny", "tool_ch')  # a run that was killed
    second = ResultLog(path)
    assert second.runs() == {("tiny", "named"): PAIRS}
    second.add(Question("tiny", "required", "a"), PAIRS[0])
    assert ResultLog(path).pairs == {**first.pairs, Question("tiny", "required", "a"): PAIRS[0]}


def test_without_a_file_answers_are_only_remembered() -> None:
    log = ResultLog()
    log.add(Question("tiny", "named", "a"), PAIRS[0])
    assert log.runs() == {("tiny", "named"): PAIRS[:1]}


def test_an_answer_that_the_time_does_not_suffice_for_does_not_count() -> None:
    def late(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("late", request=request)

    with httpx.Client(transport=httpx.MockTransport(late), base_url="http://llama-server") as client:
        assert ask(client, TIMER, "named", time.monotonic() + 1000).outcome == "ReadTimeout"
        with pytest.raises(OutOfTime):
            ask(client, TIMER, "named", time.monotonic())


def test_a_random_model_keeps_all_but_its_weights(tmp_path: Path) -> None:
    first, second, other = (tmp_path / name for name in ("first", "second", "other"))
    make_random_model(MODEL, first)
    make_random_model(MODEL, second)
    make_random_model(MODEL, other, seed=2)
    before, after = MODEL.read_bytes(), first.read_bytes()
    tensors = Header(before).tensors
    begin = min(tensor.offset for tensor in tensors)
    weights = next(tensor for tensor in tensors if tensor.kind == Q8_0).offset
    assert after == second.read_bytes() != other.read_bytes()
    assert len(after) == len(before)
    assert after[:begin] == before[:begin]
    assert after[weights : weights + 2] == before[weights : weights + 2]
    assert after[weights + 2 : weights + 34] != before[weights + 2 : weights + 34]
