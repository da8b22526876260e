"""Messages dialect: the answer, whole objects, streamed and in one piece, as Anthropic's own types read them."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from anthropic_dialect import MESSAGES, GlassSeal, added_up, check_body, events_of
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.anthropic_messages_answer import MessagesStreamRenderer, messages_body
from gateway.dialects.base import AnswerHead
from gateway.dialects.complete import CompleteAnswer
from gateway.errors import (
    BodyTooLarge,
    GatewayError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    NotReady,
    Overloaded,
    PromptTooLong,
    ShuttingDown,
    Unauthorized,
    UpstreamDisconnected,
    UpstreamFailed,
    UpstreamSilent,
)
from gateway.events import Event, Finish, PromptRead, ReasoningDelta, TextDelta, ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

HEAD = AnswerHead(id="abc", created=1795368872, model='a "model"', fingerprint="b11549")
ODD = "Grüße, 世界 😀 \"'\\/\x00\x01\x1f\x7f\u2028\u2029\ufeff\n\r\t</script>"
READ = PromptRead(prompt_tokens=50, cached_tokens=30)
USAGE = Usage(prompt_tokens=50, completion_tokens=7, cached_tokens=30, reasoning_tokens=2)
COUNTS = {
    "input_tokens": 20,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 30,
    "output_tokens": 7,
    "output_tokens_details": {"thinking_tokens": 2},
}
START_COUNTS = COUNTS | {"output_tokens": 0, "output_tokens_details": {"thinking_tokens": 0}}


def rendered(batches: Sequence[Sequence[Event]], *, show_thoughts: bool = True) -> bytes:
    renderer = MessagesStreamRenderer(HEAD, GlassSeal(), show_thoughts=show_thoughts)
    return b"".join(renderer.render(batch) for batch in batches) + renderer.end()


def streamed(given: list[Event], **options: Any) -> list[Any]:
    """Render each event as a batch of its own."""
    return events_of(rendered([[event] for event in given], **options))


def collected(given: list[Event], *, show_thoughts: bool = True) -> Any:
    answer = CompleteAnswer()
    for event in given:
        answer.add([event])
    body = json.loads(messages_body(HEAD, answer, GlassSeal(), show_thoughts=show_thoughts))
    check_body(body)
    return body


def start(**counts: int) -> dict[str, Any]:
    message: dict[str, Any] = {
        "id": "msg_abc",
        "type": "message",
        "role": "assistant",
        "model": 'a "model"',
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": START_COUNTS | counts,
    }
    return {"type": "message_start", "message": message}


def block_start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **fields: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def block_stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ending(reason: str = "end_turn", sequence: str | None = None) -> list[Any]:
    stop = {"stop_reason": reason, "stop_sequence": sequence}
    return [{"type": "message_delta", "delta": stop, "usage": COUNTS}, {"type": "message_stop"}]


def whole(*content: Any, reason: str = "end_turn", sequence: str | None = None) -> dict[str, Any]:
    return {
        "id": "msg_abc",
        "type": "message",
        "role": "assistant",
        "model": 'a "model"',
        "content": list(content),
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": COUNTS,
    }


# -- text

HELLO: list[Event] = [READ, TextDelta("Hello"), TextDelta(" world"), Finish("stop"), USAGE]


def test_text_is_streamed() -> None:
    assert streamed(HELLO) == [
        start(),
        block_start(0, type="text", text=""),
        delta(0, "text_delta", text="Hello"),
        delta(0, "text_delta", text=" world"),
        block_stop(0),
        *ending(),
    ]


def test_text_in_one_piece() -> None:
    assert collected(HELLO) == whole({"type": "text", "text": "Hello world"})


def test_the_bytes_of_a_piece() -> None:
    renderer = MessagesStreamRenderer(HEAD, GlassSeal(), show_thoughts=True)
    renderer.render([READ, TextDelta("A")])
    assert renderer.render([TextDelta("ü")]) == (
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\xc3\xbc"}}\n\n'
    )


def test_any_text_survives() -> None:
    odd: list[Event] = [READ, TextDelta(ODD), Finish("stop"), USAGE]
    assert streamed(odd)[2] == delta(0, "text_delta", text=ODD)
    assert collected(odd)["content"] == [{"type": "text", "text": ODD}]


def test_an_answer_without_anything_has_no_blocks() -> None:
    empty: list[Event] = [READ, Finish("stop"), USAGE]
    assert streamed(empty) == [start(), *ending()]
    assert collected(empty) == whole()


def test_an_answer_may_begin_before_its_prompt_was_counted() -> None:
    assert streamed(HELLO[1:])[0] == start(input_tokens=0, cache_read_input_tokens=0)


@pytest.mark.parametrize(
    ("finish", "reason", "sequence"),
    [
        (Finish("stop"), "end_turn", None),
        (Finish("length"), "max_tokens", None),
        (Finish("tool_calls"), "tool_use", None),
        (Finish("stop", "END"), "stop_sequence", "END"),
    ],
)
def test_why_an_answer_ends(finish: Finish, reason: str, sequence: str | None) -> None:
    given: list[Event] = [READ, TextDelta("A"), finish, USAGE]
    assert streamed(given)[-2:] == ending(reason, sequence)
    assert collected(given) == whole({"type": "text", "text": "A"}, reason=reason, sequence=sequence)


# -- thought

THOUGHT: list[Event] = [READ, ReasoningDelta("Hm"), ReasoningDelta("..."), TextDelta("Hi"), Finish("stop"), USAGE]


def test_thought_is_a_block_of_its_own_that_ends_with_its_seal() -> None:
    assert streamed(THOUGHT) == [
        start(),
        block_start(0, type="thinking", thinking="", signature=""),
        delta(0, "thinking_delta", thinking="Hm"),
        delta(0, "thinking_delta", thinking="..."),
        delta(0, "signature_delta", signature="sealed:Hm..."),
        block_stop(0),
        block_start(1, type="text", text=""),
        delta(1, "text_delta", text="Hi"),
        block_stop(1),
        *ending(),
    ]
    assert collected(THOUGHT) == whole(
        {"type": "thinking", "thinking": "Hm...", "signature": "sealed:Hm..."}, {"type": "text", "text": "Hi"}
    )


def test_a_thought_that_is_not_to_be_shown_is_only_sealed() -> None:
    assert streamed(THOUGHT, show_thoughts=False)[1:4] == [
        block_start(0, type="thinking", thinking="", signature=""),
        delta(0, "signature_delta", signature="sealed:Hm..."),
        block_stop(0),
    ]
    assert collected(THOUGHT, show_thoughts=False)["content"] == [
        {"type": "thinking", "thinking": "", "signature": "sealed:Hm..."},
        {"type": "text", "text": "Hi"},
    ]


def test_a_thought_that_the_answer_breaks_off_in_is_sealed_too() -> None:
    assert streamed([READ, ReasoningDelta("Hm"), Finish("length"), USAGE])[2:] == [
        delta(0, "thinking_delta", thinking="Hm"),
        delta(0, "signature_delta", signature="sealed:Hm"),
        block_stop(0),
        *ending("max_tokens"),
    ]


# -- calls

CALLS: list[Event] = [
    READ,
    ReasoningDelta("Hm"),
    TextDelta("Let me see."),
    ToolCall("a", "weather", '{"city":"Paris","days":1.0,"n":1180591620717411303424}'),
    ToolCall("b", "clock", "{}"),
    Finish("tool_calls"),
    USAGE,
]


def test_calls_are_streamed_each_in_one_piece() -> None:
    assert streamed(CALLS)[5:] == [
        block_start(1, type="text", text=""),
        delta(1, "text_delta", text="Let me see."),
        block_stop(1),
        block_start(2, type="tool_use", id="toolu_a", name="weather", input={}),
        delta(2, "input_json_delta", partial_json='{"city":"Paris","days":1.0,"n":1180591620717411303424}'),
        block_stop(2),
        block_start(3, type="tool_use", id="toolu_b", name="clock", input={}),
        delta(3, "input_json_delta", partial_json="{}"),
        block_stop(3),
        *ending("tool_use"),
    ]


def test_calls_in_one_piece() -> None:
    arguments = {"city": "Paris", "days": 1.0, "n": 1180591620717411303424}
    assert collected(CALLS) == whole(
        {"type": "thinking", "thinking": "Hm", "signature": "sealed:Hm"},
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "toolu_a", "name": "weather", "input": arguments},
        {"type": "tool_use", "id": "toolu_b", "name": "clock", "input": {}},
        reason="tool_use",
    )


# -- whatever comes

PIECES = st.one_of(
    st.builds(TextDelta, st.text(min_size=1, max_size=5)),
    st.builds(ReasoningDelta, st.text(min_size=1, max_size=5)),
    st.builds(ToolCall, st.uuids().map(str), st.just("weather"), st.sampled_from(["{}", '{"city":"Paris"}'])),
)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=12), st.data())
def test_a_stream_is_the_same_however_its_events_are_batched(pieces: list[Any], data: st.DataObject) -> None:
    answer: list[Event] = [READ, *pieces, Finish("stop"), USAGE]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(answer)))) | {0, len(answer)})
    batches = [answer[begin:end] for begin, end in itertools.pairwise(cuts)]
    assert rendered(batches) == rendered([[event] for event in answer])


@settings(deadline=None)
@given(st.lists(PIECES, max_size=12), st.booleans())
def test_a_stream_adds_up_to_the_answer_in_one_piece(pieces: list[Any], show: bool) -> None:
    answer: list[Event] = [READ, *pieces, Finish("stop"), USAGE]
    assert added_up(streamed(answer, show_thoughts=show)) == collected(answer, show_thoughts=show)


# -- errors


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("No."), "invalid_request_error"),
        (MethodNotAllowed("No.", allow="POST"), "invalid_request_error"),
        (BodyTooLarge("No."), "request_too_large"),
        (NotFound("No."), "not_found_error"),
        (Unauthorized("No."), "authentication_error"),
        (Overloaded("No."), "rate_limit_error"),
        (NotReady("No."), "overloaded_error"),
        (ShuttingDown("No."), "overloaded_error"),
        (UpstreamFailed("No."), "api_error"),
        (UpstreamDisconnected("No."), "api_error"),
        (UpstreamSilent("No."), "timeout_error"),
        (InternalError("No."), "api_error"),
    ],
)
def test_an_error_has_anthropics_shape(error: GatewayError, kind: str) -> None:
    assert MESSAGES.error_body(error) == {"type": "error", "error": {"type": kind, "message": "No."}}


def test_an_error_names_the_field() -> None:
    assert MESSAGES.error_body(InvalidRequest("No.", param="messages"))["error"]["param"] == "messages"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PromptTooLong(5000, 4096), "prompt is too long: 5000 tokens > 4095 maximum"),
        (InvalidRequest("It is.", code="context_length_exceeded"), "prompt is too long: It is."),
    ],
)
def test_a_prompt_that_is_too_long_is_refused_in_the_words_that_claude_code_looks_for(
    error: GatewayError, message: str
) -> None:
    assert MESSAGES.error_body(error)["error"]["message"] == message


def test_an_error_within_a_stream() -> None:
    renderer = MessagesStreamRenderer(HEAD, GlassSeal(), show_thoughts=True)
    renderer.render([READ, TextDelta("A")])
    written = b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"Gone."}}\n\n'
    assert renderer.error(UpstreamDisconnected("Gone.")) == written
    assert MESSAGES.stream_error(UpstreamDisconnected("Gone.")) == written
