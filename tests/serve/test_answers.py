"""What a client gets, from the real llama-server with a real model, through a real `warmgate serve`."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx
    from conftest import Warmgate

CAPITAL: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is the capital of France?"},
    ],
    "temperature": 0,
    "max_tokens": 24,
}
MANY = 500
PATIENCE_SECONDS = 600  # what so many streams may take on a machine that has other things to do


def chunks(response: httpx.Response) -> list[dict[str, Any]]:
    events = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


def text_of(parts: list[dict[str, Any]]) -> str:
    return "".join(part["choices"][0]["delta"].get("content", "") for part in parts if part["choices"])


def test_a_streamed_answer_is_a_sensible_sentence(warmgate: Warmgate) -> None:
    with (
        warmgate.client() as client,
        client.stream("POST", "/v1/chat/completions", json=CAPITAL | {"stream": True}) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        parts = chunks(response)
    assert "Paris" in text_of(parts)
    assert parts[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert parts[-1]["choices"][0]["finish_reason"] == "stop"
    assert {part["object"] for part in parts} == {"chat.completion.chunk"}
    assert {part["model"] for part in parts} == {"smollm2-135m"}
    assert len({part["id"] for part in parts}) == 1


def test_an_answer_in_one_piece_has_the_fields_that_openai_has(warmgate: Warmgate) -> None:
    with warmgate.client() as client:
        answer = client.post("/v1/chat/completions", json=CAPITAL).json()
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["system_fingerprint"]
    (choice,) = answer["choices"]
    assert "Paris" in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] > 20


def test_streamed_and_whole_answers_agree(warmgate: Warmgate) -> None:
    asked = CAPITAL | {"stream": True, "stream_options": {"include_usage": True}}
    with warmgate.client() as client:
        whole = client.post("/v1/chat/completions", json=CAPITAL).json()
        with client.stream("POST", "/v1/chat/completions", json=asked) as response:
            parts = chunks(response)
    assert text_of(parts) == whole["choices"][0]["message"]["content"]
    usage = parts[-1]["usage"]
    assert usage["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert all(part["usage"] is None for part in parts[:-1])


def test_max_tokens_ends_an_answer_with_length(warmgate: Warmgate) -> None:
    with warmgate.client() as client:
        answer = client.post("/v1/chat/completions", json=CAPITAL | {"max_tokens": 3}).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 3


def test_a_seed_makes_an_answer_repeatable(warmgate: Warmgate) -> None:
    asked = {"messages": [{"role": "user", "content": "Tell me a story."}], "seed": 7, "temperature": 1.5}
    with warmgate.client() as client:
        texts = {
            client.post("/v1/chat/completions", json=asked | {"max_tokens": 16}).json()["choices"][0]["message"][
                "content"
            ]
            for _ in range(3)
        }
    assert len(texts) == 1


@pytest.mark.parametrize("top", [0, 2])
def test_logprobs_come_with_as_many_alternatives_as_were_asked_for(warmgate: Warmgate, top: int) -> None:
    with warmgate.client() as client:
        asked = CAPITAL | {"logprobs": True, "top_logprobs": top}
        answer = client.post("/v1/chat/completions", json=asked).json()
    choice = answer["choices"][0]
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
    assert all(len(token["top_logprobs"]) == top for token in tokens)


def test_json_schema_constrains_the_answer(warmgate: Warmgate) -> None:
    schema = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
    asked = CAPITAL | {"response_format": {"type": "json_schema", "json_schema": {"name": "c", "schema": schema}}}
    with warmgate.client() as client:
        answer = client.post("/v1/chat/completions", json=asked).json()
    assert json.loads(answer["choices"][0]["message"]["content"])["city"] in {"Paris", "Rome"}


def test_a_prompt_that_is_too_long_is_refused_in_openais_words(warmgate: Warmgate) -> None:
    asked = {"messages": [{"role": "user", "content": "word " * 3000}], "stream": True}
    with warmgate.client() as client:
        response = client.post("/v1/chat/completions", json=asked)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["param"] == "messages"
    assert error["type"] == "invalid_request_error"


def test_a_bad_field_is_named(warmgate: Warmgate) -> None:
    with warmgate.client() as client:
        response = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": 5}]})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "messages[0].content"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/metrics", "/nowhere", "/docs"])
@pytest.mark.parametrize("key", [None, "sk-wrong"])
def test_without_the_right_key_there_is_no_answer(warmgate: Warmgate, path: str, key: str | None) -> None:
    with warmgate.client(key) as client:
        response = client.post(path, json=CAPITAL)
    assert response.status_code == 401
    assert response.headers["www-authenticate"]
    assert response.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz"])
def test_load_balancers_need_no_key(warmgate: Warmgate, path: str) -> None:
    with warmgate.client(None) as client:
        response = client.get(path)
        assert client.head(path).status_code == 200
    assert response.status_code == 200
    assert response.json()["status"] == "ok"


def test_the_model_is_listed_and_found_by_its_name(warmgate: Warmgate) -> None:
    with warmgate.client() as client:
        (listed,) = client.get("/v1/models").json()["data"]
        assert client.get(f"/v1/models/{listed['id']}").json() == listed
        missing = client.get("/v1/models/gpt-4o")
    assert listed["id"] == "smollm2-135m"
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "model_not_found"


def test_metrics_count_what_was_answered(warmgate: Warmgate) -> None:
    with warmgate.client() as client:
        client.post("/v1/chat/completions", json=CAPITAL)
        text = client.get("/metrics").text
    labels = 'dialect="openai",key="tests",model="smollm2-135m",outcome="ok",route="chat_completions"'
    assert f"warmgate_requests_total{{{labels}}}" in text
    assert 'warmgate_server_state{state="ready"} 1.0' in text
    assert "warmgate_slots 4.0" in text
    assert '\nllamacpp:tokens_predicted_total{instance="' in text


@pytest.mark.timeout(PATIENCE_SECONDS)
def test_five_hundred_short_streams_one_after_another_lose_nothing(warmgate: Warmgate) -> None:
    with warmgate.client() as client:
        lengths = [_short_stream(client, number) for number in range(MANY)]
    assert len(lengths) == MANY
    assert min(lengths) > 0


@pytest.mark.timeout(PATIENCE_SECONDS)
def test_five_hundred_short_streams_eight_at_a_time_lose_nothing(warmgate: Warmgate) -> None:
    with warmgate.client() as client, ThreadPoolExecutor(8) as pool:
        lengths = list(pool.map(lambda number: _short_stream(client, number), range(MANY)))
    assert len(lengths) == MANY
    assert min(lengths) > 0


def _short_stream(client: httpx.Client, number: int) -> int:
    """Return the length of one short answer's text. An answer that was cut short raises."""
    asked = {
        "messages": [{"role": "user", "content": f"Say the number {number}."}],
        "max_tokens": 2,
        "stream": True,
    }
    with client.stream("POST", "/v1/chat/completions", json=asked) as response:
        assert response.status_code == 200
        return len(text_of(chunks(response)))
