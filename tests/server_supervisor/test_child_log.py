from __future__ import annotations

import io
import logging
import os
import threading

import pytest
from supervising import eventually

from server_supervisor.child_log import KEPT_LINES, LONGEST_LINE, ChildLog


def drained(output: bytes) -> ChildLog:
    log = ChildLog()
    log.drain(io.BytesIO(output))
    return log


def test_lines_are_kept_in_order_without_their_newlines() -> None:
    assert drained(b"one\n\ntwo\nlast without newline").tail() == ["one", "", "two", "last without newline"]


def test_a_short_tail_is_the_newest_lines() -> None:
    assert drained(b"one\ntwo\nthree\n").tail(2) == ["two", "three"]


def test_only_so_many_lines_are_kept() -> None:
    log = drained(b"".join(b"%d\n" % number for number in range(KEPT_LINES + 7)))
    assert log.tail() == [str(number) for number in range(7, KEPT_LINES + 7)]


def test_a_long_line_is_cut_and_the_next_one_is_whole() -> None:
    assert drained(b"x" * (LONGEST_LINE + 1) + b"\nnext\n").tail() == ["x" * LONGEST_LINE, "next"]


def test_a_flood_without_newlines_is_kept_in_bounds() -> None:
    log = drained(b"x" * 8_000_000)
    assert len(log.tail()) <= KEPT_LINES
    assert max(map(len, log.tail())) <= LONGEST_LINE


def test_a_line_that_does_not_end_is_not_waited_for() -> None:
    log = ChildLog()
    reading, writing = os.pipe()
    reader = threading.Thread(target=log.drain, args=[os.fdopen(reading, "rb")])
    reader.start()
    try:
        os.write(writing, b"x" * (8 * LONGEST_LINE))
        eventually(log.tail)
    finally:
        os.close(writing)
        reader.join()


def test_what_is_not_utf_8_is_replaced() -> None:
    assert drained("gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n ".encode() + b"\xff\n").tail() == [
        "grün \N{REPLACEMENT CHARACTER}"
    ]


def test_the_stream_is_closed_at_its_end() -> None:
    stream = io.BytesIO(b"line\n")
    ChildLog().drain(stream)
    assert stream.closed


def test_a_reader_gets_a_copy() -> None:
    log = drained(b"line\n")
    log.tail().clear()
    assert log.tail() == ["line"]


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("0.01.515.586 I srv  llama_server: model loaded", logging.INFO),
        ("0.01.515.586 W srv  llama_server: security: no API key is set", logging.WARNING),
        ("0.01.515.586 E srv  llama_server: exiting due to model loading error", logging.ERROR),
        ("12.01.515.586 E srv  llama_server: exiting due to model loading error", logging.ERROR),
        ("error: invalid argument: --no-mmap", logging.DEBUG),
        ("E srv no time before it", logging.DEBUG),
    ],
)
def test_a_line_is_logged_at_its_own_level_and_one_without_is_for_debugging(
    line: str, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "warmgate.llama_server")
    ChildLog().add(line)
    assert caplog.record_tuples == [("warmgate.llama_server", level, line)]


def test_percent_signs_in_a_line_are_not_formatting(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "warmgate.llama_server")
    ChildLog().add("loaded 50 % of %s")
    assert caplog.messages == ["loaded 50 % of %s"]
