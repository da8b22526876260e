"""What llama-server and the model get wrong about thought and text, as a client of the gateway sees it.

`test_upstream_behaviour` shows the same scenes without the gateway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from contract.model.acts import ACTS, trigger

if TYPE_CHECKING:
    import httpx
    from conftest import Warmgate

CHAT = "/v1/chat/completions"
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def ask(warmgate: Warmgate, scene: str, **fields: Any) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": trigger(scene)}], "temperature": 0, "max_tokens": 900} | fields
    with warmgate.client() as client:
        return client.post(CHAT, json=body)


@pytest.mark.parametrize("scene", ["stray-close", "stray-open"])
def test_an_answer_of_which_a_part_was_dropped_is_an_error(contract_warmgate: Warmgate, scene: str) -> None:
    """This model does the same each time, so asking again does not help."""
    response = ask(contract_warmgate, scene)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "malformed_answer")


@pytest.mark.parametrize("scene", ["stray-close", "stray-open"])
def test_a_stream_of_which_a_part_was_dropped_ends_with_an_error(contract_warmgate: Warmgate, scene: str) -> None:
    response = ask(contract_warmgate, scene, stream=True)
    assert response.status_code == 200
    assert "malformed_answer" in response.text
    assert "[DONE]" not in response.text


@BOTH
def test_an_answer_that_llama_server_cannot_read_is_an_error_of_its_own(
    contract_warmgate: Warmgate, stream: bool
) -> None:
    response = ask(contract_warmgate, "odd-channel", stream=stream)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "malformed_answer")


def test_a_thought_without_an_answer_gets_one(contract_warmgate: Warmgate) -> None:
    act = ACTS["thought-only"]
    message = ask(contract_warmgate, "thought-only").json()["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == (act.thought, act.off)


def test_control_tokens_do_not_show_in_the_text(contract_warmgate: Warmgate) -> None:
    message = ask(contract_warmgate, "stray-quote").json()["choices"][0]["message"]
    assert message["content"] == ACTS["stray-quote"].raw.replace('<|"|>', "")


@BOTH
def test_a_thought_that_was_not_asked_for_is_not_sent(contract_warmgate: Warmgate, stream: bool) -> None:
    response = ask(contract_warmgate, "thought-though-off", stream=stream, enable_thinking=False)
    assert response.status_code == 200
    assert "reasoning_content" not in response.text
