from __future__ import annotations

import pytest
from fake_upstream import RECORDED

from gateway.errors import UpstreamFailed
from gateway.upstream import sse
from gateway.upstream.sse import SSEDecoder

STREAM = (RECORDED / "keepalives_and_logprobs.sse").read_bytes()
PAYLOADS = [event[6:] for event in STREAM.split(b"\n\n") if event.startswith(b"data: ")]


def decode(*pieces: bytes) -> list[bytes]:
    decoder = SSEDecoder()
    return [payload for piece in pieces for payload in decoder.feed(piece)]


def test_a_recorded_stream_is_cut_into_its_payloads_and_keep_alives_are_dropped() -> None:
    assert STREAM.count(b":\n\n") > 30
    assert len(PAYLOADS) == 7
    assert PAYLOADS[0].startswith(b'{"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant"')
    assert PAYLOADS[-1] == b"[DONE]"
    assert decode(STREAM) == PAYLOADS


def test_payloads_are_the_same_wherever_the_stream_is_split() -> None:
    for at in range(len(STREAM) + 1):
        assert decode(STREAM[:at], STREAM[at:]) == PAYLOADS, f"split at {at}"


def test_payloads_are_the_same_for_every_size_of_pieces() -> None:
    for size in [*range(1, 40), 100, 1000]:
        pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
        assert decode(*pieces) == PAYLOADS, f"pieces of {size}"


def test_payloads_are_the_same_at_every_pair_of_splits() -> None:
    stream = b":\n\ndata: a\n\n:\n\n:\n\ndata: \xc3\xa4\n\ndata: [DONE]\n\n"
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            pieces = stream[:first], stream[first:second], stream[second:]
            assert decode(*pieces) == [b"a", b"\xc3\xa4", b"[DONE]"], (first, second)


def test_an_event_comes_as_soon_as_its_empty_line_is_there_and_not_before() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\n") == []
    assert decoder.feed(b"\ndata: b") == [b"a"]
    assert decoder.feed(b"\n\n") == [b"b"]


def test_lines_that_are_not_data_are_dropped() -> None:
    assert decode(b": a comment\n\nevent: error\n\nretry: 5\n\ndata: a\n\n") == [b"a"]


def test_an_event_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "LONGEST_EVENT", 100)
    decoder = SSEDecoder()
    assert decoder.feed(b"data: " + b"x" * 94) == []
    with pytest.raises(UpstreamFailed, match="an event without an end"):
        decoder.feed(b"x")


def test_events_that_came_with_the_beginning_of_one_without_an_end_are_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sse, "LONGEST_EVENT", 100)
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\n\ndata: " + b"x" * 200) == [b"a"]
    with pytest.raises(UpstreamFailed, match="an event without an end"):
        decoder.feed(b"x")


def test_a_long_stream_of_short_events_is_not_an_event_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "LONGEST_EVENT", 100)
    assert decode(*[b"data: 0123456789\n\n"] * 50) == [b"0123456789"] * 50
