"""`warmgate snapshot check`: the whole cycle with the real llama-server, and a driver of our own that stops it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from fake_gpu import COMPILER, FakeGpu

from app.snapshot_check import Answer, compare

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Warmgate

needs_compiler = pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="needs Linux and a C compiler")

REFUSED_RESTORE = "The NVIDIA driver refused cuCheckpointProcessRestore: CUDA_ERROR_OPERATING_SYSTEM (304)."
ANSWER = Answer("The sea", (-0.1, -0.2), cached_tokens=40, seconds=1.0)


@needs_compiler
def test_a_server_that_survives_it_is_told_with_its_figures(
    start_warmgate: Callable[..., Warmgate], tmp_path: Path
) -> None:
    gpu = FakeGpu(tmp_path)
    gate = start_warmgate("snapshot", "check", "--json", **gpu.environment)
    gate.wait_for_line(r"^\{$")
    assert gate.wait() == 0, gate.output
    report = json.loads(gate.output[gate.output.index("{\n") :])
    assert (report["model"], report["gpu_mib"], report["differences"]) == ("smollm2-135m", 1024, [])
    assert list(report["phases"]) == ["lock", "checkpoint", "restore", "unlock"]
    for answer in (report["held"], report["after"]):
        assert answer["text"] == report["before"]["text"]
        assert answer["logprobs"] == pytest.approx(report["before"]["logprobs"], abs=1e-3)
        assert answer["cached_tokens"] == report["before"]["cached_tokens"] > 100
    assert gpu.calls() == ["Lock", "Checkpoint", "Restore", "Unlock"]


@needs_compiler
@pytest.mark.parametrize(
    ("refused", "sentence"),
    [
        ("cuCheckpointProcessLock 999", "The NVIDIA driver refused cuCheckpointProcessLock: unknown error (999)."),
        ("cuCheckpointProcessRestore 304", f"llama-server lost what it had on the GPU: {REFUSED_RESTORE}"),
    ],
)
def test_one_that_does_not_is_told_in_one_sentence(
    start_warmgate: Callable[..., Warmgate], tmp_path: Path, refused: str, sentence: str
) -> None:
    gpu = FakeGpu(tmp_path)
    gpu.has("refuse", refused)
    gate = start_warmgate("snapshot", "check", "--log-level", "error", **gpu.environment)
    gate.wait_for_line("^warmgate: ")
    assert gate.wait() == 1
    assert gate.output.splitlines()[-1] == f"warmgate: {sentence}"


def test_a_machine_without_a_gpu_is_told_so(start_warmgate: Callable[..., Warmgate]) -> None:
    gate = start_warmgate("snapshot", "check")
    assert gate.wait() == 1
    sentence = "There is no NVIDIA driver here: libcuda.so.1 cannot be loaded."
    assert gate.output.splitlines()[-1] == f"warmgate: {sentence}"


@pytest.mark.parametrize(
    ("after", "difference"),
    [
        (ANSWER, None),
        (replace(ANSWER, seconds=9.0, cached_tokens=41, logprobs=(-0.1, -0.2005)), None),
        (replace(ANSWER, text="The see"), "the text was 'The sea' and is 'The see'"),
        (replace(ANSWER, logprobs=(-0.1,)), "there were 2 tokens and are 1"),
        (replace(ANSWER, logprobs=(-0.1, -0.21)), "a log-probability moved by 0.0100"),
        (replace(ANSWER, cached_tokens=0), "0 tokens of the prompt were remembered, not 40 as before"),
    ],
)
def test_whatever_is_not_the_same_is_named(after: Answer, difference: str | None) -> None:
    assert compare(ANSWER, after) == ([] if difference is None else [difference])
