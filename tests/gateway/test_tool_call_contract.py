"""The tool-call contract: whatever the schema and whatever is written, nothing invalid leaves, nothing is missing."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st
from test_toolcalls_normalise import declare, json_values, schemas

from gateway.answers.answer import Answer, Restarted
from gateway.errors import MalformedAnswer, ToolCallInvalid
from gateway.events import Counts, Finish, TextDelta, ToolCall, ToolCallDelta, Usage
from gateway.request import GenerationRequest, ToolChoice
from gateway.toolcalls.policy import Outcome
from gateway.toolcalls.toolbox import compile_tools

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.events import UpstreamEvent
    from gateway.upstream.chat import ChatStream

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
anything = json_values.map(json.dumps) | st.dictionaries(st.sampled_from("abcd"), json_values).map(json.dumps)
written = st.sampled_from(["", "{", "null", '"f"', '"g"', '{"n": "5"}', '{"n": 5}']) | anything


class Stream:
    """An answer that has come already."""

    def __init__(self, events: Sequence[UpstreamEvent]) -> None:
        self._events = events

    async def batches(self) -> AsyncIterator[list[UpstreamEvent]]:
        yield list(self._events)

    async def end_thought(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def ending(reason: str, tokens: int) -> list[UpstreamEvent]:
    return [Finish(reason), Usage(10, tokens)]


async def answered(request: GenerationRequest, first: list[UpstreamEvent], replies: list[str]) -> tuple[Any, ...]:
    """Return the calls that are passed on, the ending's reason, the tokens written, and the answer itself."""
    left = [first, *([TextDelta(reply), *ending("stop", 5)] for reply in replies)]

    async def open_stream(_: GenerationRequest) -> ChatStream:
        if not left:
            raise MalformedAnswer("nothing more")
        return Stream(left.pop(0))  # type: ignore[return-value]

    answer = Answer(request, open_stream, restartable=False)
    await answer.begin()
    events: list[Any] = []
    async for batch in answer.batches():
        assert not isinstance(batch, Restarted)
        events += batch
    calls = [event for event in events if isinstance(event, ToolCall)]
    *_, finish, usage = events
    return calls, finish, usage.completion_tokens, answer


@given(
    schema=schemas,
    calls=st.lists(st.tuples(st.sampled_from(["f", "f", "g", "h"]), written), max_size=3),
    replies=st.lists(written, max_size=6),
    required=st.booleans(),
    parallel=st.booleans(),
)
def test_every_call_is_valid_or_the_answer_is_refused(
    schema: dict[str, Any], calls: list[tuple[str, str]], replies: list[str], required: bool, parallel: bool
) -> None:
    tools = [declare("f", schema), declare("g", SCHEMA)]
    choice = ToolChoice("required" if required else "auto")
    box = compile_tools(tools, choice, parallel=parallel)
    request = GenerationRequest(
        messages=[{"role": "user", "content": "Hi"}],
        tools=tools,
        tool_choice=choice,
        toolbox=box,
    )
    first: list[UpstreamEvent] = [TextDelta("Well."), Counts(10, 0, 19)]
    first += [ToolCallDelta(index, f"id{index}", name, arguments) for index, (name, arguments) in enumerate(calls)]
    first += ending("tool_calls" if calls else "stop", 20)
    try:
        passed, finish, tokens, answer = asyncio.run(answered(request, first, replies))
    except ToolCallInvalid:
        return
    validators = {"f": jsonschema.Draft202012Validator(schema), "g": jsonschema.Draft202012Validator(SCHEMA)}
    assert all(validators[call.name].is_valid(json.loads(call.arguments)) for call in passed)
    wanted = calls if parallel else calls[:1]
    assert len(passed) == (len(wanted) or int(required))
    assert [call.id for call in passed] == [f"id{index}" for index in range(len(wanted))] or not calls
    assert finish == Finish("tool_calls" if passed else "stop")
    assert sum(answer.report.outcomes.values()) == len(passed)
    assert tokens == 20 + answer.report.tokens
    for call, (name, arguments) in zip(passed, wanted, strict=False):
        came = ToolCall(call.id, name, arguments)
        assert call == came or box.check(came)  # what was valid is the same, byte for byte
    assert answer.report.outcomes[Outcome.REPAIRED] or tokens == 20
