"""The serving benchmark's arithmetic and tables."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from bench.same_tokens import Parting
from bench.serving import body
from bench.serving_table import Sample, Spread, markdown, spread
from bench.streams import Reading, Refused, Server, decode_rate, read_stream, read_together
from conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conftest import Warmgate


def reading(*times: float, tokens: int | None = None, asked: float = 0.0) -> Reading:
    return Reading(asked, times, "x" * len(times), tokens or len(times), 7)


def test_tokens_are_counted_while_all_streams_are_being_written() -> None:
    early, late = reading(1.0, 2.0, 3.0, 4.0), reading(2.0, 3.0, 4.0, 5.0)
    assert decode_rate([early, late]) == 2.0  # from 2 to 4 s: two pieces of each


def test_a_piece_may_be_more_than_a_token() -> None:
    assert decode_rate([reading(0.0, 1.0, 2.0, tokens=6)]) == 2.0


@pytest.mark.parametrize("readings", [[reading(1.0)], [reading(1.0, 2.0), reading(3.0, 4.0)]])
def test_streams_that_were_never_written_together_have_no_rate(readings: list[Reading]) -> None:
    assert decode_rate(readings) == 0.0


def test_gaps_are_those_that_end_in_a_stretch_of_time() -> None:
    assert reading(1.0, 1.5, 3.5, 4.0).gaps_ms(since=1.6, until=3.9) == [2000.0]


def test_the_first_token_is_timed_from_the_question_on() -> None:
    assert reading(3.25, 4.0, asked=3.0).first_ms == 250.0


@pytest.mark.parametrize(
    ("values", "found"),
    [([4.0], Spread(4.0, 4.0, 4.0)), ([5.0, 1.0, 3.0, 2.0, 4.0], Spread(2.0, 3.0, 4.0))],
)
def test_a_spread_is_the_median_between_quartiles(values: list[float], found: Spread) -> None:
    assert spread(values) == found


def samples(side: str, streams: int, values: Sequence[float]) -> list[Sample]:
    return [Sample(side, "decode, tokens/s", streams, value) for value in values]


def test_the_table_has_a_row_for_each_number_of_streams_and_ratios_to_the_first_side() -> None:
    found = [*samples("stock", 12, [400, 500, 600]), *samples("stock", 1, [10]), *samples("profile", 12, [750])]
    assert markdown(found) == (
        "**decode, tokens/s**\n"
        "\n"
        "| streams | stock | profile |\n"
        "| --- | --- | --- |\n"
        "| 1 | 10.0 (10.0-10.0) |  |\n"
        "| 12 | 500 (450-550) | 750 (750-750), 1.50x |\n"
    )


@pytest.mark.parametrize(
    ("logprobs", "is_tie"), [((-7.0642, -7.0642), True), ((-7.0642, -7.123), False), ((-7.0642, None), False)]
)
def test_answers_may_part_only_where_two_tokens_are_equally_likely(
    logprobs: tuple[float, float | None], is_tie: bool
) -> None:
    assert Parting(8, (229605, 203048), logprobs).is_tie is is_tie


def test_each_question_is_new_and_the_same_next_time() -> None:
    asked: list[dict[str, Any]] = [body(5, 10, seed) for seed in ("a", "b", "a")]
    assert asked[0] == asked[2] != asked[1]


def test_streams_are_read_as_the_real_server_writes_them(warmgate: Warmgate) -> None:
    asked = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4, "temperature": 0}
    found = asyncio.run(read_together(Server(warmgate.url, KEY), [asked, asked]))
    assert [(each.tokens, 1 <= len(each.times) <= 4, each.first_ms > 0) for each in found] == [(4, True, True)] * 2
    assert found[0].text == found[1].text != ""


def test_a_refusal_is_told_in_the_servers_words(warmgate: Warmgate) -> None:
    with pytest.raises(Refused, match="401 Unauthorized"):
        asyncio.run(read_stream(Server(warmgate.url, "wrong"), {"messages": []}))
