"""Several choices, older completions, prompts that do not fit, and what the model lacks: on the real llama-server."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import openai
import pytest
from conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Warmgate

MODEL = "smollm2-135m"
CAPITAL: dict[str, Any] = {
    "model": MODEL,
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is the capital of France?"},
    ],
    "max_tokens": 24,
}


@pytest.fixture
def client(warmgate: Warmgate) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{warmgate.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


# -- several choices


def test_three_choices_in_one_piece(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**CAPITAL, n=3, temperature=0, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert all("Paris" in (choice.message.content or "") for choice in answer.choices)
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 72


def test_three_choices_streamed(client: openai.OpenAI) -> None:
    said = {0: "", 1: "", 2: ""}
    reasons = dict.fromkeys(said, 0)
    for chunk in client.chat.completions.create(**CAPITAL, n=3, temperature=0, stream=True):
        for choice in chunk.choices:
            said[choice.index] += choice.delta.content or ""
            reasons[choice.index] += choice.finish_reason is not None
    assert all("Paris" in text for text in said.values())
    assert reasons == {0: 1, 1: 1, 2: 1}


def test_choices_with_a_seed_differ(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**CAPITAL, n=3, temperature=1.5, seed=11)
    assert len({choice.message.content for choice in answer.choices}) > 1


# -- older completions


def test_a_completion(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model=MODEL, prompt="What is the capital of France?", temperature=0, max_tokens=24, logprobs=2
    )
    (choice,) = answer.choices
    assert choice.text
    logprobs = choice.logprobs
    assert logprobs is not None
    assert "".join(logprobs.tokens or ()) == choice.text
    assert [len(top) for top in logprobs.top_logprobs or ()] == [2] * len(logprobs.tokens or ())
    assert answer.id.startswith("cmpl-")
    assert answer.usage is not None


def test_a_streamed_completion_of_the_default_length(client: openai.OpenAI) -> None:
    stream = client.completions.create(
        model=MODEL, prompt="Tell a long story.", temperature=0, stream=True, stream_options={"include_usage": True}
    )
    *chunks, usage = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "length"
    assert usage.usage is not None
    assert usage.usage.completion_tokens == 16


# -- what does not fit, and what is not there


def test_a_prompt_that_does_not_fit_is_refused_while_every_slot_is_busy(warmgate: Warmgate) -> None:
    busy = threading.Event()
    told = threading.Event()

    def keep_busy() -> None:
        body = CAPITAL | {"messages": [{"role": "user", "content": "Count to a thousand."}], "max_tokens": 200, "n": 8}
        with (
            warmgate.client() as client,
            client.stream("POST", "/v1/chat/completions", json=body | {"stream": True}) as response,
        ):
            for _ in response.iter_lines():
                busy.set()
                if told.is_set():
                    return

    with ThreadPoolExecutor(1) as pool, warmgate.client() as client:
        running = pool.submit(keep_busy)
        assert busy.wait(60)
        context = client.get("/v1/models").json()["data"][0]["max_model_len"]
        body = CAPITAL | {"messages": [{"role": "user", "content": "word " * context}], "stream": True}
        response = client.post("/v1/chat/completions", json=body)
        assert not running.done()
        told.set()
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    assert f"maximum context length is {context} tokens" in error["message"]


def test_a_prompt_of_more_bytes_than_the_context_has_tokens_is_counted_and_answered(
    client: openai.OpenAI, warmgate: Warmgate
) -> None:
    with warmgate.client() as plain:
        context = plain.get("/v1/models").json()["data"][0]["max_model_len"]
    messages: list[Any] = [{"role": "user", "content": "information " * (context // 12 + 1)}]
    answer = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=4)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens < context


def test_the_chat_model_has_no_embeddings(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="'smollm2-135m' has no embeddings") as caught:
        client.embeddings.create(model=MODEL, input="Hi")
    assert caught.value.code == "embeddings_not_supported"


def test_a_queued_stream_is_kept_alive(serve: Callable[..., Warmgate]) -> None:
    warmgate = serve("--set", "slots=1", WARMGATE_KEEP_ALIVE_SECONDS="0.05")
    body = CAPITAL | {"stream": True}
    several = body | {"n": 3, "messages": [{"role": "user", "content": "Tell a long story."}], "max_tokens": 20}
    with warmgate.client() as client, client.stream("POST", "/v1/chat/completions", json=several) as first:
        lines = first.iter_lines()
        next(lines)
        with client.stream("POST", "/v1/chat/completions", json=body) as second:
            assert second.status_code == 200
            queued = [line for line in second.iter_lines() if line]
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert queued[0] == ": keep-alive"
    assert queued[-1] == "data: [DONE]"
