"""What the benchmark of the call guard prints."""

from __future__ import annotations

from bench.guard import Reading, lines


def test_ratios_are_taken_within_the_rounds_and_shown_with_their_spread() -> None:
    pairs = [(Reading(10 * slow, 100 / slow), Reading(11 * slow, 99 / slow)) for slow in (1, 2, 4)]
    assert list(lines("text", pairs)) == [
        "  text: first_piece_ms     off 20.0 [10.0 .. 40.0]   on 22.0 [11.0 .. 44.0]   ratio 1.100 [1.100 .. 1.100]",
        "  text: tokens_per_second  off 50.0 [25.0 .. 100.0]   on 49.5 [24.8 .. 99.0]   ratio 0.990 [0.990 .. 0.990]",
    ]
