from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.backend_sampling import FEWEST_THOUGHT, FEWEST_TOKENS, BackendSampling, SamplingChoice
from gateway.events import Usage
from gateway.observation.record import RequestRecord
from gateway.request import GenerationRequest, ToolChoice
from gateway.thinking import OFF, ON, Thinking
from gateway.upstream.catalog import ModelInfo

GEMMA = ModelInfo(id="gemma", created=0, slots=16, ctx_per_slot=4096, fingerprint="b1", marks_calls=True)
OTHER = ModelInfo(id="other", created=0, slots=16, ctx_per_slot=4096, fingerprint="b1")
TOOLS = [{"type": "function", "function": {"name": "f"}}]
PLAIN = GenerationRequest(messages=[{"role": "user", "content": "Tell me."}], sampling={"temperature": 1.0})
BOUNDED = replace(PLAIN, thinking=Thinking(budget=100))
SILENT = replace(PLAIN, thinking=OFF)

always = SamplingChoice(BackendSampling.ON)


def on_gpu(request: GenerationRequest, **more: Any) -> GenerationRequest:
    return replace(request, sampling={**request.sampling, **more, "backend_sampling": True})


def ended(tokens: int, *, outcome: str = "ok", choices: int = 1) -> RequestRecord:
    return RequestRecord(usage=Usage(10, tokens), outcome=outcome, choices=choices)


@pytest.mark.parametrize("model", [GEMMA, OTHER])
def test_a_plain_request_is_sampled_on_the_gpu_and_is_the_same_otherwise(model: ModelInfo) -> None:
    assert always.choose(PLAIN, model, 1) == on_gpu(PLAIN)


def test_a_thought_that_is_off_is_barred_by_its_first_token_where_its_budget_would_keep_sampling_off_the_gpu() -> None:
    sent = replace(SILENT, thinking=Thinking(enabled=False, budget=None))
    assert always.choose(SILENT, GEMMA, 1) == on_gpu(sent, logit_bias={"<|channel>": -100})


def test_the_clients_own_biases_stay() -> None:
    biased = replace(SILENT, sampling={"logit_bias": {"17": 5, "<|tool_call>": -100}})
    chosen = always.choose(biased, GEMMA, 1)
    assert chosen.sampling["logit_bias"] == {"17": 5, "<|tool_call>": -100, "<|channel>": -100}
    assert biased.sampling == {"logit_bias": {"17": 5, "<|tool_call>": -100}}


@pytest.mark.parametrize("request_", [BOUNDED, SILENT])
def test_another_model_keeps_its_budget_and_llama_server_decides(request_: GenerationRequest) -> None:
    assert always.choose(request_, OTHER, 1) == on_gpu(request_)


@pytest.mark.parametrize(
    "changes",
    [
        {"tools": TOOLS},
        {"tools": TOOLS, "tool_choice": ToolChoice("required")},
        {"response_format": {"type": "json_object"}},
        {"logprobs": 0},
        {"sampling": {"seed": 7}},
        {"messages": [*PLAIN.messages, {"role": "assistant", "content": "Once"}]},
    ],
    ids=str,
)
def test_what_llama_server_cannot_or_what_must_be_reproducible_stays_on_the_cpu(changes: dict[str, Any]) -> None:
    request = replace(PLAIN, **changes)
    assert always.choose(request, GEMMA, 16) is request


def test_tools_that_may_not_be_called_make_no_grammar() -> None:
    request = replace(PLAIN, tools=TOOLS, tool_choice=ToolChoice("none"))
    assert always.choose(request, GEMMA, 1) == on_gpu(request)


def test_off_is_off() -> None:
    assert SamplingChoice(BackendSampling.OFF).choose(PLAIN, GEMMA, 16) is PLAIN


@pytest.mark.parametrize(("in_flight", "chosen"), [(1, False), (2, True), (16, True)])
def test_one_stream_alone_is_not_worth_it(in_flight: int, chosen: bool) -> None:
    sent = SamplingChoice(BackendSampling.AUTO).choose(PLAIN, GEMMA, in_flight)
    assert sent == (on_gpu(PLAIN) if chosen else PLAIN)


@pytest.mark.parametrize(("max_tokens", "chosen"), [(FEWEST_TOKENS - 1, False), (FEWEST_TOKENS, True), (9999, True)])
def test_an_answer_that_may_not_become_long_is_not_worth_it(max_tokens: int, chosen: bool) -> None:
    request = replace(PLAIN, max_tokens=max_tokens)
    sent = SamplingChoice(BackendSampling.AUTO).choose(request, GEMMA, 8)
    assert sent == (on_gpu(request) if chosen else request)


def test_it_is_learnt_how_long_answers_are() -> None:
    choice = SamplingChoice(BackendSampling.AUTO)
    for _ in range(30):
        choice.finished(ended(20, choices=2))
    assert choice.choose(PLAIN, GEMMA, 8) is PLAIN
    for _ in range(30):
        choice.finished(ended(600))
    assert choice.choose(PLAIN, GEMMA, 8) == on_gpu(PLAIN)


@pytest.mark.parametrize("record", [ended(5, outcome="cancelled"), ended(0)])
def test_nothing_is_learnt_from_an_answer_that_was_not_written_to_its_end(record: RequestRecord) -> None:
    choice = SamplingChoice(BackendSampling.AUTO)
    before = choice.typical_tokens
    choice.finished(record)
    assert choice.typical_tokens == before


@pytest.mark.parametrize(("budget", "chosen"), [(FEWEST_THOUGHT - 1, False), (FEWEST_THOUGHT, True), (8192, True)])
def test_a_thought_that_may_not_become_long_is_not_worth_it(budget: int, chosen: bool) -> None:
    request = replace(PLAIN, thinking=Thinking(budget=budget))
    sent = SamplingChoice(BackendSampling.AUTO).choose(request, GEMMA, 8)
    assert sent == (on_gpu(PLAIN) if chosen else request)


def test_a_bounded_thought_is_bounded_by_us() -> None:
    assert always.choose(BOUNDED, GEMMA, 1) == on_gpu(PLAIN)


def test_a_thought_without_a_bound_is_no_hindrance() -> None:
    assert always.choose(replace(PLAIN, thinking=ON), GEMMA, 1) == on_gpu(PLAIN)
