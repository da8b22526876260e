"""Calls that are asked for again, as clients see it: the ladder, its ends, what it costs, and who is told."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from driving import (
    Client,
    client_of,
    make_gateway,
    outcomes,
    samples,
    tokens,
)
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
    stall,
    text,
    thought,
    usage,
    vanish,
)

from gateway.answers.repair import MOST_ASKED, roomy
from gateway.toolcalls.grammar_schema import BARE, TIGHT, WIDE, grammar_schema
from gateway.toolcalls.policy import CallHandling, Mode, ToolCallPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx
    from fake_upstream import Call

    from gateway.application import Gateway

    Behaviour = Callable[[Call], Awaitable[None]]

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
HEADER = "x-warmgate-tool-calls"
TIMER: dict[str, Any] = {
    "type": "object",
    "properties": {"minutes": {"type": "integer"}, "label": {"type": "string"}},
    "required": ["minutes"],
}
SWITCH: dict[str, Any] = {"type": "object", "properties": {"on": {"type": "boolean"}}}
TOOLS = [
    {"type": "function", "function": {"name": "timer", "parameters": TIMER}},
    {"type": "function", "function": {"name": "switch", "parameters": SWITCH}},
]
BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "tools": TOOLS}
MALFORMED = "The model produced output that does not match the expected peg-gemma4 format"
GOOD, BAD = '{"minutes":5}', '{"minutes":"five"}'


def calls(*called: tuple[str, str], reason: str = "tool_calls", before: tuple[bytes, ...] = ()) -> Behaviour:
    """Answer with calls; they take 10 tokens of 20."""
    pieces = [
        piece
        for index, (name, arguments) in enumerate(called)
        for piece in (call_begins(index, f"id{index}", name), call_goes_on(index, arguments))
    ]
    return answer(ROLE, *before, *pieces, finish(reason), usage(20, 10, 4), DONE)


def says(written: str, reason: str = "stop") -> Behaviour:
    """Answer with text; it takes 3 tokens of 30."""
    return answer(ROLE, text(written), finish(reason), usage(30, 3, 20), DONE)


class Told:
    """What a client of Chat Completions was told."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.text = self.thought = ""
        self.calls: list[tuple[str, str, str]] = []
        self.finish: str | None = None
        self.error: dict[str, Any] = {}
        self.usage: tuple[int, int, int] | None = None
        self.handled = response.headers.get(HEADER, "")
        for line in response.text.splitlines():
            if line.startswith(f": {HEADER}: "):
                self.handled = line.removeprefix(f": {HEADER}: ")
        streamed = response.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
        for part in [json.loads(line) for line in lines if line != "[DONE]"] if streamed else [response.json()]:
            self._read(part)

    def _read(self, part: dict[str, Any]) -> None:
        self.error = part.get("error", self.error)
        for choice in part.get("choices", ()):
            said = choice.get("delta") or choice.get("message") or {}
            self.text += said.get("content") or ""
            self.thought += said.get("reasoning_content") or ""
            for call in said.get("tool_calls") or ():
                self.calls.append((call["id"], call["function"]["name"], call["function"]["arguments"]))
            self.finish = choice["finish_reason"] or self.finish
        if tokens := part.get("usage"):
            details = tokens["prompt_tokens_details"]
            self.usage = (tokens["prompt_tokens"], tokens["completion_tokens"], details["cached_tokens"])


async def ask(gateway: Gateway, *, stream: bool, headers: dict[str, str] | None = None, **fields: Any) -> Told:
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    async with client_of(gateway) as client:
        return Told(await client.post(CHAT, json=BODY | options | fields, headers=headers or {}))


def formats(upstream: FakeUpstream) -> list[Any]:
    """Return the schemas that the model was asked for when it was asked again."""
    asked = [call.body["response_format"] for call in upstream.calls if "response_format" in call.body]
    return [one["json_schema"]["schema"] if one["type"] == "json_schema" else None for one in asked]


# -- the ladder


@BOTH
@scenario
async def test_a_broken_call_is_asked_for_again_in_its_place_with_its_id(stream: bool) -> None:
    first = calls(("switch", '{"on":true}'), ("timer", BAD), ("switch", '{"on":"false"}'), before=(text("Now."),))
    async with FakeUpstream(default=says(GOOD)).listening() as upstream:
        upstream.plan.append(first)
        gateway = make_gateway(upstream)
        told = await ask(gateway, stream=stream, max_tokens=100)
        assert told.calls == [
            ("call_id0", "switch", '{"on":true}'),
            ("call_id1", "timer", GOOD),
            ("call_id2", "switch", '{"on":false}'),
        ]
        assert (told.text, told.finish, told.handled) == ("Now.", "tool_calls", "repaired; attempts=2")
        assert told.usage == (50, 13, 24)
        again = upstream.calls[1].body
        assert (again["tools"], again["tool_choice"], again["temperature"]) == (TOOLS, "none", 0.2)
        assert again["max_tokens"] == 4096  # a bound of its own
        assert again["reasoning_budget_tokens"] == 0
        assert again["messages"][0] == BODY["messages"][0]
        assert [message["role"] for message in again["messages"][1:]] == ["assistant", "tool"]
        assert 'minutes: "five" is not of type "integer"' in again["messages"][2]["content"]
        found = samples(gateway)
        model, route = "model=fake-model", "route=chat_completions"
        assert {name: count for name, count in found.items() if "tool_call" in name and "_bucket" not in name} == {
            f"warmgate_tool_calls_total{{{model},outcome=valid,{route}}}": 1,
            f"warmgate_tool_calls_total{{{model},outcome=repaired,{route}}}": 1,
            f"warmgate_tool_calls_total{{{model},outcome=normalized,{route}}}": 1,
            "warmgate_tool_call_normalizations_total{rule=quoted}": 1,
            f"warmgate_tool_call_repairs_total{{{model},{route}}}": 1,
            f"warmgate_tool_call_attempts_count{{{model},{route}}}": 1,
            f"warmgate_tool_call_attempts_sum{{{model},{route}}}": 2,
        }
        assert (tokens(gateway)["repair"], tokens(gateway)["answer"]) == (3, 10)


@BOTH
@scenario
async def test_what_comes_back_is_put_right_too_and_the_last_time_something_short_is_asked_for(stream: bool) -> None:
    async with FakeUpstream().listening() as upstream:
        upstream.plan += [calls(("timer", BAD)), says('{"minutes":', "length"), says('{"minutes":"7"}')]
        told = await ask(make_gateway(upstream), stream=stream)
        assert told.calls == [("call_id0", "timer", '{"minutes":7}')]
        assert told.handled == "repaired; attempts=3"
        assert formats(upstream) == [grammar_schema(TIMER, WIDE), grammar_schema(TIMER, TIGHT)]


@BOTH
@scenario
async def test_a_tool_that_was_not_declared_is_chosen_again(stream: bool) -> None:
    async with FakeUpstream().listening() as upstream:
        upstream.plan += [calls(("door", '{"on":1}')), says("no"), says('"switch"'), says('{"on":true}')]
        told = await ask(make_gateway(upstream), stream=stream)
        assert told.calls == [("call_id0", "switch", '{"on":true}')]
        assert told.handled == "repaired; attempts=4"
        assert upstream.calls[3].body["messages"][1] == {"role": "assistant", "content": 'door({"on":1})'}


@BOTH
@scenario
async def test_a_call_that_stays_broken_is_refused_and_not_shown(stream: bool) -> None:
    async with FakeUpstream(default=says('{"minutes":"soon"}')).listening() as upstream:
        upstream.plan.append(calls(("timer", BAD), before=(text("Now."),)))
        gateway = make_gateway(upstream)
        told = await ask(gateway, stream=stream)
        assert told.status == (200 if stream else 502)
        assert told.error == {
            "message": 'The model\'s call of the tool \'timer\' is not valid: minutes: "soon" is not of type "integer"',
            "type": "server_error",
            "param": None,
            "code": "tool_call_invalid",
        }
        assert (told.calls, told.finish, told.handled) == ([], None, "refused; attempts=3")
        assert outcomes(gateway) == {"chat_completions tool_call_invalid": 1}
        assert (
            samples(gateway)["warmgate_tool_calls_total{model=fake-model,outcome=refused,route=chat_completions}"] == 1
        )
        assert samples(gateway)["warmgate_requests_in_flight"] == 0


@BOTH
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
@scenario
async def test_other_dialects_refuse_in_their_own_words(path: str, stream: bool) -> None:
    if path == "/v1/messages":
        body: dict[str, Any] = {
            "messages": BODY["messages"],
            "max_tokens": 100,
            "tools": [{"name": "timer", "input_schema": TIMER}],
        }
    else:
        body = {"input": "Hi", "tools": [{"type": "function", "name": "timer", "parameters": TIMER}]}
    async with FakeUpstream(default=says("{}")).listening() as upstream:
        upstream.plan.append(calls(("timer", BAD), before=(text("Now."),)))
        async with client_of(make_gateway(upstream)) as client:
            response = await client.post(path, json=body | {"stream": stream})
    message = "The model's call of the tool 'timer' is not valid: \\\"minutes\\\" is a required property"
    assert response.status_code == (200 if stream else 502)
    assert message in response.text
    assert "five" not in response.text
    if stream:
        assert f": {HEADER}: refused; attempts=3\n\n" in response.text
        assert ("event: error" if path == "/v1/messages" else "event: response.failed") in response.text
        assert "event: message_stop" not in response.text
    else:
        assert response.headers[HEADER] == "refused; attempts=3"


@BOTH
@scenario
async def test_a_long_text_in_a_broken_call_has_room_to_be_written_again(stream: bool) -> None:
    letter = {"minutes": "five", "label": "x" * 10_000}
    async with FakeUpstream(default=says("{")).listening() as upstream:
        upstream.plan.append(calls(("timer", json.dumps(letter))))
        await ask(make_gateway(upstream), stream=stream)
        rooms = [replace(bounds, characters=32_768) for bounds in (WIDE, TIGHT, BARE)]
        assert formats(upstream) == [grammar_schema(TIMER, bounds) for bounds in rooms]


@BOTH
@scenario
async def test_what_was_cut_off_is_not_quoted_to_the_model(stream: bool) -> None:
    async with FakeUpstream(default=says(GOOD)).listening() as upstream:
        upstream.plan += [calls(("timer", BAD)), says('{"minutes":1,"label":"and so on and', "length")]
        told = await ask(make_gateway(upstream), stream=stream)
        assert told.calls == [("call_id0", "timer", GOOD)]
        assert upstream.calls[2].body["messages"] == upstream.calls[1].body["messages"]


@BOTH
@scenario
async def test_if_even_something_short_does_not_end_what_is_required_alone_is_asked_for(stream: bool) -> None:
    endless = says('{"minutes":1,"label":"and so on and', "length")
    async with FakeUpstream().listening() as upstream:
        upstream.plan += [calls(("timer", BAD)), endless, endless, says(GOOD)]
        told = await ask(make_gateway(upstream), stream=stream)
        assert (told.calls, told.handled) == ([("call_id0", "timer", GOOD)], "repaired; attempts=4")
        assert formats(upstream) == [grammar_schema(TIMER, bounds) for bounds in (WIDE, TIGHT, BARE)]
        assert "label" not in str(formats(upstream)[-1])


@BOTH
@scenario
async def test_a_prompt_that_the_broken_call_makes_too_long_is_asked_without_it_under_the_same_grammar(
    stream: bool,
) -> None:
    no = refuse_with(400, "exceed_context_size_error", "request (9 tokens) exceeds the context (8 tokens)")
    async with FakeUpstream(default=says(GOOD)).listening() as upstream:
        upstream.plan += [calls(("timer", BAD)), no]
        told = await ask(make_gateway(upstream), stream=stream)
        assert told.calls == [("call_id0", "timer", GOOD)]
        assert formats(upstream) == [grammar_schema(TIMER, WIDE)] * 2
        assert BAD not in str(upstream.calls[2].body["messages"])


@pytest.mark.parametrize(
    ("arguments", "characters", "items"),
    [
        ("{}", 64, 1),
        ('{"a":"' + "x" * 33 + '"}', 128, 1),
        ('{"a":{"b":[[1,2,3],"' + "x" * 64 + '"]}}', 128, 8),
        ("not JSON" * 100, 2048, 1),
    ],
)
def test_there_is_room_for_twice_of_what_a_broken_call_holds(arguments: str, characters: int, items: int) -> None:
    wide, tight, bare, any_object = roomy(arguments)
    assert tight == replace(TIGHT, characters=characters, items=items)
    assert bare == replace(BARE, characters=characters, items=items)
    assert (wide, any_object) == (WIDE, None)


@scenario
async def test_the_model_is_not_asked_for_ever() -> None:
    async with FakeUpstream(default=says(GOOD)).listening() as upstream:
        upstream.plan.append(calls(*[("timer", BAD)] * (MOST_ASKED + 1)))
        told = await ask(make_gateway(upstream), stream=False)
        assert (told.status, told.error["code"]) == (502, "tool_call_invalid")
        assert "It could not be asked for again: the model was asked 64 times" in told.error["message"]
        assert told.handled == f"refused; attempts={1 + MOST_ASKED}"


# -- a model that thinks where the grammar leaves room for it


@BOTH
@scenario
async def test_a_model_that_thinks_instead_is_cut_short_and_asked_with_thought_switched_off(stream: bool) -> None:
    noise = stall(ROLE, thought("the of and"))
    async with FakeUpstream().listening() as upstream:
        upstream.plan += [calls(("timer", BAD)), noise, says('{"minutes":', "length"), says(GOOD)]
        told = await ask(make_gateway(upstream), stream=stream)
        assert (told.calls, told.thought) == ([("call_id0", "timer", GOOD)], "")
        assert told.handled == "repaired; attempts=4"  # two beside the one that was cut short
        cut, *after = upstream.calls[1:]
        await cut.hung_up.wait()
        assert [call.body["chat_template_kwargs"] for call in (cut, *after)] == [
            {"enable_thinking": True},
            *[{"enable_thinking": False}] * 2,
        ]
        assert after[0].body["messages"] == cut.body["messages"]
        assert formats(upstream) == [grammar_schema(TIMER, bounds) for bounds in (WIDE, TIGHT, TIGHT)]


@BOTH
@scenario
async def test_one_that_thinks_instead_of_choosing_is_not_given_room_again(stream: bool) -> None:
    async with FakeUpstream().listening() as upstream:
        upstream.plan += [says("Sure."), stall(ROLE, thought("the")), says("no"), says('"timer"'), says(GOOD)]
        told = await ask(make_gateway(upstream), stream=stream, tool_choice="required")
        assert [call[1:] for call in told.calls] == [("timer", GOOD)]
        switches = [call.body["chat_template_kwargs"]["enable_thinking"] for call in upstream.calls]
        assert switches == [True, True, False, False, False]


@BOTH
@scenario
async def test_one_that_thinks_even_so_is_not_cut_short(stream: bool) -> None:
    thinks = answer(ROLE, thought("Hm."), text(GOOD), finish(), usage(), DONE)
    async with FakeUpstream(default=thinks).listening() as upstream:
        upstream.plan.append(calls(("timer", BAD)))
        told = await ask(make_gateway(upstream), stream=stream)
        assert (told.calls, told.handled) == ([("call_id0", "timer", GOOD)], "repaired; attempts=3")


# -- choice


@BOTH
@pytest.mark.parametrize(
    ("said", "reason"),
    [("Sure.", "stop"), ("I would rather not do that. " * 9, "stop"), ("Sure.", "length"), ("", "stop")],
)
@scenario
async def test_a_call_that_was_required_is_made_and_the_text_is_not_passed_on(
    said: str, reason: str, stream: bool
) -> None:
    async with FakeUpstream().listening() as upstream:
        upstream.plan += [says(said, reason), says('"timer"'), says(GOOD)]
        told = await ask(make_gateway(upstream), stream=stream, tool_choice="required")
        ((id_, *call),) = told.calls
        assert id_.startswith("call_")
        assert (call, told.text, told.finish) == (["timer", GOOD], "", "tool_calls")
        assert told.handled == "repaired; attempts=3"
        assert len(upstream.calls) == 3


@BOTH
@scenario
async def test_an_answer_that_will_not_become_the_required_call_is_cut_early(stream: bool) -> None:
    async with FakeUpstream().listening() as upstream:
        upstream.plan += [stall(ROLE, text("No. " * 50)), says('"timer"'), says(GOOD)]
        told = await ask(make_gateway(upstream), stream=stream, tool_choice="required")
        assert [call[1:] for call in told.calls] == [("timer", GOOD)]
        await upstream.calls[0].hung_up.wait()


@BOTH
@scenario
async def test_after_a_thought_alone_the_required_call_is_asked_for_at_once_and_remembers_it(stream: bool) -> None:
    async with FakeUpstream().listening() as upstream:
        upstream.plan += [
            answer(ROLE, thought("Hm."), finish(), usage(20, 10, 4), DONE),
            says(GOOD),
        ]
        gateway = make_gateway(upstream)
        named = {"type": "function", "function": {"name": "timer"}}
        told = await ask(gateway, stream=stream, tool_choice=named)
        ((id_, *call),) = told.calls
        assert (call, told.thought, told.finish) == (["timer", GOOD], "Hm.", "tool_calls")
        assert [body["tools"] for body in (call.body for call in upstream.calls)] == [TOOLS[:1]] * 2
        function = {"name": "timer", "arguments": GOOD}
        history = [
            *BODY["messages"],
            {"role": "assistant", "tool_calls": [{"id": id_, "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": id_, "content": "ok"},
        ]
        await ask(gateway, stream=stream, messages=history)
        assert upstream.calls[-1].body["messages"][1]["reasoning_content"] == "Hm."


@BOTH
@scenario
async def test_a_required_call_that_does_not_come_even_then_is_refused(stream: bool) -> None:
    async with FakeUpstream(default=says("No.")).listening() as upstream:
        told = await ask(make_gateway(upstream), stream=stream, tool_choice="required")
        assert (told.status, told.error["code"]) == (502, "tool_call_invalid")
        assert told.error["message"] == "A tool had to be called, and none was."


@BOTH
@pytest.mark.parametrize(
    "unreadable",
    [
        refuse_with(500, "server_error", MALFORMED),
        answer(ROLE, thought("Hm."), error_event(MALFORMED)),
        answer(ROLE, call_begins(0, "a", "timer"), call_goes_on(0, BAD), error_event(MALFORMED)),
    ],
    ids=["at once", "in its thought", "after a broken call"],
)
@scenario
async def test_a_required_call_is_made_where_the_answer_stays_unreadable(unreadable: Behaviour, stream: bool) -> None:
    async with FakeUpstream().listening() as upstream:
        upstream.plan += [*[unreadable] * 3, says('"timer"'), says(GOOD)]
        gateway = make_gateway(upstream)
        told = await ask(gateway, stream=stream, tool_choice="required")
        assert [call[1:] for call in told.calls] == [("timer", GOOD)]
        assert (told.status, told.finish, told.handled) == (200, "tool_calls", "repaired; attempts=3")
        assert len(upstream.calls) == 5
        assert outcomes(gateway) == {"chat_completions ok": 1}


@BOTH
@scenario
async def test_an_unreadable_answer_that_needs_no_call_is_an_error_as_ever(stream: bool) -> None:
    async with FakeUpstream(default=answer(ROLE, error_event(MALFORMED))).listening() as upstream:
        told = await ask(make_gateway(upstream), stream=stream)
        assert (told.status, told.error["code"], len(upstream.calls)) == (502, "malformed_answer", 3)


@BOTH
@scenario
async def test_a_call_that_max_tokens_cut_off_is_left_out(stream: bool) -> None:
    async with FakeUpstream().listening() as upstream:
        upstream.plan.append(calls(("timer", GOOD), ("timer", '{"minu'), reason="length"))
        upstream.plan.append(calls(("timer", '{"minu'), reason="length"))
        gateway = make_gateway(upstream)
        some = await ask(gateway, stream=stream, max_tokens=10)
        assert (some.calls, some.finish, some.handled) == ([("call_id0", "timer", GOOD)], "length", "valid; attempts=1")
        none = await ask(gateway, stream=stream, max_tokens=10)
        assert (none.calls, none.finish, none.handled) == ([], "length", "")
        assert len(upstream.calls) == 2


# -- a server that fails meanwhile


@BOTH
@pytest.mark.parametrize(
    "failure",
    [
        break_off(ROLE, text('{"min')),
        answer(ROLE, error_event()),
        refuse_with(500, "server_error", MALFORMED),
    ],
)
@scenario
async def test_an_answer_that_breaks_off_when_asked_again_is_one_attempt(failure: Behaviour, stream: bool) -> None:
    async with FakeUpstream(default=failure).listening() as upstream:
        upstream.plan += [calls(("switch", '{"on":1}')), failure, says('{"on":true}')]
        gateway = make_gateway(upstream)
        assert (await ask(gateway, stream=stream)).calls == [("call_id0", "switch", '{"on":true}')]
        upstream.plan.append(calls(("switch", '{"on":1}')))
        told = await ask(gateway, stream=stream)
        assert (told.calls, told.error["code"]) == ([], "tool_call_invalid")  # and not `{}`, which would be valid


@BOTH
@scenario
async def test_where_the_server_cannot_read_the_grammar_a_plainer_one_is_asked_for(stream: bool) -> None:
    no = refuse_with(400, "invalid_request_error", "failed to parse grammar")
    async with FakeUpstream(default=no).listening() as upstream:
        upstream.plan += [calls(("timer", BAD)), no, no, no, says(GOOD)]
        gateway = make_gateway(upstream)
        assert (await ask(gateway, stream=stream)).calls == [("call_id0", "timer", GOOD)]
        assert formats(upstream) == [*(grammar_schema(TIMER, bounds) for bounds in (WIDE, TIGHT, BARE)), None]
        upstream.plan.append(calls(("timer", BAD)))
        told = await ask(gateway, stream=stream)
        assert (told.status, told.error["code"]) == (502, "tool_call_invalid")
        why = "llama-server cannot make a grammar of this JSON Schema: failed to parse grammar"
        assert told.error["message"].endswith(f"It could not be asked for again: {why}")


@BOTH
@scenario
async def test_a_server_that_is_gone_is_what_the_client_is_told_of(stream: bool) -> None:
    async with FakeUpstream(default=vanish).listening() as upstream:
        upstream.plan.append(calls(("timer", BAD)))
        told = await ask(make_gateway(upstream), stream=stream)
        assert (told.status, told.error["code"], told.calls) == (502, "upstream_error", [])


# -- while it is asked again


@scenario
async def test_text_has_flowed_and_keep_alives_flow_while_a_call_is_asked_for_again() -> None:
    go_on = asyncio.Event()
    async with FakeUpstream(default=answer(ROLE, go_on, text(GOOD), finish(), usage(), DONE)).listening() as upstream:
        upstream.plan.append(calls(("timer", BAD), before=(text("Now."),)))
        client = Client(make_gateway(upstream, keep_alive_seconds=0.01), BODY | {"stream": True})
        assert await client.status() == 200
        while b"Now." not in await client.piece():
            pass
        while not (await client.piece()).startswith(b":"):
            pass
        go_on.set()
        assert b"call_id0" in await client.rest()


@BOTH
@scenario
async def test_a_client_that_leaves_meanwhile_frees_the_slot(stream: bool) -> None:
    async with FakeUpstream(default=stall(ROLE, text('{"'))).listening() as upstream:
        upstream.plan.append(calls(("timer", BAD)))
        gateway = make_gateway(upstream)
        client = Client(gateway, BODY | {"stream": stream})
        await upstream.arrived.get()
        again = await upstream.arrived.get()
        await client.leave()
        await again.hung_up.wait()
        assert samples(gateway)["warmgate_requests_in_flight"] == 0
        assert outcomes(gateway) == {"chat_completions cancelled": 1}


@scenario
async def test_an_answer_that_begins_anew_forgets_what_became_of_its_calls() -> None:
    lost = break_off(ROLE, call_begins(0, "a", "timer"), call_goes_on(0, GOOD), call_begins(1, "b", "timer"))
    async with FakeUpstream().listening() as upstream:
        upstream.plan += [lost, calls(("timer", '{"minutes":"5"}'))]
        gateway = make_gateway(upstream)
        told = await ask(gateway, stream=False)
        assert (told.calls, told.handled) == ([("call_id0", "timer", GOOD)], "normalized; attempts=1")
        assert "warmgate_tool_calls_total{model=fake-model,outcome=valid,route=chat_completions}" not in samples(
            gateway
        )


# -- who wants what


@BOTH
@pytest.mark.parametrize(("mode", "handled"), [("validate", "invalid; attempts=1"), ("off", "")])
@scenario
async def test_a_client_may_ask_for_less(mode: str, handled: str, stream: bool) -> None:
    async with FakeUpstream(default=calls(("timer", BAD))).listening() as upstream:
        told = await ask(make_gateway(upstream), stream=stream, headers={HEADER: mode}, tool_choice="required")
        assert (told.calls, told.finish, told.handled) == ([("call_id0", "timer", BAD)], "tool_calls", handled)
        assert len(upstream.calls) == 1


@scenario
async def test_a_mode_that_there_is_not_is_refused() -> None:
    async with FakeUpstream().listening() as upstream:
        told = await ask(make_gateway(upstream), stream=False, headers={HEADER: "maybe"})
        assert (told.status, told.error["param"]) == (400, HEADER)


@scenario
async def test_a_key_has_its_mode_and_its_owner_may_ask_for_another() -> None:
    policy = ToolCallPolicy(handling=CallHandling(most_repairs=1, max_tokens=50), by_key={"tester": Mode.VALIDATE})
    async with FakeUpstream(default=says(GOOD)).listening() as upstream:
        upstream.plan += [calls(("timer", BAD)), calls(("timer", BAD))]
        gateway = make_gateway(upstream, tool_calls=policy)
        assert (await ask(gateway, stream=False)).handled == "invalid; attempts=1"
        asked = await ask(gateway, stream=False, headers={HEADER: "Repair"})
        assert asked.handled == "repaired; attempts=2"
        assert upstream.calls[-1].body["max_tokens"] == 50
        assert formats(upstream) == [grammar_schema(TIMER, TIGHT)]  # the only attempt is the last


@scenario
async def test_valid_calls_and_no_calls_cost_nothing() -> None:
    async with FakeUpstream(default=calls(("timer", GOOD))).listening() as upstream:
        upstream.plan.append(says("No."))
        gateway = make_gateway(upstream)
        assert (await ask(gateway, stream=False)).handled == ""
        assert (await ask(gateway, stream=False)).handled == "valid; attempts=1"
        assert len(upstream.calls) == 2
