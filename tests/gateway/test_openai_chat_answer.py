"""The answer dialect: whole objects, streamed and in one piece."""

from __future__ import annotations

import json
from typing import Any

import pytest
from driving import events_of
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from gateway.dialects.base import AnswerHead
from gateway.dialects.complete import CompleteAnswer
from gateway.dialects.openai_chat import ChatCompletions
from gateway.dialects.openai_chat_answer import ChatStreamRenderer, chat_body
from gateway.errors import InvalidRequest, UpstreamDisconnected
from gateway.events import (
    Alternative,
    Event,
    Finish,
    PromptRead,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCall,
    Usage,
)

HEAD = AnswerHead(id="abc", created=1795368872, model='a "model"', fingerprint="b11549")
SHARED = {
    "id": "chatcmpl-abc",
    "object": "chat.completion.chunk",
    "created": 1795368872,
    "model": 'a "model"',
    "system_fingerprint": "b11549",
}
COUNTS = {
    "prompt_tokens": 5,
    "completion_tokens": 2,
    "total_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
ENDING: list[Event] = [Finish("stop"), Usage(5, 2, 3, 1)]
ODD = "Grüße, 世界 😀 \"'\\/\x00\x01\x1f\x7f\u2028\u2029\ufeff\n\r\t</script>"


def chunk(delta: dict[str, Any], finish_reason: str | None = None, logprobs: Any = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
    return {**SHARED, "choices": [choice]}


OPENING = chunk({"role": "assistant", "content": ""})
CLOSING = chunk({}, finish_reason="stop")


def streamed(events: list[Event], *, include_usage: bool = False, top_logprobs: int = 0) -> list[Any]:
    """Render each event as a batch of its own."""
    renderer = ChatStreamRenderer(HEAD, include_usage=include_usage, top_logprobs=top_logprobs)
    return events_of(b"".join(renderer.render([event]) for event in events) + renderer.end())


def collected(events: list[Event], *, top_logprobs: int = 0) -> Any:
    answer = CompleteAnswer()
    for event in events:
        answer.add([event])
    return json.loads(chat_body(HEAD, [answer], top_logprobs=top_logprobs))


def whole(message: dict[str, Any], finish_reason: str = "stop", logprobs: Any = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-abc",
        "object": "chat.completion",
        "created": 1795368872,
        "model": 'a "model"',
        "system_fingerprint": "b11549",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "refusal": None, **message},
                "logprobs": logprobs,
                "finish_reason": finish_reason,
            }
        ],
        "usage": COUNTS,
    }


# -- text

HELLO: list[Event] = [TextDelta("Hello"), TextDelta(" world"), *ENDING]


def test_text_is_streamed() -> None:
    assert streamed(HELLO) == [
        OPENING,
        chunk({"content": "Hello"}),
        chunk({"content": " world"}),
        CLOSING,
        "[DONE]",
    ]


def test_text_in_one_piece() -> None:
    assert collected(HELLO) == whole({"content": "Hello world"})


def test_the_bytes_of_a_stream() -> None:
    renderer = ChatStreamRenderer(HEAD, include_usage=False)
    shared = (
        b'data: {"id":"chatcmpl-abc","object":"chat.completion.chunk","created":1795368872,"model":"a \\"model\\"",'
        b'"system_fingerprint":"b11549","choices":[{"index":0,"delta":'
    )
    assert renderer.render([TextDelta("ü")]) == (
        shared
        + b'{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}\n\n'
        + shared
        + b'{"content":"\xc3\xbc"},"logprobs":null,"finish_reason":null}]}\n\n'
    )
    assert renderer.end() == b"data: [DONE]\n\n"


def test_the_stream_is_the_same_however_its_events_are_batched() -> None:
    for at in range(len(HELLO) + 1):
        renderer = ChatStreamRenderer(HEAD, include_usage=True)
        body = b"".join(renderer.render(batch) for batch in (HELLO[:at], HELLO[at:]) if batch) + renderer.end()
        assert events_of(body) == streamed(HELLO, include_usage=True)


# -- thought

THOUGHT: list[Event] = [ReasoningDelta("Hm"), ReasoningDelta("..."), TextDelta("Hi"), *ENDING]


def test_thought_is_streamed_apart_from_the_text() -> None:
    assert streamed(THOUGHT) == [
        OPENING,
        chunk({"reasoning_content": "Hm"}),
        chunk({"reasoning_content": "..."}),
        chunk({"content": "Hi"}),
        CLOSING,
        "[DONE]",
    ]


def test_thought_in_one_piece() -> None:
    assert collected(THOUGHT) == whole({"content": "Hi", "reasoning_content": "Hm..."})


def test_a_thought_that_was_cut_short_has_an_empty_text() -> None:
    events: list[Event] = [ReasoningDelta("Hm"), Finish("length"), Usage(5, 2, 3, 1)]
    assert collected(events) == whole({"content": "", "reasoning_content": "Hm"}, "length")


# -- tool calls

CALLS: list[Event] = [
    ToolCall("c0", "weather", '{"city":"Köln"}'),
    ToolCall("c1", "time", "{}"),
    Finish("tool_calls"),
    Usage(5, 2, 3, 1),
]


def test_parallel_tool_calls_are_streamed() -> None:
    def piece(index: int, name: str, arguments: str) -> dict[str, Any]:
        function = {"name": name, "arguments": arguments}
        return chunk(
            {"tool_calls": [{"index": index, "id": f"call_c{index}", "type": "function", "function": function}]}
        )

    assert streamed(CALLS) == [
        OPENING,
        piece(0, "weather", '{"city":"Köln"}'),
        piece(1, "time", "{}"),
        chunk({}, finish_reason="tool_calls"),
        "[DONE]",
    ]


def test_parallel_tool_calls_in_one_piece() -> None:
    calls = [
        {"id": "call_c0", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Köln"}'}},
        {"id": "call_c1", "type": "function", "function": {"name": "time", "arguments": "{}"}},
    ]
    assert collected(CALLS) == whole({"content": None, "tool_calls": calls}, "tool_calls")


def test_text_and_thought_beside_a_tool_call_are_kept() -> None:
    events = [ReasoningDelta("Hm"), TextDelta("Let me see."), ToolCall("c0", "f", "{}"), *CALLS[-2:]]
    calls = [{"id": "call_c0", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    assert collected(events) == whole(
        {"content": "Let me see.", "reasoning_content": "Hm", "tool_calls": calls}, "tool_calls"
    )


# -- log-probabilities

FIRST = TokenLogprob(
    "Hi", -0.5, bytes=[72, 105], top_logprobs=[Alternative("Hi", -0.5, bytes=[72, 105]), Alternative("Yo", -1.5)]
)
SECOND = TokenLogprob("!", -0.25, bytes=[33], top_logprobs=[Alternative("!", -0.25, bytes=[33])])
LIKELY: list[Event] = [TextDelta("Hi", [FIRST]), TextDelta("!", [SECOND]), *ENDING]


def rendered(top: int) -> list[dict[str, Any]]:
    first = [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}, {"token": "Yo", "logprob": -1.5, "bytes": None}]
    second = [{"token": "!", "logprob": -0.25, "bytes": [33]}]
    return [
        {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": first[:top]},
        {"token": "!", "logprob": -0.25, "bytes": [33], "top_logprobs": second[:top]},
    ]


@pytest.mark.parametrize("top", [0, 1, 2, 20])
def test_log_probabilities_are_streamed_with_as_many_alternatives_as_were_asked_for(top: int) -> None:
    first, second = rendered(top)
    assert streamed(LIKELY, top_logprobs=top) == [
        OPENING,
        chunk({"content": "Hi"}, logprobs={"content": [first], "refusal": None}),
        chunk({"content": "!"}, logprobs={"content": [second], "refusal": None}),
        CLOSING,
        "[DONE]",
    ]


@pytest.mark.parametrize("top", [0, 1, 2, 20])
def test_log_probabilities_in_one_piece(top: int) -> None:
    logprobs = {"content": rendered(top), "refusal": None}
    assert collected(LIKELY, top_logprobs=top) == whole({"content": "Hi!"}, logprobs=logprobs)


# -- usage and ends


def test_usage_is_the_last_chunk_and_announced_in_every_other_if_it_was_asked_for() -> None:
    assert streamed(HELLO, include_usage=True) == [
        OPENING | {"usage": None},
        chunk({"content": "Hello"}) | {"usage": None},
        chunk({"content": " world"}) | {"usage": None},
        CLOSING | {"usage": None},
        {**SHARED, "choices": [], "usage": COUNTS},
        "[DONE]",
    ]


def test_usage_is_announced_beside_thoughts_calls_and_log_probabilities_too() -> None:
    events = [PromptRead(5, 3), *THOUGHT[:2], *CALLS[:2], *LIKELY]
    *chunks, usage, done = streamed(events, include_usage=True)
    assert all(one["usage"] is None for one in chunks)
    assert (usage["usage"], done) == (COUNTS, "[DONE]")


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls"])
def test_why_it_ended_is_told(reason: str) -> None:
    events: list[Event] = [TextDelta("Hi"), Finish(reason), Usage(5, 2, 3, 1)]
    assert streamed(events)[-2] == chunk({}, finish_reason=reason)
    assert collected(events) == whole({"content": "Hi"}, reason)


def test_an_empty_answer_is_an_answer() -> None:
    assert streamed(ENDING) == [OPENING, CLOSING, "[DONE]"]
    assert collected(ENDING) == whole({"content": ""})


def test_an_error_is_an_event_without_an_end_mark() -> None:
    renderer = ChatStreamRenderer(HEAD, include_usage=True)
    renderer.render([TextDelta("Hi")])
    assert events_of(renderer.error(UpstreamDisconnected("It broke off."))) == [
        {"error": {"message": "It broke off.", "type": "server_error", "param": None, "code": "upstream_error"}}
    ]


# -- both ways of writing agree


def reassembled(events: list[Any]) -> dict[str, Any]:
    """Put a stream's chunks together as a client does."""
    message: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
    calls: dict[int, dict[str, Any]] = {}
    answer: dict[str, Any] = {"finish_reason": None, "logprobs": None}
    for event in events[:-1]:
        for choice in event["choices"]:
            delta = choice["delta"]
            for name in ("content", "reasoning_content"):
                if delta.get(name):
                    message[name] = message.get(name, "") + delta[name]
            for piece in delta.get("tool_calls", ()):
                call = calls.setdefault(piece["index"], {"function": {"name": "", "arguments": ""}})
                call |= {name: piece[name] for name in ("id", "type") if name in piece}
                call["function"]["name"] += piece["function"].get("name", "")
                call["function"]["arguments"] += piece["function"]["arguments"]
            if choice["logprobs"]:
                answer["logprobs"] = answer["logprobs"] or {"content": [], "refusal": None}
                answer["logprobs"]["content"] += choice["logprobs"]["content"]
            answer["finish_reason"] = choice["finish_reason"] or answer["finish_reason"]
    if calls:
        message |= {"tool_calls": [calls[index] for index in sorted(calls)], "content": message["content"] or None}
    return {"index": 0, "message": message, **answer}


@pytest.mark.parametrize(
    "events",
    [
        HELLO,
        THOUGHT,
        CALLS,
        LIKELY,
        ENDING,
        [*THOUGHT[:-2], *LIKELY[:-2], *CALLS],
        [ReasoningDelta(ODD), TextDelta(ODD), ToolCall(ODD, ODD, ODD), Finish("length"), Usage(0, 0)],
    ],
)
def test_the_streamed_and_the_whole_answer_say_the_same(events: list[Event]) -> None:
    one = collected(events, top_logprobs=2)
    chunks = streamed(events, include_usage=True, top_logprobs=2)
    assert reassembled(chunks) == one["choices"][0]
    assert chunks[-2]["usage"] == one["usage"]
    shared = ("id", "created", "model", "system_fingerprint")
    assert [chunks[0][name] for name in shared] == [one[name] for name in shared]


def test_odd_characters_are_valid_json_and_never_end_an_event() -> None:
    token = TokenLogprob(ODD, -1.0, bytes=list(ODD.encode()), top_logprobs=[Alternative(ODD, -1.0)])
    events = [TextDelta(ODD), ReasoningDelta(ODD), ToolCall(ODD, ODD, ODD), TextDelta(ODD, [token]), *ENDING]
    renderer = ChatStreamRenderer(HEAD, include_usage=True, top_logprobs=1)
    body = renderer.render(events) + renderer.end()
    assert body.count(b"\n\n") == len(events_of(body)) == 8
    assert body.count(b"\n") == 2 * 8
    assert b"\r" not in body
    named = {"name": ODD, "arguments": ODD}
    assert [event["choices"][0]["delta"] for event in events_of(body)[1:5]] == [
        {"content": ODD},
        {"reasoning_content": ODD},
        {"tool_calls": [{"index": 0, "id": f"call_{ODD}", "type": "function", "function": named}]},
        {"content": ODD},
    ]


# -- what the route is given


def test_a_parsed_request_knows_how_to_write_its_answer() -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "logprobs": True, "top_logprobs": 1, "stream": True}
    parsed = ChatCompletions().parse(json.dumps(body | {"stream_options": {"include_usage": True}}).encode())
    renderer = parsed.stream_renderer(HEAD)
    stream = events_of(b"".join(renderer.render([event]) for event in LIKELY) + renderer.end())
    assert stream == streamed(LIKELY, include_usage=True, top_logprobs=1)
    answer = CompleteAnswer()
    answer.add(LIKELY)
    assert json.loads(parsed.body(HEAD, [answer])) == collected(LIKELY, top_logprobs=1)


# -- several choices


def test_choices_are_streamed_side_by_side_and_share_one_usage() -> None:
    renderer = ChatStreamRenderer(HEAD, include_usage=True, choices=2)
    body = b"".join(renderer.render([event], choice) for event in HELLO for choice in (0, 1)) + renderer.end()
    *chunks, usage, done = events_of(body)
    for index in (0, 1):
        own = [one for one in chunks if one["choices"][0]["index"] == index]
        assert [one["choices"][0]["delta"] for one in own] == [
            {"role": "assistant", "content": ""},
            {"content": "Hello"},
            {"content": " world"},
            {},
        ]
    both = {"completion_tokens": 4, "total_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 2}}
    assert usage["usage"] == COUNTS | both
    assert done == "[DONE]"


def test_all_choices_begin_in_their_order_whichever_has_something_to_say_first() -> None:
    """Or openai-python's stream helper fails with an IndexError."""
    parsed = ChatCompletions().parse(b'{"messages": [{"role": "user", "content": "Hi"}], "n": 3, "stream": true}')
    renderer = parsed.stream_renderer(HEAD)
    *chunks, _ = events_of(b"".join(renderer.render(HELLO, choice) for choice in (2, 0, 1)) + renderer.end())
    assert [one["choices"][0]["index"] for one in chunks[:4]] == [0, 1, 2, 2]
    helper: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for one in chunks:
        helper.handle_chunk(ChatCompletionChunk.model_validate(one))
    choices = helper.get_final_completion().choices
    assert [(one.index, one.message.content) for one in choices] == [(i, "Hello world") for i in range(3)]


def test_choices_in_one_piece_are_numbered_and_share_one_usage() -> None:
    answers = [CompleteAnswer(), CompleteAnswer()]
    answers[0].add(HELLO)
    answers[1].add(THOUGHT)
    body = json.loads(chat_body(HEAD, answers))
    assert [(one["index"], one["message"]["content"]) for one in body["choices"]] == [(0, "Hello world"), (1, "Hi")]
    assert body["usage"]["completion_tokens"] == 4
    assert body["usage"]["prompt_tokens"] == 5


def test_an_error_instead_of_an_answer_has_openais_shape() -> None:
    error = InvalidRequest("No.", code="why", param="messages")
    assert ChatCompletions().error_body(error) == {
        "error": {"message": "No.", "type": "invalid_request_error", "param": "messages", "code": "why"}
    }
