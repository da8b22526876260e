"""Control tokens: removed from the answer's text, unless the conversation is about them, and from around values."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.answers.marks import MarkFilter, names_marks
from gateway.toolcalls.marks import MARKS, skip_marks, strip_marks

PIECES = st.sampled_from([*MARKS, "<", "|", ">", "<|", "|>", '<|"', "tool_call", "channel", "a", " ", "<br>", "1 < 2"])
TEXTS = st.lists(PIECES, max_size=8).map("".join)
SILENT = [{"role": "user", "content": "Hi"}]
CURIOUS = [{"role": "user", "content": "What does <turn|> mean?"}]


def filtered(messages: list[Any], *pieces: str) -> str:
    marks = MarkFilter(messages)
    return "".join(map(marks.feed, pieces)) + marks.end()


def split(text: str, cuts: list[int]) -> list[str]:
    at = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:end] for start, end in pairwise(at)]


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_is_removed(mark: str) -> None:
    assert filtered(SILENT, f"one {mark}two") == "one two"
    assert filtered(SILENT, *f"one {mark}two") == "one two"


@pytest.mark.parametrize("text", ["", "<", "a <| b", "<br>", "<|tool", "1 <turn", "<channel>", "<|x|>", "List<int>"])
def test_what_is_no_mark_stays(text: str) -> None:
    assert filtered(SILENT, text) == filtered(SILENT, *text) == text


def test_nothing_is_held_back_that_cannot_become_a_mark() -> None:
    marks = MarkFilter(SILENT)
    assert [marks.feed(piece) for piece in ["a", " <", "b", "<", "<tur", "n|", "x"]] == [
        "a",
        " ",
        "<b",
        "",
        "<",
        "",
        "<turn|x",
    ]


def test_what_a_removal_puts_together_is_no_mark() -> None:
    assert filtered(SILENT, "<tu<turn|>rn|>") == "<turn|>"


@given(TEXTS, st.lists(st.integers(0, 100), max_size=6))
def test_the_pieces_that_the_text_comes_in_do_not_matter(text: str, cuts: list[int]) -> None:
    assert filtered(SILENT, *split(text, cuts)) == filtered(SILENT, text)


@given(TEXTS, st.lists(st.integers(0, 100), max_size=6))
def test_an_answer_about_marks_keeps_them(text: str, cuts: list[int]) -> None:
    assert filtered(CURIOUS, *split(text, cuts)) == text


@pytest.mark.parametrize("mark", MARKS)
def test_a_conversation_names_a_mark_wherever_it_stands(mark: str) -> None:
    assert names_marks([{"role": "user", "content": [{"type": "text", "text": f"a{mark}b"}]}])
    assert names_marks([{"tool_calls": [{"function": {"arguments": f'{{"a": "{mark}"}}'}}]}])
    assert not names_marks([{"role": "user", "content": mark[1:]}, {"content": None}, {"tool_calls": []}])


AROUND = [*MARKS, "<|image>", "<|audio|>", "<tool_call>", "<turn>", '<|"']


@pytest.mark.parametrize("mark", AROUND)
def test_around_a_value_a_mark_is_nothing_even_if_a_part_of_it_is_missing(mark: str) -> None:
    assert strip_marks(f"{mark} a{mark}b {mark}\n{mark}") == f"a{mark}b"
    assert skip_marks(f"a{mark} {mark}b", 1) == 2 + 2 * len(mark)


@pytest.mark.parametrize("text", ["<b>", "<|x|>", "|turn|", "<images>", '"', "a < b"])
def test_around_a_value_what_is_no_mark_stays(text: str) -> None:
    assert strip_marks(text) == text
