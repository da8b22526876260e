"""Every scene of the contract model, through every dialect, streamed and not, behind the real llama-server b11549.

What llama-server alone makes of the same scenes is pinned in `test_upstream_behaviour`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from contract.model.acts import ACTS
from contract.playing import CHAT, DIALECTS, MESSAGES, RESPONSES, play
from contract.scenes import SCENES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from conftest import Warmgate

    from contract.playing import Played

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
EVERYWHERE = pytest.mark.parametrize("path", DIALECTS)

AS_IT_COMES = [
    "plain",
    "think",
    "think-long",
    "thought-though-off",
    "count",
    "talks-about-calls",
    "call",
    "say-and-call",
    "long-call",
    "parallel",
    "chain",
    "loop",
    "codex",
    "claude",
]
"""What is passed on unchanged."""

PUT_RIGHT: dict[str, list[tuple[str, Any]]] = {
    "nested-call": [("plan_trip", {"budget": 99.5, "days": 3, "options": {"fast": True}, "stops": ["Paris", "Oslo"]})],
    "quoted-number": [("set_timer", {"label": "tea", "minutes": 5})],
    "double-encoded": [("configure", {"options": {"retries": 3}})],
    "call-as-text": [("get_weather", {"city": "Paris", "unit": "celsius"})],
    "call-as-json": [("get_weather", {"city": "Paris", "unit": "celsius"})],
    "call-in-thought": [("get_weather", {"city": "Paris", "unit": "celsius"})],
}
"""The calls that come of what holds them without a doubt."""

ASKED_AGAIN = ["wrong-type", "retry-once-told", "missing-field", "bad-enum", "unknown-tool"]
"""Calls that only the model can put right. How it does is its own matter; that they are valid is ours."""

CANNOT_BE_READ = ["odd-channel", "stray-open", "stray-close"]
"""Answers of which llama-server drops a part, each time anew."""


@pytest.fixture
def client(contract_warmgate: Warmgate) -> Iterator[httpx.Client]:
    with contract_warmgate.client() as client:
        yield client


def played(client: httpx.Client, path: str, scene: str, *, stream: bool, **fields: Any) -> Played:
    return play(client, path, SCENES[scene].trigger, SCENES[scene].tools, stream=stream, **fields)


def calls_of(scene: str) -> list[tuple[str, Any]]:
    return list(SCENES[scene].calls)


def accepts(scene: str, name: str, arguments: Any) -> bool:
    functions = {tool["function"]["name"]: tool["function"]["parameters"] for tool in SCENES[scene].tools}
    return jsonschema_rs.is_valid(functions[name], arguments)


@BOTH
@EVERYWHERE
@pytest.mark.parametrize("scene", AS_IT_COMES)
def test_what_is_right_is_passed_on_as_it_comes(client: httpx.Client, path: str, scene: str, stream: bool) -> None:
    found = played(client, path, scene, stream=stream)
    act = ACTS[scene]
    assert (found.thought, found.text, found.calls) == (act.thought, act.text, calls_of(scene))
    assert not found.error


@BOTH
@EVERYWHERE
@pytest.mark.parametrize("scene", PUT_RIGHT)
def test_what_holds_a_call_without_a_doubt_becomes_that_call(
    client: httpx.Client, path: str, scene: str, stream: bool
) -> None:
    found = played(client, path, scene, stream=stream)
    assert (found.text, found.calls) == ("", PUT_RIGHT[scene])
    assert not found.error


@BOTH
@EVERYWHERE
@pytest.mark.parametrize("scene", ASKED_AGAIN)
def test_a_broken_call_is_asked_for_again(client: httpx.Client, path: str, scene: str, stream: bool) -> None:
    found = played(client, path, scene, stream=stream)
    assert not found.error
    assert found.text == ""
    assert [accepts(scene, *call) for call in found.calls] == [True]


CUT_OFF = {CHAT: "length", RESPONSES: "incomplete", MESSAGES: "max_tokens"}


@BOTH
@EVERYWHERE
def test_a_call_without_an_end_is_cut_off_and_no_part_of_it_is_sent(
    client: httpx.Client, path: str, stream: bool
) -> None:
    """The model goes on with one argument until `max_tokens`."""
    found = played(client, path, "unterminated", stream=stream)
    assert (found.text, found.calls, found.ending, found.error) == ("", [], CUT_OFF[path], False)


@BOTH
@EVERYWHERE
@pytest.mark.parametrize("scene", CANNOT_BE_READ)
def test_an_answer_that_cannot_be_read_is_an_error_and_never_a_part_of_it(
    client: httpx.Client, path: str, scene: str, stream: bool
) -> None:
    found = played(client, path, scene, stream=stream)
    assert found.error
    assert found.ending is None


@BOTH
@EVERYWHERE
@pytest.mark.parametrize("scene", ["thought-only", "thought-unclosed"])
def test_a_thought_without_an_answer_gets_one(client: httpx.Client, path: str, scene: str, stream: bool) -> None:
    found = played(client, path, scene, stream=stream)
    assert found.text == SCENES[scene].text_without_thinking
    assert found.thought
    assert not found.error


@BOTH
@EVERYWHERE
def test_two_thoughts_and_two_texts_stay_apart(client: httpx.Client, path: str, stream: bool) -> None:
    found = played(client, path, "two-thoughts", stream=stream)
    assert found.text == "Here is the first part. Here is the second part."
    assert "first thought" in found.thought
    assert "second thought" in found.thought


@BOTH
@EVERYWHERE
def test_no_control_token_leaks_into_the_text(client: httpx.Client, path: str, stream: bool) -> None:
    found = played(client, path, "stray-quote", stream=stream)
    assert found.text == ACTS["stray-quote"].raw.replace('<|"|>', "")


@BOTH
@EVERYWHERE
def test_thinking_that_is_off_is_off(client: httpx.Client, path: str, stream: bool) -> None:
    found = played(client, path, "thought-though-off", stream=stream, enable_thinking=False)
    assert (found.thought, found.text) == ("", ACTS["thought-though-off"].text)


ELSEWHERE = {
    "extra-field",  # valid or not by the schema's own word
    "flaky",  # ends in this way or that, by chance
    "flaky-call",
    "json",
    "remember",
    "stray-quote",
    "thought-only",
    "thought-unclosed",
    "two-thoughts",
    "unterminated",
}
"""Scenes with tests of their own."""


def test_every_scene_is_played() -> None:
    assert {*AS_IT_COMES, *PUT_RIGHT, *ASKED_AGAIN, *CANNOT_BE_READ} | ELSEWHERE == set(SCENES)
