from __future__ import annotations

import json
from typing import Any

import pytest
from fake_upstream import (
    RECORDED,
    ROLE,
    call_begins,
    call_goes_on,
    chunk,
    error_event,
    finish,
    sse,
    text,
    thought,
    usage,
)

from gateway.errors import BodyTooLarge, GatewayError, InvalidRequest, MalformedAnswer, NotReady, UpstreamFailed
from gateway.events import (
    Alternative,
    Counts,
    Finish,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    UpstreamEvent,
    Usage,
)
from gateway.request import GenerationRequest, ToolChoice
from gateway.thinking import OFF, Thinking
from gateway.upstream.sse import SSEDecoder
from gateway.upstream.wire import decode_error, decode_events, encode_request

ALWAYS = {
    "stream": True,
    "stream_options": {"include_usage": True},
    "timings_per_token": True,
    "chat_template_kwargs": {"enable_thinking": True},
}
MESSAGES = [{"role": "user", "content": "Grüße 😀\x00"}]


def encoded(request: GenerationRequest) -> Any:
    return json.loads(encode_request(request))


def payload(event: bytes) -> bytes:
    return event.removeprefix(b"data: ").removesuffix(b"\n\n")


def test_the_least_request_asks_for_a_counted_stream_and_nothing_else() -> None:
    assert encoded(GenerationRequest(messages=MESSAGES)) == {"messages": MESSAGES, **ALWAYS}


def test_everything_that_may_go_upstream() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    request = GenerationRequest(
        messages=MESSAGES,
        max_tokens=7,
        stop=("a", "b"),
        logprobs=3,
        tools=tools,
        tool_choice=ToolChoice("required"),
        parallel_tool_calls=False,
        response_format={"type": "json_object"},
        thinking=Thinking(budget=50),
        sampling={"temperature": 0.5, "top_k": 3},
    )
    assert encoded(request) == {
        "messages": MESSAGES,
        "max_tokens": 7,
        "logprobs": True,
        "top_logprobs": 3,
        "tools": tools,
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "response_format": {"type": "json_object"},
        "reasoning_budget_tokens": 50,
        "reasoning_control": True,
        "temperature": 0.5,
        "top_k": 3,
        **ALWAYS,
    }


def test_thinking_that_is_off_has_no_budget_either() -> None:
    off = {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_budget_tokens": 0}
    assert encoded(GenerationRequest(messages=MESSAGES, thinking=OFF)) == {"messages": MESSAGES, **ALWAYS, **off}


@pytest.mark.parametrize(
    ("choice", "names", "word"),
    [
        (ToolChoice(), ["a", "b"], "auto"),
        (ToolChoice("none"), ["a", "b"], "none"),
        (ToolChoice("required"), ["a", "b"], "required"),
        (ToolChoice("required", frozenset({"b"})), ["b"], "required"),
        (ToolChoice("auto", frozenset({"a"})), ["a"], "auto"),
    ],
)
def test_tools_that_may_not_be_called_are_left_out(choice: ToolChoice, names: list[str], word: str) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("a", "b")]
    body = encoded(GenerationRequest(messages=MESSAGES, tools=tools, tool_choice=choice))
    assert [tool["function"]["name"] for tool in body["tools"]] == names
    assert body["tool_choice"] == word


def test_log_probabilities_without_alternatives_are_asked_for_with_one() -> None:
    body = encoded(GenerationRequest(messages=MESSAGES, logprobs=0))
    assert body == {"messages": MESSAGES, "logprobs": True, "top_logprobs": 1, **ALWAYS}


def test_sampling_cannot_replace_what_is_always_sent() -> None:
    request = GenerationRequest(messages=MESSAGES, sampling={"stream": False, "messages": [], "stream_options": None})
    assert encoded(request) == {"messages": MESSAGES, **ALWAYS}


def test_a_request_that_cannot_be_written_is_the_clients_fault() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        encode_request(GenerationRequest(messages=MESSAGES, response_format=deep))
    while deep:  # taken apart by hand: freeing it recursively is as deep
        deep = deep["a"]


@pytest.mark.parametrize(
    ("event", "events"),
    [
        (ROLE, []),
        (text("Hi"), [TextDelta("Hi")]),
        (text(""), []),
        (text('ü\n\u2028😀\x00\x1f"'), [TextDelta('ü\n\u2028😀\x00\x1f"')]),
        (thought("Hm"), [ReasoningDelta("Hm")]),
        (chunk({"reasoning_content": "Hm", "content": "Hi"}), [ReasoningDelta("Hm"), TextDelta("Hi")]),
        (call_begins(1, "c1", "f"), [ToolCallDelta(1, "c1", "f", "")]),
        (call_goes_on(1, '{"a"'), [ToolCallDelta(1, None, None, '{"a"')]),
        (
            chunk(
                {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}, {"index": 1}]}
            ),
            [ToolCallDelta(0, "a", "f", "{}"), ToolCallDelta(1, None, None, "")],
        ),
        (finish("length"), [Finish("length")]),
        (chunk({"content": "!"}, finish_reason="stop"), [TextDelta("!"), Finish("stop")]),
        (usage(5, 2, 3), [Usage(5, 2, 3)]),
        (sse({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}), [Usage(5, 2, 0)]),
        (
            chunk({"content": "Hi"}).replace(b"}\n\n", b',"timings":{"cache_n":3,"prompt_n":2,"predicted_n":7}}\n\n'),
            [TextDelta("Hi"), Counts(5, 3, 7)],
        ),
        (sse({"choices": [], "usage": None, "error": None, "unheard_of": [{}]}), []),
        (sse({"prompt_progress": {"total": 5}}), []),
    ],
)
def test_a_chunk_stands_for_events(event: bytes, events: list[UpstreamEvent]) -> None:
    assert decode_events(payload(event)) == events


def test_a_recorded_stream_stands_for_these_events() -> None:
    *payloads, end = SSEDecoder().feed((RECORDED / "keepalives_and_logprobs.sse").read_bytes())
    assert end == b"[DONE]"

    def token(word: str, logprob: float) -> TextDelta:
        written = list(word.encode())
        return TextDelta(
            word,
            [TokenLogprob(word, logprob, bytes=written, top_logprobs=[Alternative(word, logprob, bytes=written)])],
        )

    assert [event for one in payloads for event in decode_events(one)] == [
        token("The", -1.363586664199829),
        token(" sea", -1.2905998229980469),
        token(" is", -0.3317718803882599),
        Finish("length"),
        Usage(prompt_tokens=1744, completion_tokens=3, cached_tokens=0),
    ]


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[DONE] ",
        b"<html>",
        b'{"choices":"x"}',
        b'{"choices":[{}]}',
        b'{"choices":[{"delta":{"content":5}}]}',
        b'{"choices":[{"delta":{"content":"\xff"}}]}',
        b'{"choices":[],"usage":{}}',
        b'{"error":"x"}',
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_chunk_that_is_not_llama_servers_is_its_failure(broken: bytes) -> None:
    with pytest.raises(UpstreamFailed, match="a chunk that cannot be read"):
        decode_events(broken)


def test_an_error_within_the_stream_is_raised() -> None:
    with pytest.raises(UpstreamFailed, match="llama-server failed: the model fell over"):
        decode_events(payload(error_event()))


def test_an_error_without_words_is_raised_all_the_same() -> None:
    with pytest.raises(UpstreamFailed, match="an error without words"):
        decode_events(b'{"error":{}}')


NO_GRAMMAR = "llama-server cannot make a grammar of this JSON Schema:"
LARGE = "Failed to initialize samplers: failed to parse grammar"
UNKNOWN = "JSON schema error at #: unsupported $ref #x"
MALFORMED = "The model produced output that does not match the expected peg-gemma4 format"
TOO_LONG = "request (9031 tokens) exceeds the available context size (2048 tokens), try increasing it"


@pytest.mark.parametrize(
    ("status", "kind", "message", "error"),
    [
        (
            400,
            "exceed_context_size_error",
            TOO_LONG,
            InvalidRequest(TOO_LONG, code="context_length_exceeded", param="messages"),
        ),
        (503, "unavailable_error", "Loading model", NotReady("Loading model", retry_after=1)),
        (400, "invalid_request_error", "Bad grammar", InvalidRequest("Bad grammar")),
        (400, "invalid_request_error", LARGE, InvalidRequest(f"{NO_GRAMMAR} {LARGE}")),
        (500, "server_error", UNKNOWN, InvalidRequest(f"{NO_GRAMMAR} {UNKNOWN}")),
        (401, "authentication_error", "Invalid API Key", UpstreamFailed("llama-server failed: Invalid API Key")),
        (404, "not_found_error", "File Not Found", UpstreamFailed("llama-server failed: File Not Found")),
        (500, "server_error", "Oops", UpstreamFailed("llama-server failed: Oops")),
        (500, "server_error", MALFORMED, MalformedAnswer(f"llama-server failed: {MALFORMED}")),
        (501, "not_supported_error", "No", UpstreamFailed("llama-server failed: No")),
    ],
)
def test_a_refusal_has_its_status_code_and_field(status: int, kind: str, message: str, error: GatewayError) -> None:
    body = {"error": {"code": status, "message": message, "type": kind, "n_prompt_tokens": 9031, "n_ctx": 2048}}
    assert vars_of(decode_error(status, json.dumps(body).encode())) == vars_of(error)


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'{"error":"x"}', b'{"error":null}', b"\xff", b"[" * 100_000])
def test_a_refusal_without_a_reason_is_the_servers_failure(body: bytes) -> None:
    expected = UpstreamFailed("llama-server answered with status 400 and no reason.")
    assert vars_of(decode_error(400, body)) == vars_of(expected)


def test_a_body_that_llama_server_does_not_read_is_too_large() -> None:
    expected = BodyTooLarge("The request body is larger than llama-server reads.")
    assert vars_of(decode_error(413, b"")) == vars_of(expected)


def vars_of(error: GatewayError) -> tuple[type, dict[str, Any]]:
    return type(error), vars(error)
