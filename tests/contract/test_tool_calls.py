"""The tool-call contract against the real llama-server: no call that its own schema rejects, none missing.

What the model does in each scene is in `model/acts.py`; what llama-server alone makes of it, in
`test_upstream_behaviour`.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from contract.model.acts import ACTS, trigger
from contract.playing import CHAT, DIALECTS, HANDLED, MESSAGES, RESPONSES, play
from contract.scenes import SCENES, tool, tools

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import httpx
    from conftest import Warmgate

    from contract.playing import Played

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
EVERYWHERE = pytest.mark.parametrize("path", DIALECTS)
CALLED = {CHAT: "tool_calls", RESPONSES: "completed", MESSAGES: "tool_use"}
CUT = {CHAT: "length", RESPONSES: "incomplete", MESSAGES: "max_tokens"}
TOKENS = {CHAT: "max_tokens", RESPONSES: "max_output_tokens", MESSAGES: "max_tokens"}
PARIS = ("get_weather", {"city": "Paris", "unit": "celsius"})
REQUIRED: dict[str, Any] = {CHAT: "required", RESPONSES: "required", MESSAGES: {"type": "any"}}

HANDLED_AS = {
    "call": "valid",
    "nested-call": "normalized",  # its `note` may be left out, and may not be null
    "quoted-number": "normalized",
    "double-encoded": "normalized",
    "call-as-text": "normalized",
    "call-as-json": "normalized",
    "call-in-thought": "normalized",
    "wrong-type": "repaired",
    "retry-once-told": "repaired",
    "missing-field": "repaired",
    "bad-enum": "repaired",
    "unknown-tool": "repaired",
    "extra-field": "repaired",
    "talks-about-calls": "",
}


@pytest.fixture
def client(contract_warmgate: Warmgate) -> Iterator[httpx.Client]:
    with contract_warmgate.client() as client:
        yield client


def strict(declared: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the same tools without room for arguments that they do not name."""
    found = copy.deepcopy(list(declared))
    for each in found:
        each["function"]["parameters"]["additionalProperties"] = False
    return found


def check(declared: Sequence[dict[str, Any]], found: Played) -> None:
    """Fail unless all calls are of declared tools, and valid."""
    schemas = {each["function"]["name"]: each["function"]["parameters"] for each in declared}
    assert [call for call in found.calls if not jsonschema_rs.is_valid(schemas[call[0]], call[1])] == []


def named(path: str, name: str) -> dict[str, Any]:
    match path:
        case "/v1/messages":
            return {"type": "tool", "name": name}
        case "/v1/responses":
            return {"type": "function", "name": name}
    return {"type": "function", "function": {"name": name}}


@BOTH
@EVERYWHERE
@pytest.mark.parametrize("scene", HANDLED_AS)
def test_every_misbehaviour_ends_as_the_ladder_says(client: httpx.Client, scene: str, path: str, stream: bool) -> None:
    declared = strict(SCENES[scene].tools)
    found = play(client, path, trigger(scene), declared, stream=stream)
    check(declared, found)
    assert found.handled.partition(";")[0] == HANDLED_AS[scene]
    assert (found.text, bool(found.calls)) == (
        (ACTS[scene].text if scene == "talks-about-calls" else ""),
        bool(HANDLED_AS[scene]),
    )
    if HANDLED_AS[scene]:
        assert found.ending == CALLED[path]
        assert found.thought or scene == "call-in-thought"


@BOTH
@EVERYWHERE
def test_a_broken_call_among_several_is_put_right_in_its_place(client: httpx.Client, path: str, stream: bool) -> None:
    city = {"type": "string", "enum": ["Paris", "Bergen"]}
    declared = [tool("get_weather", "Get the weather.", {"city": city, "unit": {"type": "string"}})]
    found = play(client, path, trigger("parallel"), declared, stream=stream)
    check(declared, found)
    assert (len(found.calls), found.calls[0]) == (2, PARIS)
    assert found.handled.startswith("repaired; ")


@BOTH
@EVERYWHERE
@pytest.mark.parametrize("scene", ["plain", "wrong-type", "thought-only"])
def test_a_required_call_comes(client: httpx.Client, scene: str, path: str, stream: bool) -> None:
    declared = strict(tools("get_weather", "set_timer"))
    found = play(client, path, trigger(scene), declared, stream=stream, tool_choice=REQUIRED[path])
    check(declared, found)
    assert (found.text, len(found.calls), found.ending) == ("", 1, CALLED[path])


@BOTH
@EVERYWHERE
@pytest.mark.parametrize("scene", ["plain", "unknown-tool"])
def test_the_tool_that_is_named_is_called(client: httpx.Client, scene: str, path: str, stream: bool) -> None:
    declared = strict(tools("get_weather", "set_timer", "configure"))
    choice = named(path, "configure")
    found = play(client, path, trigger(scene), declared, stream=stream, tool_choice=choice)
    check(declared, found)
    assert ([name for name, _ in found.calls], found.text, found.ending) == (["configure"], "", CALLED[path])


@BOTH
@EVERYWHERE
def test_who_wants_one_call_gets_one(client: httpx.Client, path: str, stream: bool) -> None:
    less: dict[str, Any] = {"parallel_tool_calls": False}
    if path == MESSAGES:
        less = {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    found = play(client, path, trigger("parallel"), SCENES["parallel"].tools, stream=stream, **less)
    assert found.calls == [PARIS]


@BOTH
@EVERYWHERE
def test_a_call_that_is_cut_off_is_left_out(client: httpx.Client, path: str, stream: bool) -> None:
    fields: dict[str, Any] = {TOKENS[path]: 60, "enable_thinking": False}
    found = play(client, path, trigger("long-call"), SCENES["long-call"].tools, stream=stream, **fields)
    assert (found.calls, found.text, found.ending, found.handled) == ([], "", CUT[path], "")


@BOTH
@EVERYWHERE
def test_a_call_that_never_ends_is_left_out_or_made_where_it_is_required(
    client: httpx.Client, path: str, stream: bool
) -> None:
    declared = SCENES["unterminated"].tools
    fields: dict[str, Any] = {TOKENS[path]: 100, "enable_thinking": False}
    found = play(client, path, trigger("unterminated"), declared, stream=stream, **fields)
    assert (found.calls, found.ending) == ([], CUT[path])
    required = play(
        client, path, trigger("unterminated"), declared, stream=stream, tool_choice=REQUIRED[path], **fields
    )
    check(declared, required)
    assert (len(required.calls), required.ending) == (1, CALLED[path])


@BOTH
@EVERYWHERE
def test_what_nothing_can_meet_is_refused(client: httpx.Client, path: str, stream: bool) -> None:
    minutes = {"type": "integer", "minimum": 5, "maximum": 3}
    declared = [tool("set_timer", "Set a timer.", {"minutes": minutes, "label": {"type": "string"}})]
    found = play(client, path, trigger("wrong-type"), declared, stream=stream)
    assert (found.error, found.calls, found.text) == (True, [], "")
    assert found.handled.startswith("refused; ")


@BOTH
@EVERYWHERE
@pytest.mark.parametrize(("mode", "handled"), [("validate", "invalid; attempts=1"), ("off", "")])
def test_a_client_may_ask_for_less(client: httpx.Client, path: str, mode: str, handled: str, stream: bool) -> None:
    client.headers[HANDLED] = mode
    found = play(client, path, trigger("wrong-type"), SCENES["wrong-type"].tools, stream=stream)
    assert (found.calls, found.handled) == (list(SCENES["wrong-type"].calls), handled)


@EVERYWHERE
def test_a_schema_that_the_template_cannot_show_is_shown_otherwise(client: httpx.Client, path: str) -> None:
    place = {"city": {"type": "string"}, "unit": {"type": "string"}}
    tags = {"type": "array", "items": {"type": ["string", "null"]}}
    declared = [tool("get_weather", "Get the weather.", place | {"tags": tags}, list(place))]
    found = play(client, path, trigger("call"), declared, stream=False)
    assert (found.status, found.calls) == (200, [PARIS])


@pytest.mark.parametrize("scene", ["wrong-type", "bad-enum"])
def test_the_prompt_is_not_computed_again_for_a_repair(client: httpx.Client, scene: str) -> None:
    rules = f"You are called {scene}. " + "Be kind, be brief, and never tell anyone how many there are. " * 40
    messages = [{"role": "system", "content": rules}, *SCENES[scene].messages]
    body = {"messages": messages, "tools": list(SCENES[scene].tools), "temperature": 0, "max_tokens": 300}
    repaired = client.post(CHAT, json=body)
    usage = repaired.json()["usage"]
    alone = client.post(CHAT, json=body, headers={HANDLED: "validate"}).json()["usage"]
    assert repaired.headers[HANDLED] == "repaired; attempts=2"
    again = usage["prompt_tokens"] - alone["prompt_tokens"]
    assert again > alone["prompt_tokens"] > 500
    assert usage["prompt_tokens_details"]["cached_tokens"] > 0.9 * alone["prompt_tokens"]
