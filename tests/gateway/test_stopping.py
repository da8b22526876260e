"""Stop texts, found in pieces of text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.answers.stopping import StopFilter

TEXTS = st.text("ab\n", max_size=12)
STOPS = st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=4, unique=True).map(tuple)


def run(stops: tuple[str, ...], *pieces: str) -> tuple[str, str | None]:
    """Return what passes, and the stop text that was found."""
    found = StopFilter(stops)
    passed = ""
    for piece in pieces:
        text, stop = found.feed(piece)
        passed += text
        if stop is not None:
            return passed, stop
    return passed + found.end(), None


@pytest.mark.parametrize(
    ("stops", "text", "expected"),
    [
        (("x",), "", ("", None)),
        (("x",), "abc", ("abc", None)),
        (("b",), "abc", ("a", "b")),
        (("a",), "abc", ("", "a")),
        (("bc",), "abbc", ("ab", "bc")),
        (("bcd",), "abc", ("abc", None)),
        (("abab",), "aababab", ("a", "abab")),
        (("abcd", "bc"), "abcd", ("a", "bc")),
        (("b", "abc"), "abc", ("a", "b")),
        (("ab", "b"), "ab", ("", "ab")),
        (("世界",), "你好世界", ("你好", "世界")),
    ],
)
def test_the_first_stop_text_that_is_complete_ends_the_text(
    stops: tuple[str, ...], text: str, expected: tuple[str, str | None]
) -> None:
    assert run(stops, text) == expected
    assert run(stops, *text) == expected


def ends_at(stops: tuple[str, ...], text: str) -> tuple[str, str | None]:
    """Return the same by reading letter after letter: the first to be complete, and of those the longest."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            longest = max(complete, key=len)
            return text[: end - len(longest)], longest
    return text, None


@given(STOPS, TEXTS, st.sets(st.integers(1, 11)))
def test_the_pieces_that_the_text_comes_in_do_not_matter(stops: tuple[str, ...], text: str, cuts: set[int]) -> None:
    at = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [text[start:end] for start, end in pairwise(at)]
    assert run(stops, *pieces) == ends_at(stops, text)


@given(STOPS, TEXTS)
def test_no_more_is_held_back_than_could_begin_a_stop_text(stops: tuple[str, ...], text: str) -> None:
    found = StopFilter(stops)
    passed = ""
    for letter in text:
        piece, stop = found.feed(letter)
        passed += piece
        if stop is not None:
            return
    held = text[len(passed) :]
    assert found.end() == held
    assert not held or any(stop.startswith(held) for stop in stops)
