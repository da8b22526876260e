"""A budget of N yields at most N tokens of thought, counted by the real server, in all three dialects.

llama-server b11549 itself begins its budget anew with every thought; a test below pins that.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from contract.model.acts import ACTS, trigger

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Warmgate

    from contract.upstream import Upstream

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
DIALECTS = pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
FIRST, SECOND = "Here is the first part. ", "Here is the second part."
TWO = "two-thoughts"
MOST = 900


@pytest.fixture(params=["sampled on the CPU", "sampled in the graph"])
def warmgate(request: pytest.FixtureRequest) -> Warmgate:
    """Return one whose thoughts llama-server bounds, and one whose thoughts we do."""
    name = "contract_warmgate" if request.param == "sampled on the CPU" else "engine_sampled_warmgate"
    found: Warmgate = request.getfixturevalue(name)
    return found


def ask(warmgate: Warmgate, path: str, scene: str, *, stream: bool, **fields: Any) -> tuple[str, str, int]:
    """Return thought, text, and how many tokens of thought the usage tells."""
    words = trigger(scene)
    said = {"input": words} if path == RESPONSES else {"messages": [{"role": "user", "content": words}]}
    most = {"max_output_tokens": MOST} if path == RESPONSES else {"max_tokens": MOST}
    body: dict[str, Any] = {"model": "contract", "temperature": 0, "stream": stream} | said | most | fields
    if path == CHAT and stream:
        body["stream_options"] = {"include_usage": True}
    with warmgate.client() as client:
        response = client.post(path, json=body)
        assert response.status_code == 200, response.text
    return (_streamed if stream else _whole)[path](response)


def _whole_chat(response: httpx.Response) -> tuple[str, str, int]:
    body = response.json()
    message = body["choices"][0]["message"]
    tokens = body["usage"]["completion_tokens_details"]["reasoning_tokens"]
    return message.get("reasoning_content") or "", message["content"], tokens


def _whole_responses(response: httpx.Response) -> tuple[str, str, int]:
    return _output(response.json())


def _output(body: dict[str, Any]) -> tuple[str, str, int]:
    parts = [
        (item["type"], part["text"])
        for item in body["output"]
        for part in [*(item.get("content") or []), *(item.get("summary") or [])]
    ]
    thought = "".join(text for kind, text in parts if kind == "reasoning")
    text = "".join(text for kind, text in parts if kind == "message")
    return thought, text, body["usage"]["output_tokens_details"]["reasoning_tokens"]


def _whole_messages(response: httpx.Response) -> tuple[str, str, int]:
    body = response.json()
    thought = "".join(block.get("thinking", "") for block in body["content"])
    text = "".join(block.get("text", "") for block in body["content"])
    return thought, text, body["usage"]["output_tokens_details"]["thinking_tokens"]


def _events(response: httpx.Response) -> list[dict[str, Any]]:
    payloads = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(payload) for payload in payloads if payload != "[DONE]"]


def _streamed_chat(response: httpx.Response) -> tuple[str, str, int]:
    events = _events(response)
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    thought = "".join(delta.get("reasoning_content") or "" for delta in deltas)
    text = "".join(delta.get("content") or "" for delta in deltas)
    return thought, text, events[-1]["usage"]["completion_tokens_details"]["reasoning_tokens"]


def _streamed_responses(response: httpx.Response) -> tuple[str, str, int]:
    events = _events(response)
    found = _output(events[-1]["response"])
    deltas = [event["delta"] for event in events if "reasoning" in event["type"] and event["type"].endswith(".delta")]
    assert "".join(deltas) == found[0]
    return found


def _streamed_messages(response: httpx.Response) -> tuple[str, str, int]:
    events = _events(response)
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    thought = "".join(delta.get("thinking", "") for delta in deltas)
    text = "".join(delta.get("text", "") for delta in deltas)
    (usage,) = (event["usage"] for event in events if event["type"] == "message_delta")
    return thought, text, usage["output_tokens_details"]["thinking_tokens"]


_whole: dict[str, Callable[[httpx.Response], tuple[str, str, int]]] = {
    CHAT: _whole_chat,
    RESPONSES: _whole_responses,
    MESSAGES: _whole_messages,
}
_streamed = {CHAT: _streamed_chat, RESPONSES: _streamed_responses, MESSAGES: _streamed_messages}


def tokens_of(upstream: Upstream, text: str) -> int:
    body = {"content": text, "add_special": False}
    return len(httpx.post(upstream.url + "/tokenize", json=body, timeout=60).json()["tokens"])


@DIALECTS
@BOTH
@pytest.mark.parametrize("budget", [0, 1, 3, 20])
@pytest.mark.parametrize("scene", [TWO, "think-long", "thought-though-off"])
def test_never_more_is_thought_than_the_budget_allows(
    warmgate: Warmgate, upstream: Upstream, scene: str, budget: int, path: str, stream: bool
) -> None:
    thought, text, counted = ask(warmgate, path, scene, stream=stream, thinking_budget_tokens=budget)
    assert counted <= budget
    assert tokens_of(upstream, thought) <= budget
    assert bool(thought) == (budget > 1)  # the first token of a thought is a line feed, which is not shown
    expected = ACTS[scene]
    assert text == (expected.text or FIRST + SECOND)


@BOTH
def test_the_count_is_the_servers_own(warmgate: Warmgate, stream: bool) -> None:
    """A thought that is cut off by its budget has exactly as many tokens as the budget."""
    for budget in (2, 3, 20, 100):
        _, _, counted = ask(warmgate, CHAT, "think-long", stream=stream, thinking_budget_tokens=budget)
        assert counted == budget


def budget_hits(warmgate: Warmgate) -> float:
    with warmgate.client() as client:
        lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("warmgate_thinking_budget_hits_total{"))


@BOTH
def test_a_thought_that_its_budget_ended_is_counted(warmgate: Warmgate, stream: bool) -> None:
    before = budget_hits(warmgate)
    ask(warmgate, CHAT, "think-long", stream=stream, thinking_budget_tokens=20)
    assert budget_hits(warmgate) == before + 1
    ask(warmgate, CHAT, "think", stream=stream)
    ask(warmgate, CHAT, "think", stream=stream, thinking_budget_tokens=0)
    assert budget_hits(warmgate) == before + 1


@DIALECTS
@BOTH
def test_by_default_a_thought_is_not_cut_off(warmgate: Warmgate, path: str, stream: bool) -> None:
    asked: dict[str, Any] = {"thinking": {"type": "adaptive"}} if path == MESSAGES else {}
    thought, text, counted = ask(warmgate, path, "think", stream=stream, **asked)
    assert (thought, text) == (ACTS["think"].thought, ACTS["think"].text)
    assert 50 < counted < MOST


@DIALECTS
@BOTH
@pytest.mark.parametrize("budget", [16, 17, 20])
def test_two_thoughts_share_one_budget(warmgate: Warmgate, path: str, stream: bool, budget: int) -> None:
    """The first takes 16 tokens."""
    thought, text, counted = ask(warmgate, path, TWO, stream=stream, thinking_budget_tokens=budget)
    assert thought.startswith("This is the first thought of two, and it comes before any text.")
    assert text == FIRST + SECOND
    assert 16 <= counted <= budget


def test_upstream_begins_its_budget_anew_with_every_thought(upstream: Upstream) -> None:
    answer = upstream.ask([{"role": "user", "content": trigger(TWO)}], reasoning_budget_tokens=3)
    assert answer.thought == "This isThis is"


def test_the_second_thought_is_ended_by_us(warmgate: Warmgate) -> None:
    """Otherwise it would have as many tokens as the first, only hidden.

    It is short: where the machine is busy, its last token may have come before we can say so.
    """
    words = {"messages": [{"role": "user", "content": trigger(TWO)}], "temperature": 0}

    def taken(budget: int) -> int:
        with warmgate.client() as client:
            answer = client.post(CHAT, json=words | {"thinking_budget_tokens": budget}).json()
        return int(answer["usage"]["completion_tokens"])

    whole = taken(100)
    assert any(taken(16) < whole for _ in range(20))
