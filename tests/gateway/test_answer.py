"""Answers made of several attempts, streamed and in one piece, as a client of Chat Completions sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from driving import AUTH, PLAIN, QUESTION, STREAMED, client_of, events_of, make_gateway
from fake_upstream import (
    CHAT,
    DONE,
    ROLE,
    FakeUpstream,
    answer,
    break_off,
    call_begins,
    call_goes_on,
    error_event,
    finish,
    refuse_with,
    scenario,
    sse,
    stall,
    text,
    thought,
    usage,
)

from gateway.auth.keys import KeyRing
from gateway.backend_sampling import BackendSampling

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx
    from fake_upstream import Call

    Behaviour = Callable[[Call], Awaitable[None]]

MALFORMED = "The model produced output that does not match the expected peg-gemma4 format"
BOTH = pytest.mark.parametrize("stream", [False, True])
CONTROL = f"{CHAT}/control"
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def counted(piece: bytes, written: int) -> bytes:
    """Return a chunk with the token counts that llama-server adds to each."""
    payload = piece.removesuffix(b"}\n\n")
    return payload + b',"timings":{"cache_n":3,"prompt_n":2,"predicted_n":%d}}\n\n' % written


def whole(*pieces: bytes, written: int, reason: str = "stop") -> Behaviour:
    return answer(counted(ROLE, 1), *pieces, finish(reason), usage(5, written, 3), DONE)


GOOD = whole(
    counted(thought("Hm"), 4), counted(thought("."), 5), counted(text("Hello"), 7), counted(text("!"), 8), written=9
)
MALFORMED_EVENT = error_event(MALFORMED)


async def ask(upstream: FakeUpstream, *, stream: bool, **fields: Any) -> tuple[httpx.Response, dict[str, Any]]:
    """Return the response, and what it amounts to."""
    options = {"stream_options": {"include_usage": True}} if stream else {}
    async with client_of(make_gateway(upstream)) as client:
        response = await client.post(CHAT, json=(STREAMED if stream else PLAIN) | options | fields)
    return response, told(response)


def told(response: httpx.Response) -> dict[str, Any]:
    """Return thought, text, calls, ending and usage of an answer, streamed or not."""
    streamed = response.headers["content-type"].startswith("text/event-stream")
    events = [event for event in events_of(response.content) if event != "[DONE]"] if streamed else [response.json()]
    found: dict[str, Any] = {}
    for event in events:
        for choice in event.get("choices", []):
            said = choice.get("delta") or choice.get("message") or {}
            for name in ("reasoning_content", "content"):
                if said.get(name):
                    found[name] = found.get(name, "") + said[name]
            found["calls"] = found.get("calls", 0) + len(said.get("tool_calls") or [])
            found["finish"] = choice["finish_reason"] or found.get("finish")
        if event.get("usage"):
            tokens = event["usage"]
            found["usage"] = (tokens["completion_tokens"], tokens["completion_tokens_details"]["reasoning_tokens"])
        if "error" in event:
            found["error"] = event["error"]["code"]
    return found


ANSWERED = {"reasoning_content": "Hm.", "content": "Hello!", "calls": 0, "finish": "stop"}

NOTHING_SENT = [
    pytest.param(refuse_with(500, "server_error", MALFORMED), id="refused as malformed"),
    pytest.param(answer(ROLE, MALFORMED_EVENT), id="malformed at once"),
    pytest.param(answer(counted(ROLE, 1), error_event()), id="an error event at once"),
    pytest.param(break_off(ROLE), id="it broke"),
    pytest.param(answer(ROLE, finish()), id="without an end mark"),
    pytest.param(whole(written=20), id="all of it dropped"),
    pytest.param(break_off(ROLE, call_begins(0, "c", "f"), call_goes_on(0, '{"a')), id="it broke within a call"),
]
TEXT_SENT = [
    pytest.param(answer(ROLE, text("Bad"), MALFORMED_EVENT), "malformed_answer", id="malformed"),
    pytest.param(answer(ROLE, text("Bad"), error_event()), "upstream_error", id="an error event"),
    pytest.param(break_off(ROLE, text("Bad")), "upstream_error", id="it broke"),
    pytest.param(answer(ROLE, text("Bad"), finish()), "upstream_error", id="without an end mark"),
    pytest.param(whole(counted(text("Bad"), 2), written=9), "malformed_answer", id="a part dropped"),
]


@BOTH
@pytest.mark.parametrize("first", NOTHING_SENT)
@scenario
async def test_while_nothing_was_sent_the_answer_is_made_again(first: Behaviour, stream: bool) -> None:
    async with FakeUpstream(default=GOOD).listening() as upstream:
        upstream.plan.append(first)
        response, found = await ask(upstream, stream=stream)
        assert response.status_code == 200
        assert {name: found[name] for name in ANSWERED} == ANSWERED
        assert len(upstream.calls) == 2


@pytest.mark.parametrize(("first", "code"), TEXT_SENT)
@scenario
async def test_an_answer_in_one_piece_begins_anew_whatever_has_come(first: Behaviour, code: str) -> None:
    del code
    async with FakeUpstream(default=GOOD).listening() as upstream:
        upstream.plan.append(first)
        _, found = await ask(upstream, stream=False)
        assert {name: found[name] for name in ANSWERED} == ANSWERED


@pytest.mark.parametrize(("first", "code"), TEXT_SENT)
@scenario
async def test_a_stream_whose_text_was_sent_ends_with_an_error(first: Behaviour, code: str) -> None:
    async with FakeUpstream(default=GOOD).listening() as upstream:
        upstream.plan.append(first)
        response, found = await ask(upstream, stream=True)
        assert (found["content"], found["finish"], found["error"]) == ("Bad", None, code)
        assert b"[DONE]" not in response.content
        assert len(upstream.calls) == 1


@BOTH
@pytest.mark.parametrize(
    ("failure", "attempts"),
    [
        (refuse_with(500, "server_error", MALFORMED), 3),
        (answer(ROLE, MALFORMED_EVENT), 3),
        (break_off(ROLE), 2),
        (answer(ROLE, error_event()), 2),
        (refuse_with(500, "server_error", "oops"), 1),
        (refuse_with(400, "invalid_request_error", "no"), 1),
    ],
)
@scenario
async def test_it_is_not_made_again_for_ever(failure: Behaviour, attempts: int, stream: bool) -> None:
    async with FakeUpstream(default=failure).listening() as upstream:
        response, found = await ask(upstream, stream=stream)
        assert response.status_code in (400, 502)
        assert "error" in found
        assert len(upstream.calls) == attempts


@BOTH
@scenario
async def test_a_second_attempt_has_another_chance(stream: bool) -> None:
    async with FakeUpstream(default=answer(ROLE, MALFORMED_EVENT)).listening() as upstream:
        await ask(upstream, stream=stream, temperature=0, seed=2**32 - 1)
        assert [(call.body["temperature"], call.body["seed"]) for call in upstream.calls] == [
            (0, 2**32 - 1),
            (0.7, 0),
            (0.7, 1),
        ]


@BOTH
@scenario
async def test_a_failure_after_the_prompt_was_read_still_has_its_own_status(stream: bool) -> None:
    async with FakeUpstream(default=answer(counted(ROLE, 1), MALFORMED_EVENT)).listening() as upstream:
        response, found = await ask(upstream, stream=stream)
        assert (response.status_code, found["error"]) == (502, "malformed_answer")


# -- a thought that was sent


THOUGHT = (counted(ROLE, 1), counted(thought("One"), 4), counted(thought(" two"), 5))


@scenario
async def test_after_a_thought_a_stream_goes_on_with_another() -> None:
    async with FakeUpstream(default=GOOD).listening() as upstream:
        upstream.plan.append(answer(*THOUGHT, MALFORMED_EVENT))
        response, found = await ask(upstream, stream=True, thinking_budget=10, max_tokens=100)
        assert found == {
            "reasoning_content": "One two\n\nHm.",
            "content": "Hello!",
            "calls": 0,
            "finish": "stop",
            "usage": (5 + 9, 3 + 3),
        }
        assert response.content.endswith(DONE)
        first, second = (call.body for call in upstream.calls)
        assert (first["reasoning_budget_tokens"], first["max_tokens"]) == (10, 100)
        assert (second["reasoning_budget_tokens"], second["max_tokens"]) == (7, 97)


@scenario
async def test_an_answer_in_one_piece_forgets_the_thought_but_not_what_it_took_of_the_budget() -> None:
    async with FakeUpstream(default=GOOD).listening() as upstream:
        upstream.plan.append(answer(*THOUGHT, MALFORMED_EVENT))
        _, found = await ask(upstream, stream=False, thinking_budget=10, max_tokens=100)
        assert found == ANSWERED | {"usage": (5 + 9, 3 + 3)}
        second = upstream.calls[1].body
        assert (second["reasoning_budget_tokens"], second["max_tokens"]) == (7, 100)


@BOTH
@scenario
async def test_when_the_budget_is_used_up_the_next_attempt_does_not_think(stream: bool) -> None:
    async with FakeUpstream(default=GOOD).listening() as upstream:
        upstream.plan.append(answer(*THOUGHT, MALFORMED_EVENT))
        _, found = await ask(upstream, stream=stream, thinking_budget=3)
        second = upstream.calls[1].body
        assert second["chat_template_kwargs"] == {"enable_thinking": False}
        assert second["reasoning_budget_tokens"] == 0
        assert found.get("reasoning_content") == ("One two" if stream else None)  # and what it thinks is not sent
        assert found["content"] == "Hello!"


@BOTH
@scenario
async def test_a_thought_without_an_answer_is_asked_for_it(stream: bool) -> None:
    async with FakeUpstream(default=whole(counted(text("Yes."), 2), written=3)).listening() as upstream:
        upstream.plan.append(answer(*THOUGHT, finish(), usage(5, 7, 3), DONE))
        _, found = await ask(upstream, stream=stream, temperature=0, max_tokens=100)
        assert found == {
            "reasoning_content": "One two",
            "content": "Yes.",
            "calls": 0,
            "finish": "stop",
            "usage": (7 + 3, 3),
        }
        second = upstream.calls[1].body
        assert second["chat_template_kwargs"] == {"enable_thinking": False}
        assert (second["temperature"], second["max_tokens"]) == (0, 97)


@BOTH
@scenario
async def test_a_thought_that_took_all_tokens_is_not_asked_for_more(stream: bool) -> None:
    async with FakeUpstream(default=answer(*THOUGHT, finish("length"), usage(5, 5, 3), DONE)).listening() as upstream:
        _, found = await ask(upstream, stream=stream)
        assert (found["reasoning_content"], found["finish"]) == ("One two", "length")
        assert len(upstream.calls) == 1


# -- the budget of a whole answer


AGAIN = (
    counted(text("First. "), 8),
    counted(thought("Three"), 12),
    counted(thought(" four"), 13),
    counted(text("Last."), 15),
)


@BOTH
@pytest.mark.parametrize(
    ("budget", "expected", "told_to_end"),
    [(3, "One two", 1), (4, "One two", 1), (5, "One twoThree", 1), (6, "One twoThree four", 0)],
)
@scenario
async def test_what_goes_beyond_the_budget_is_not_sent_and_ended(
    budget: int, expected: str, told_to_end: int, stream: bool
) -> None:
    async with FakeUpstream(default=answer(*THOUGHT, *AGAIN, finish(), usage(5, 16, 3), DONE)).listening() as upstream:
        _, found = await ask(upstream, stream=stream, thinking_budget=budget)
        assert (found["reasoning_content"], found["content"]) == (expected, "First. Last.")
        assert found["usage"][1] <= budget
        assert upstream.asked.count(CONTROL) == told_to_end


@BOTH
@scenario
async def test_a_server_that_does_not_end_the_thought_changes_nothing(stream: bool) -> None:
    default = answer(*THOUGHT, *AGAIN, finish(), usage(5, 16, 3), DONE)
    async with FakeUpstream(default=default, control={CONTROL: (500, {"error": {}})}).listening() as upstream:
        _, found = await ask(upstream, stream=stream, thinking_budget=3)
        assert (found["reasoning_content"], found["content"]) == ("One two", "First. Last.")


# -- a thought that llama-server does not bound, because it is sampled on the GPU


ENDLESS = (*THOUGHT, counted(thought(" three"), 6), counted(thought(" four"), 7))
SPENT = {"continue_final_message": "content", "add_generation_prompt": False, "reasoning_budget_tokens": 0}


async def ask_engine_sampled(
    upstream: FakeUpstream, *, stream: bool, **fields: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what an answer amounts to, and the bodies that llama-server got."""
    upstream.control["/props"][1]["chat_template"] = "<|tool_call>"
    gateway = make_gateway(upstream, backend_sampling=BackendSampling.ON)
    options = {"stream_options": {"include_usage": True}} if stream else {}
    async with client_of(gateway) as client:
        found = told(await client.post(CHAT, json=(STREAMED if stream else PLAIN) | options | fields))
    return found, [call.body for call in upstream.calls]


@BOTH
@scenario
async def test_it_is_left_where_its_budget_is_spent_and_gone_on_with_from_there(stream: bool) -> None:
    rest = whole(counted(text("Hello"), 1), counted(text("!"), 2), written=3)
    async with FakeUpstream(default=rest).listening() as upstream:
        upstream.plan.append(stall(*ENDLESS))
        found, (first, second) = await ask_engine_sampled(upstream, stream=stream, thinking_budget=4, max_tokens=100)
        assert found == ANSWERED | {"reasoning_content": "One two three", "usage": (7 + 3, 4)}
        assert first["backend_sampling"] is True
        assert "reasoning_budget_tokens" not in first
        assert second.items() >= SPENT.items()
        assert "backend_sampling" not in second
        assert second["chat_template_kwargs"] == {"enable_thinking": True}  # its prompt begins as the first one did
        said = {"role": "assistant", "reasoning_content": "One two three", "content": ""}
        assert second["messages"] == [*first["messages"], said]
        assert (first["max_tokens"], second["max_tokens"]) == (100, 93)


@BOTH
@scenario
async def test_the_text_between_two_thoughts_is_gone_on_with_too(stream: bool) -> None:
    rest = whole(counted(text("Last."), 1), written=2)
    async with FakeUpstream(default=rest).listening() as upstream:
        upstream.plan.append(stall(*THOUGHT, counted(text("First. "), 8), counted(thought("Three"), 12)))
        found, (_, second) = await ask_engine_sampled(upstream, stream=stream, thinking_budget=3)
        assert (found["reasoning_content"], found["content"]) == ("One two", "First. Last.")
        said = {"role": "assistant", "reasoning_content": "One two", "content": "First. "}
        assert second["messages"][-1] == said


@BOTH
@scenario
async def test_a_thought_that_ended_by_itself_is_not_left(stream: bool) -> None:
    """Its end may come in the same piece as what went beyond the budget."""
    come = b"".join([*ENDLESS, counted(text("Done."), 9)])
    async with FakeUpstream(default=answer(come, finish(), usage(5, 10, 3), DONE)).listening() as upstream:
        found, bodies = await ask_engine_sampled(upstream, stream=stream, thinking_budget=4)
        assert (found["reasoning_content"], found["content"]) == ("One two three", "Done.")
        assert len(bodies) == 1


@BOTH
@scenario
async def test_a_spent_thought_after_which_nothing_comes_is_asked_for_its_answer(stream: bool) -> None:
    async with FakeUpstream(default=GOOD).listening() as upstream:
        upstream.plan += [stall(*ENDLESS), whole(written=1)]
        found, (first, _, third) = await ask_engine_sampled(upstream, stream=stream, thinking_budget=4)
        assert (found["reasoning_content"], found["content"]) == ("One two three", "Hello!")
        assert third["messages"] == first["messages"]
        assert third["chat_template_kwargs"] == {"enable_thinking": False}
        assert "continue_final_message" not in third


# -- thoughts that are given back


@BOTH
@scenario
async def test_a_call_that_comes_back_without_its_thought_gets_it_back_from_the_same_key_only(stream: bool) -> None:
    call = (counted(call_begins(0, "abc", "f"), 9), counted(call_goes_on(0, "{}"), 12))
    async with FakeUpstream(default=GOOD).listening() as upstream:
        gateway = make_gateway(upstream)
        gateway._config = type(gateway._config)(
            keys=KeyRing({"tester": AUTH["authorization"].removeprefix("Bearer "), "other": "k"}),
            limits=gateway._config.limits,
        )
        upstream.plan.append(answer(*THOUGHT, *call, finish("tool_calls"), usage(5, 13, 3), DONE))
        history = [
            *QUESTION,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_abc", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "call_abc", "content": "5"},
        ]
        async with client_of(gateway) as client:
            first = told(await client.post(CHAT, json=PLAIN | {"tools": TOOLS, "stream": stream}))
            assert (first["calls"], first["finish"]) == (1, "tool_calls")
            await client.post(CHAT, json={"messages": history, "tools": TOOLS})
        async with client_of(gateway, {"authorization": "Bearer k"}) as other:
            await other.post(CHAT, json={"messages": history, "tools": TOOLS})
        _, mine, others = (call.body["messages"] for call in upstream.calls)
        assert mine[1]["reasoning_content"] == "One two"
        assert "reasoning_content" not in others[1]


def test_the_fake_counts_as_the_server_does() -> None:
    assert counted(sse({"a": 1}), 4) == b'data: {"a":1,"timings":{"cache_n":3,"prompt_n":2,"predicted_n":4}}\n\n'
