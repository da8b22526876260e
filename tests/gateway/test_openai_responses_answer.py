"""The answer dialect of Responses: whole objects, streamed and in one piece, each held against the specification."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from responses_checks import DIALECT, HEAD, ReadableSeal, checked_events, checked_response, parsed

from gateway.dialects.complete import CompleteAnswer
from gateway.errors import InvalidRequest, NotReady, Overloaded, PromptTooLong, UpstreamDisconnected
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

if TYPE_CHECKING:
    from gateway.dialects.openai_responses import ParsedResponses
    from gateway.errors import GatewayError

USAGE = Usage(5, 4, 3, 2)
COUNTS = {
    "input_tokens": 5,
    "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
    "output_tokens": 4,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 9,
}
ENDING: list[Event] = [Finish("stop"), USAGE]
RESPONSE: dict[str, Any] = {
    "id": "resp_abc",
    "object": "response",
    "created_at": 1795368872,
    "completed_at": None,
    "model": "gemma",
    "status": "completed",
    "background": False,
    "error": None,
    "frequency_penalty": 0.0,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "output": [],
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": False,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "usage": COUNTS,
    "user": None,
}
BEGUN = {**RESPONSE, "status": "in_progress", "usage": None}
PLAIN = parsed()


def streamed(events: list[Event], request: ParsedResponses = PLAIN) -> list[Any]:
    """Render each event as a batch of its own."""
    renderer = request.stream_renderer(HEAD)
    return checked_events(b"".join(renderer.render([event]) for event in events) + renderer.end())


def collected(events: list[Event], request: ParsedResponses = PLAIN) -> Any:
    answer = CompleteAnswer()
    answer.add(events)
    return checked_response(json.loads(request.body(HEAD, [answer])))


def numbered(*events: dict[str, Any]) -> list[Any]:
    return [{**event, "sequence_number": i} for i, event in enumerate(events)]


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **fields}


def opening(response: dict[str, Any] = BEGUN) -> list[dict[str, Any]]:
    return [event("created", response=response), event("in_progress", response=response)]


def part(text: str, logprobs: list[Any] | None = None) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs or []}


def message(index: int, text: str, status: str = "completed") -> dict[str, Any]:
    return {
        "type": "message",
        "id": f"msg_abc_{index}",
        "role": "assistant",
        "status": status,
        "content": [part(text)],
    }


def thought(index: int, text: str) -> dict[str, Any]:
    return {"type": "reasoning", "id": f"rs_abc_{index}", "summary": [{"type": "summary_text", "text": text}]}


def message_events(index: int, *pieces: str, status: str = "completed") -> list[dict[str, Any]]:
    where = {"item_id": f"msg_abc_{index}", "output_index": index, "content_index": 0}
    whole = "".join(pieces)
    begun = {**message(index, whole), "status": "in_progress", "content": []}
    return [
        event("output_item.added", output_index=index, item=begun),
        event("content_part.added", **where, part=part("")),
        *[event("output_text.delta", **where, delta=piece, logprobs=[]) for piece in pieces],
        event("output_text.done", **where, text=whole, logprobs=[]),
        event("content_part.done", **where, part=part(whole)),
        event("output_item.done", output_index=index, item=message(index, whole, status)),
    ]


def thought_events(index: int, *pieces: str, **sealed: str) -> list[dict[str, Any]]:
    where = {"item_id": f"rs_abc_{index}", "output_index": index, "summary_index": 0}
    whole = "".join(pieces)
    item = thought(index, whole)
    return [
        event("output_item.added", output_index=index, item={**item, "summary": []}),
        event("reasoning_summary_part.added", **where, part={"type": "summary_text", "text": ""}),
        *[event("reasoning_summary_text.delta", **where, delta=piece) for piece in pieces],
        event("reasoning_summary_text.done", **where, text=whole),
        event("reasoning_summary_part.done", **where, part=item["summary"][0]),
        event("output_item.done", output_index=index, item={**item, **sealed}),
    ]


def call_events(index: int, item: dict[str, Any]) -> list[dict[str, Any]]:
    where = {"item_id": item["id"], "output_index": index}
    return [
        event("output_item.added", output_index=index, item={**item, "arguments": "", "status": "in_progress"}),
        event("function_call_arguments.delta", **where, delta=item["arguments"]),
        event("function_call_arguments.done", **where, name=item["name"], arguments=item["arguments"]),
        event("output_item.done", output_index=index, item=item),
    ]


def completed(*output: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**RESPONSE, "output": list(output), **fields}


# -- text

HELLO: list[Event] = [PromptRead(5, 3), TextDelta("Hello"), TextDelta(" world"), *ENDING]


def test_text_is_streamed() -> None:
    assert streamed(HELLO) == [
        *numbered(
            *opening(),
            *message_events(0, "Hello", " world"),
            event("completed", response=completed(message(0, "Hello world"))),
        ),
        "[DONE]",
    ]


def test_text_in_one_piece() -> None:
    assert collected(HELLO) == completed(message(0, "Hello world"))


def test_the_bytes_of_a_stream() -> None:
    renderer = PLAIN.stream_renderer(HEAD)
    renderer.render([PromptRead(5, 3)])
    assert renderer.render([TextDelta("ü")]).endswith(
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":4,'
        b'"item_id":"msg_abc_0","output_index":0,"content_index":0,"delta":"\xc3\xbc","logprobs":[]}\n\n'
    )
    assert renderer.end().endswith(b"\n\ndata: [DONE]\n\n")


def test_an_answer_of_nothing() -> None:
    assert streamed(ENDING) == [*numbered(*opening(), event("completed", response=RESPONSE)), "[DONE]"]
    assert collected(ENDING) == RESPONSE


# -- thoughts and calls

CALL = {
    "type": "function_call",
    "id": "fc_c1",
    "call_id": "call_c1",
    "name": "weather",
    "arguments": '{"city":"Paris"}',
    "status": "completed",
}
SPACED = {**CALL, "id": "fc_c2", "call_id": "call_c2", "name": "close", "namespace": "agents", "arguments": "{}"}
TOOLS = [
    {"type": "function", "name": "weather", "parameters": {"type": "object"}},
    {"type": "namespace", "name": "agents", "tools": [{"type": "function", "name": "close", "strict": True}]},
    {"type": "web_search"},
]
MIXED: list[Event] = [
    PromptRead(5, 3),
    ReasoningDelta("Hm"),
    ReasoningDelta("."),
    TextDelta("I"),
    TextDelta(" look."),
    ReasoningDelta("So."),
    TextDelta("Now."),
    ToolCall("c1", "weather", '{"city":"Paris"}'),
    ToolCall("c2", "agents__close", "{}"),
    Finish("tool_calls"),
    USAGE,
]
MIXED_OUTPUT = [thought(0, "Hm."), message(1, "I look."), thought(2, "So."), message(3, "Now."), CALL, SPACED]
ECHOED = {
    "tools": [
        {
            "type": "function",
            "name": "weather",
            "description": None,
            "parameters": {"type": "object"},
            "strict": None,
        },
        {"type": "function", "name": "agents__close", "description": None, "parameters": None, "strict": True},
    ]
}


def test_thoughts_texts_and_calls_are_items_in_the_order_in_which_they_came() -> None:
    request = parsed(tools=TOOLS)
    assert streamed(MIXED, request) == [
        *numbered(
            *opening({**BEGUN, **ECHOED}),
            *thought_events(0, "Hm", "."),
            *message_events(1, "I", " look."),
            *thought_events(2, "So."),
            *message_events(3, "Now."),
            *call_events(4, CALL),
            *call_events(5, SPACED),
            event("completed", response=completed(*MIXED_OUTPUT, **ECHOED)),
        ),
        "[DONE]",
    ]
    assert collected(MIXED, request) == completed(*MIXED_OUTPUT, **ECHOED)


def test_a_thought_is_sealed_for_the_client_that_asks_for_it() -> None:
    request = parsed(include=["reasoning.encrypted_content"])
    events: list[Event] = [ReasoningDelta("H"), ReasoningDelta("m"), TextDelta("Hi"), *ENDING]
    sealed = ReadableSeal().seal("Hm")
    output = [{**thought(0, "Hm"), "encrypted_content": sealed}, message(1, "Hi")]
    assert streamed(events, request) == [
        *numbered(
            *opening(),
            *thought_events(0, "H", "m", encrypted_content=sealed),
            *message_events(1, "Hi"),
            event("completed", response=completed(*output)),
        ),
        "[DONE]",
    ]
    assert collected(events, request) == completed(*output)


def test_what_an_answer_holds_can_be_sent_back() -> None:
    first = parsed(tools=TOOLS, include=["reasoning.encrypted_content"])
    output = collected(MIXED, first)["output"]
    for item in output:
        if item["type"] == "reasoning":
            item["summary"] = []  # a client need not keep it
    answers = [{"type": "function_call_output", "call_id": f"call_c{i}", "output": "x"} for i in (1, 2)]
    question = {"role": "user", "content": "Hi"}
    assert parsed(input=[question, *output, *answers], tools=TOOLS).generation.messages == [
        question,
        {
            "role": "assistant",
            "content": "I look.\n\nNow.",
            "reasoning_content": "Hm.\n\nSo.",
            "tool_calls": [
                {
                    "id": "call_c1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Paris"}'},
                },
                {"id": "call_c2", "type": "function", "function": {"name": "agents__close", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_c1", "content": "x"},
        {"role": "tool", "tool_call_id": "call_c2", "content": "x"},
    ]


# -- log-probabilities

LOGPROBS = [
    TokenLogprob(
        token="H", logprob=-0.5, bytes=[72], top_logprobs=[Alternative("H", -0.5, [72]), Alternative("ü", -1.0)]
    )
]


def written(*tops: dict[str, Any]) -> list[Any]:
    return [{"token": "H", "logprob": -0.5, "bytes": [72], "top_logprobs": list(tops)}]


@pytest.mark.parametrize(
    ("top", "logprobs"),
    [
        (0, written()),
        (1, written({"token": "H", "logprob": -0.5, "bytes": [72]})),
        (
            2,
            written(
                {"token": "H", "logprob": -0.5, "bytes": [72]},
                {"token": "ü", "logprob": -1.0, "bytes": [195, 188]},
            ),
        ),
    ],
)
def test_log_probabilities_come_with_their_text(top: int, logprobs: list[Any]) -> None:
    request = parsed(include=["message.output_text.logprobs"], top_logprobs=top)
    events: list[Event] = [TextDelta("H", LOGPROBS), ReasoningDelta("Hm"), TextDelta("i"), *ENDING]
    whole = collected(events, request)
    assert [item.get("content") for item in whole["output"]] == [[part("H", logprobs)], None, [part("i")]]
    assert whole["top_logprobs"] == top
    found = streamed(events, request)
    assert found[-2]["response"] == whole
    assert [each["logprobs"] for each in found[:-1] if "logprobs" in each] == [logprobs, logprobs, [], []]


# -- endings


@pytest.mark.parametrize(
    ("events", "output"),
    [
        ([TextDelta("Hel")], [message(0, "Hel", "incomplete")]),
        ([ReasoningDelta("Hm")], [thought(0, "Hm")]),
        ([TextDelta("A"), ReasoningDelta("Hm")], [message(0, "A"), thought(1, "Hm")]),
        ([TextDelta("A"), ToolCall("c1", "weather", '{"city":"Paris"}')], [message(0, "A"), CALL]),
        ([], []),
    ],
)
def test_an_answer_that_was_cut_off_says_so(events: list[Event], output: list[Any]) -> None:
    events = [*events, Finish("length"), USAGE]
    whole = completed(*output, status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert collected(events) == whole
    found = streamed(events)
    assert (found[-2]["type"], found[-2]["response"], found[-1]) == ("response.incomplete", whole, "[DONE]")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UpstreamDisconnected("It broke."), "upstream_error"),
        (Overloaded("Full."), "overloaded"),
        (InvalidRequest("Bad."), "invalid_prompt"),
        (PromptTooLong(9, 5), "context_length_exceeded"),
    ],
)
def test_an_answer_that_broke_off_has_failed(error: GatewayError, code: str) -> None:
    renderer = PLAIN.stream_renderer(HEAD)
    written = renderer.render([ReasoningDelta("Hm"), TextDelta("Hel")]) + renderer.error(error)
    found = checked_events(written)
    failed = completed(thought(0, "Hm"), status="failed", usage=None, error={"code": code, "message": error.message})
    assert found[-1] == {**event("failed", response=failed), "sequence_number": len(found) - 1}
    assert message_events(1, "Hel")[-1]["type"] not in [each["type"] for each in found[-4:]]


def test_an_answer_that_failed_before_its_first_event() -> None:
    found = checked_events(PLAIN.stream_renderer(HEAD).error(UpstreamDisconnected("It broke.")))
    failed = completed(status="failed", usage=None, error={"code": "upstream_error", "message": "It broke."})
    assert found == numbered(*opening(), event("failed", response=failed))


def test_an_error_after_nothing_but_keep_alives_is_told_to_every_client() -> None:
    found = checked_events(DIALECT.stream_error(NotReady("Not yet.", retry_after=3)))
    error = {"message": "Not yet.", "type": "server_error", "param": None, "code": "not_ready"}
    failed = completed(
        id="resp_0",
        created_at=0,
        model="",
        status="failed",
        usage=None,
        error={"code": "not_ready", "message": "Not yet."},
    )
    assert found == numbered({**error, "type": "error", "error": error}, event("failed", response=failed))


def test_an_error_instead_of_an_answer_has_openais_shape() -> None:
    assert DIALECT.error_body(InvalidRequest("Bad.", param="input")) == {
        "error": {"message": "Bad.", "type": "invalid_request_error", "param": "input", "code": None}
    }


def test_an_error_about_the_conversation_names_the_field_that_holds_it() -> None:
    body = DIALECT.error_body(PromptTooLong(9, 5))["error"]
    assert (body["code"], body["param"]) == ("context_length_exceeded", "input")


def test_an_error_about_a_field_that_responses_does_not_have_names_that_field() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parsed(messages=[])
    assert DIALECT.error_body(caught.value)["error"]["param"] == "messages"


# -- what a response repeats of its request


def test_a_response_repeats_its_request() -> None:
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
    request = parsed(
        instructions="Be brief.",
        max_output_tokens=9000,
        max_tool_calls=3,
        metadata={"a": "b"},
        parallel_tool_calls=False,
        presence_penalty=1,
        frequency_penalty=-1,
        prompt_cache_key="k",
        reasoning={"effort": "low", "summary": "auto"},
        safety_identifier="s",
        service_tier="flex",
        store=True,
        temperature=0,
        text={"format": schema},
        tools=TOOLS,
        tool_choice={"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}]},
        top_p=0.5,
        truncation="auto",
        user="u",
    )
    assert collected(ENDING, request) == {
        **RESPONSE,
        **ECHOED,
        "instructions": "Be brief.",
        "max_output_tokens": 9000,
        "max_tool_calls": 3,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "presence_penalty": 1.0,
        "frequency_penalty": -1.0,
        "prompt_cache_key": "k",
        "reasoning": {"effort": "low", "summary": "auto"},
        "safety_identifier": "s",
        "temperature": 0.0,
        "text": {"format": schema},
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}]},
        "top_p": 0.5,
        "user": "u",
    }


@pytest.mark.parametrize(
    "choice",
    ["none", "required", {"type": "function", "name": "weather"}, {"type": "function", "name": "agents__close"}],
)
def test_a_response_repeats_the_choice_among_tools(choice: Any) -> None:
    assert collected(ENDING, parsed(tools=TOOLS, tool_choice=choice))["tool_choice"] == choice


# -- any answer, split anywhere

TEXTS = st.text(min_size=1, max_size=6)
PIECES = st.lists(
    st.one_of(
        st.builds(TextDelta, TEXTS),
        st.builds(ReasoningDelta, TEXTS),
        st.builds(
            ToolCall,
            st.uuids().map(lambda unique: unique.hex),
            st.sampled_from(["weather", "agents__close", "unheard_of"]),
            st.just("{}"),
        ),
    ),
    max_size=12,
)
SEALING = parsed(tools=TOOLS, include=["reasoning.encrypted_content"])


def split(data: st.DataObject, events: list[Event]) -> list[list[Event]]:
    batches: list[list[Event]] = [[]]
    for each in events:
        if data.draw(st.booleans()):
            batches.append([])
        batches[-1].append(each)
    return batches


@given(PIECES, st.sampled_from(["stop", "length", "tool_calls"]), st.data())
def test_a_stream_is_the_same_however_its_events_are_batched(
    pieces: list[Event], reason: str, data: st.DataObject
) -> None:
    events = [PromptRead(5, 3), *pieces, Finish(reason), USAGE]
    renderer = SEALING.stream_renderer(HEAD)
    written = b"".join(renderer.render(batch) for batch in split(data, events)) + renderer.end()
    assert checked_events(written) == streamed(events, SEALING)


@given(PIECES, st.sampled_from(["stop", "length", "tool_calls"]))
def test_a_stream_adds_up_to_the_answer_in_one_piece(pieces: list[Event], reason: str) -> None:
    events = [*pieces, Finish(reason), USAGE]
    *found, end = streamed(events, SEALING)
    assert end == "[DONE]"
    assert [each["sequence_number"] for each in found] == list(range(len(found)))
    whole = collected(events, SEALING)
    assert found[-1]["response"] == whole
    assert [each["item"] for each in found if each["type"] == "response.output_item.done"] == whole["output"]
    for kind, of in (("output_text", "content"), ("reasoning_summary_text", "summary")):
        added: dict[int, str] = {}
        for each in found:
            if each["type"] == f"response.{kind}.delta":
                added[each["output_index"]] = added.get(each["output_index"], "") + each["delta"]
        assert added == {i: item[of][0]["text"] for i, item in enumerate(whole["output"]) if of in item}


@given(PIECES, st.data())
def test_the_done_events_are_the_same_however_the_text_is_cut(pieces: list[Event], data: st.DataObject) -> None:
    finer: list[Event] = []
    for each in pieces:
        if isinstance(each, TextDelta | ReasoningDelta) and len(each.text) > 1:
            cut = data.draw(st.integers(1, len(each.text) - 1))
            finer += [type(each)(each.text[:cut]), type(each)(each.text[cut:])]
        else:
            finer.append(each)

    def done(events: list[Event]) -> list[Any]:
        found = streamed([*events, *ENDING], SEALING)[:-1]
        return [
            {name: value for name, value in each.items() if name != "sequence_number"}
            for each in found
            if not each["type"].endswith((".delta",))
        ]

    assert done(finer) == done(pieces)
