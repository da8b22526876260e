from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest
from fake_upstream import (
    ANSWER,
    COMMENT,
    DONE,
    ENDING,
    RECORDED,
    ROLE,
    FakeUpstream,
    answer,
    error_event,
    finish,
    refuse,
    run,
    say_nothing,
    scenario,
    sse,
    text,
    usage,
)

from gateway.errors import GatewayError, InvalidRequest, UpstreamDisconnected, UpstreamFailed, UpstreamSilent
from gateway.events import Finish, TextDelta, Usage
from gateway.request import GenerationRequest
from gateway.upstream.chat import ChatStream, open_chat
from gateway.upstream.target import Target

if TYPE_CHECKING:
    from gateway.events import UpstreamEvent
    from gateway.upstream.connection import Exchange

REQUEST = GenerationRequest(messages=[{"role": "user", "content": "Hi"}])
EVENTS = [TextDelta("Hello"), TextDelta(" world"), Finish("stop"), Usage(5, 2, 3)]


class Pieces:
    """An exchange whose body comes in given pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = iter(piece for piece in pieces if piece)

    async def receive(self) -> bytes:
        return next(self._pieces, b"")


def stream_of(*pieces: bytes) -> ChatStream:
    return ChatStream(Target(), cast("Exchange", Pieces(*pieces)), lambda _: None, bounds_thought=True)


def counted(content: str, written: int) -> bytes:
    """Return a chunk that says how many tokens have been written up to here."""
    timings = {"cache_n": 0, "prompt_n": 5, "predicted_n": written}
    choice = {"finish_reason": None, "index": 0, "delta": {"content": content}}
    return sse({"choices": [choice], "object": "chat.completion.chunk", "timings": timings})


async def batches_of(stream: ChatStream) -> list[list[UpstreamEvent]]:
    return [batch async for batch in stream.batches()]


@scenario
async def test_events_are_the_same_wherever_the_stream_is_split() -> None:
    body = b"".join([COMMENT, *ANSWER])
    for at in range(len(body) + 1):
        batches = await batches_of(stream_of(body[:at], body[at:]))
        assert [event for batch in batches for event in batch] == EVENTS, f"split at {at}"


@scenario
async def test_a_recorded_stream_is_the_same_in_pieces_of_any_size() -> None:
    body = (RECORDED / "keepalives_and_logprobs.sse").read_bytes()
    (expected,) = await batches_of(stream_of(body))
    assert [event.text for event in expected if isinstance(event, TextDelta)] == ["The", " sea", " is"]
    for size in range(1, 200, 7):
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        batches = await batches_of(stream_of(*pieces))
        assert [event for batch in batches for event in batch] == expected, f"pieces of {size}"


@scenario
async def test_what_arrives_together_is_one_batch_and_there_are_no_empty_ones() -> None:
    stream = stream_of(COMMENT, ROLE, text("a") + text("b"), COMMENT, text("c"), b"".join(ENDING))
    assert await batches_of(stream) == [
        [TextDelta("a"), TextDelta("b")],
        [TextDelta("c")],
        [Finish("stop"), Usage(5, 2, 3)],
    ]


@scenario
async def test_nothing_is_read_after_the_end_mark() -> None:
    batches = await batches_of(stream_of(b"".join(ANSWER) + b"data: garbage\n\n", b"data: garbage\n\n"))
    assert [event for batch in batches for event in batch] == EVENTS


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (COMMENT,),
        (ROLE,),
        (ROLE, text("a")),
        (ROLE, text("a"), finish()),
        (ROLE, text("a"), finish(), usage()),
        (ROLE, text("a"), finish(), usage(), DONE[:-1]),
    ],
)
def test_an_answer_without_its_end_mark_is_incomplete(pieces: tuple[bytes, ...]) -> None:
    run(is_incomplete(stream_of(*pieces)))


@pytest.mark.parametrize("pieces", [(DONE,), (ROLE, DONE), (ROLE, text("a"), DONE), (text("a") + DONE,)])
def test_an_end_mark_before_the_answers_finish_does_not_complete_it(pieces: tuple[bytes, ...]) -> None:
    run(is_incomplete(stream_of(*pieces)))


async def is_incomplete(stream: ChatStream) -> None:
    with pytest.raises(UpstreamDisconnected, match="ended before it was complete"):
        await batches_of(stream)


@pytest.mark.parametrize("failure", [error_event(), b"data: {\n\n"])
@pytest.mark.parametrize("together", [True, False])
@scenario
async def test_what_came_before_a_failure_is_delivered_whether_or_not_it_came_together(
    failure: bytes, *, together: bool
) -> None:
    pieces = [text("a") + failure] if together else [text("a"), failure]
    batches = stream_of(*pieces).batches()
    assert await anext(batches) == [TextDelta("a")]
    with pytest.raises(UpstreamFailed):
        await anext(batches)


@scenario
async def test_an_answer_is_opened_and_read() -> None:
    async with FakeUpstream().listening() as upstream:
        stream = await open_chat(upstream.target, REQUEST, silence_seconds=5)
        batches = await batches_of(stream)
        assert [event for batch in batches for event in batch] == EVENTS
        stream.close()


@scenario
async def test_opening_returns_with_the_headers_and_closing_hangs_up() -> None:
    never = asyncio.Event()
    async with FakeUpstream(default=answer(COMMENT, never)).listening() as upstream:
        stream = await open_chat(upstream.target, REQUEST, silence_seconds=5)
        stream.close()
        await (await upstream.arrived.get()).hung_up.wait()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"error": {"message": "no", "type": "invalid_request_error"}}, InvalidRequest),
        (500, {"error": {"message": "no", "type": "server_error"}}, UpstreamFailed),
        (500, b"", UpstreamFailed),
        (204, b"", UpstreamFailed),
    ],
)
@scenario
async def test_a_refusal_is_raised_and_its_connection_closed(
    status: int, body: object, error: type[GatewayError]
) -> None:
    async with FakeUpstream(default=refuse(status, body)).listening() as upstream:
        with pytest.raises(error):
            await open_chat(upstream.target, REQUEST, silence_seconds=5)
        await (await upstream.arrived.get()).hung_up.wait()


@scenario
async def test_giving_up_on_a_silent_server_hangs_up() -> None:
    async with FakeUpstream(default=say_nothing).listening() as upstream:
        with pytest.raises(UpstreamSilent):
            await open_chat(upstream.target, REQUEST, silence_seconds=0.02)
        await (await upstream.arrived.get()).hung_up.wait()


@scenario
async def test_an_answer_of_another_kind_is_incomplete() -> None:
    async with FakeUpstream(default=refuse(200, {"choices": []})).listening() as upstream:
        stream = await open_chat(upstream.target, REQUEST, silence_seconds=5)
        await is_incomplete(stream)
        stream.close()


def test_the_tokens_of_each_batch_are_told_as_they_come() -> None:
    told: list[int] = []
    pieces = (ROLE, counted("a", 1), counted("bc", 2) + counted("d", 4), counted("e", 7), finish() + usage(5, 8), DONE)
    stream = ChatStream(Target(), cast("Exchange", Pieces(*pieces)), told.append, bounds_thought=True)
    asyncio.run(batches_of(stream))
    assert told == [1, 3, 3, 1]
