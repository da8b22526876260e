from __future__ import annotations

import json
import os
import re
import struct
from typing import TYPE_CHECKING, Any

import pytest

from app.cli import cli
from app.failure import CommandFailure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

U32, BOOL, STRING, ARRAY = 4, 7, 8, 9
F32_TENSOR, Q8_0_TENSOR, Q4_K_TENSOR = 0, 8, 12


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def packed(value: object) -> bytes:
    """A value as GGUF has it, with its type before it."""
    match value:
        case bool():
            return struct.pack("<I?", BOOL, value)
        case int():
            return struct.pack("<II", U32, value)
        case str():
            return struct.pack("<I", STRING) + text(value)
        case tuple():
            kind, code = (BOOL, "?") if isinstance(value[0], bool) else (U32, "I")
            return struct.pack(f"<IIQ{len(value)}{code}", ARRAY, kind, len(value), *value)
    raise TypeError(value)


def write_gguf(
    path: Path, pairs: dict[str, object], tensors: Mapping[str, tuple[tuple[int, ...], int]], size: int
) -> Path:
    """Write a header, and behind it as much of nothing as the tensors would take: that costs no disk."""
    keys = b"".join(text(key) + packed(value) for key, value in pairs.items())
    infos = b"".join(
        text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, 0)
        for name, (shape, kind) in tensors.items()
    )
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(pairs)) + keys + infos)
    os.truncate(path, size)
    return path


@pytest.fixture
def gemma(tmp_path: Path) -> Path:
    """Six layers in the manner of Gemma 4, four of whose tensors are there: 1.2 GB of them."""
    values: dict[str, object] = {
        "context_length": 131072,
        "embedding_length": 2816,
        "block_count": 6,
        "feed_forward_length": 2112,
        "attention.head_count": 16,
        "attention.head_count_kv": (8, 8, 8, 8, 8, 2),
        "attention.key_length": 512,
        "attention.value_length": 512,
        "attention.key_length_swa": 256,
        "attention.value_length_swa": 256,
        "attention.sliding_window": 1024,
        "attention.sliding_window_pattern": (True, True, True, True, True, False),
        "expert_count": 128,
        "expert_used_count": 8,
        "expert_feed_forward_length": 704,
    }
    pairs = {"general.architecture": "gemma4", **{f"gemma4.{name}": value for name, value in values.items()}}
    tensors = {
        "token_embd.weight": ((2816, 262144), Q8_0_TENSOR),
        "output_norm.weight": ((2816,), F32_TENSOR),
        "blk.0.ffn_gate_up_exps.weight": ((2816, 1408, 128), Q4_K_TENSOR),
        "blk.5.attn_q.weight": ((2816, 8192), Q8_0_TENSOR),
    }
    return write_gguf(tmp_path / "gemma.gguf", pairs, tensors, size=800_000_000)


@pytest.fixture
def projector(tmp_path: Path) -> Path:
    pairs: dict[str, object] = {
        "general.architecture": "clip",
        "clip.projector_type": "gemma4v",
        "clip.vision.embedding_length": 1152,
        "clip.vision.feed_forward_length": 4304,
        "clip.vision.projection_dim": 2816,
    }
    tensors = {"v.blk.0.ffn_up.weight": ((1152, 4304), F32_TENSOR)}
    return write_gguf(tmp_path / "mmproj.gguf", pairs, tensors, size=20_000_000)


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("WARMGATE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WARMGATE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    cli(["plan", *map(str, arguments)], standalone_mode=False)
    return capsys.readouterr().out


def report(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(run(capsys, *arguments, "--json"))
    return result


SCREEN = """\
gemma-4-26b-a4b  gemma4, 4 slots of 65,536 tokens, cache q8_0/q8_0
3.8 GiB of GPU memory, and up to 5.9 GiB of RAM; on L40S 40.4 GiB stay free.

GPU                       MiB      RAM                       MiB
weights                 1,044      process                   430
KV cache                  544      weights                   748
KV cache of SWA layers    128      inputs and logits          92
compute buffer          1,154      after start             1,270
image projector            19      context checkpoints       680
its buffer                308      prompt cache            4,096
CUDA                      602      in all, at most         6,046
after start             3,798      a snapshot parks, more  3,918
under load, more          120
in all                  3,918

Card       usable MiB    left      Slots on L40S  largest context each
L4             22,266  18,348      1                           131,072
A10            22,260  18,342      2                           131,072
L40S           45,300  41,382      4                           131,072
A100-40GB      40,192  36,274      8                           131,072
A100-80GB      81,152  77,234      16                          131,072
H100           80,791  76,873
"""


def test_the_screen_is_plain_text_without_a_terminal(
    capsys: pytest.CaptureFixture[str], gemma: Path, projector: Path
) -> None:
    out = run(capsys, "--profile", "gemma-4-26b-a4b", "--model", gemma, "--mmproj", projector)
    assert [line.rstrip() for line in out.splitlines()] == SCREEN.splitlines()


def test_the_report_has_these_keys_and_units(capsys: pytest.CaptureFixture[str], gemma: Path, projector: Path) -> None:
    arguments = ("--profile", "gemma-4-26b-a4b", "--model", gemma, "--mmproj", projector, "--card", "l4")
    assert report(capsys, *arguments) == {
        "model": str(gemma),
        "architecture": "gemma4",
        "n_ctx_train": 131072,
        "slots": 4,
        "ctx_per_slot": 65536,
        "n_cells": 262144,
        "n_cells_swa": 6144,
        "gpu_start_mib": 3798.0,
        "gpu_total_mib": 3918.0,
        "gpu": {
            "weights_mib": 1043.6,
            "kv_cache_mib": 544.0,
            "kv_cache_swa_mib": 127.5,
            "compute_mib": 1154.0,
            "mmproj_weights_mib": 18.9,
            "mmproj_compute_mib": 308.0,
            "draft_weights_mib": 0.0,
            "draft_kv_cache_mib": 0.0,
            "draft_compute_mib": 0.0,
            "context_mib": 602.0,
            "working_mib": 120.0,
        },
        "host_start_mib": 1269.5,
        "host_total_mib": 6045.5,
        "host": {
            "process_mib": 430.0,
            "weights_mib": 748.0,
            "kv_cache_mib": 0.0,
            "compute_mib": 87.5,
            "output_mib": 4.0,
            "draft_mib": 0.0,
            "checkpoints_mib": 680.0,
            "prompt_cache_mib": 4096.0,
        },
        "checkpoint_mib": 21.2,
        "parked_mib": 3918.0,
        "cards": [
            {"card": "L4", "total_mib": 23034.0, "usable_mib": 22266.0, "left_mib": 18348.0, "fits": True},
            {"card": "A10", "total_mib": 23028.0, "usable_mib": 22260.0, "left_mib": 18342.0, "fits": True},
            {"card": "L40S", "total_mib": 46068.0, "usable_mib": 45300.0, "left_mib": 41382.0, "fits": True},
            {"card": "A100-40GB", "total_mib": 40960.0, "usable_mib": 40192.0, "left_mib": 36274.0, "fits": True},
            {"card": "A100-80GB", "total_mib": 81920.0, "usable_mib": 81152.0, "left_mib": 77234.0, "fits": True},
            {"card": "H100", "total_mib": 81559.0, "usable_mib": 80791.0, "left_mib": 76873.0, "fits": True},
        ],
        "largest_ctx_per_slot": {"card": "L4", "slots": dict.fromkeys(("1", "2", "4", "8", "16"), 131072)},
        "not_counted": [],
    }


def test_the_small_model_is_there_without_a_download(capsys: pytest.CaptureFixture[str]) -> None:
    account = report(capsys)
    assert (account["architecture"], account["slots"], account["ctx_per_slot"]) == ("llama", 4, 2048)
    assert account["gpu"]["kv_cache_mib"] == 180  # 30 layers, 2 · 3 heads · 64 · f16, 8192 tokens
    assert account["host"]["prompt_cache_mib"] == 256  # the profile's


def test_a_profiles_values_and_what_is_set_over_them_count(capsys: pytest.CaptureFixture[str], gemma: Path) -> None:
    arguments = ("--profile", "gemma-4-26b-a4b", "--model", gemma)
    base = report(capsys, *arguments)
    changed = report(capsys, *arguments, "--set", "slots=2", "--set", "cache_type_k=f16", "--set", "cache_ram_mib=0")
    assert (changed["slots"], changed["n_cells"]) == (2, base["n_cells"] // 2)
    assert changed["gpu"]["kv_cache_mib"] == 2 * 65536 * (2 * 512 * 2 + 2 * 512 * 34 / 32) / 1024 / 1024
    assert changed["host"]["prompt_cache_mib"] == 0
    assert report(capsys, "--model", gemma)["ctx_per_slot"] == 4096  # any-gguf


def test_a_card_that_is_too_small_is_said_to_be(capsys: pytest.CaptureFixture[str], gemma: Path) -> None:
    out = run(capsys, "--model", gemma, "--set", "slots=256", "--set", "ctx_per_slot=131072", "--card", "A10")
    assert "on A10 123.4 GiB are missing." in out
    assert "L4             22,266  does not fit" in out


def test_an_image_projector_that_is_not_there_is_mentioned(capsys: pytest.CaptureFixture[str], gemma: Path) -> None:
    cli(["plan", "--profile", "gemma-4-26b-a4b", "--model", str(gemma), "--json"], standalone_mode=False)
    out, err = capsys.readouterr()
    assert json.loads(out)["gpu"]["mmproj_weights_mib"] == 0
    (sentence,) = json.loads(out)["not_counted"]
    assert sentence == "The profile's image projector is not here and not counted; --mmproj PATH names one."
    assert err == f"{sentence}\n"


def test_a_drafter_is_counted_by_its_parts(capsys: pytest.CaptureFixture[str], gemma: Path, model_path: Path) -> None:
    arguments = ("--model", gemma, "--set", "spec_type=draft-simple", "--set", f"spec_draft_model={model_path}")
    rows = re.findall(r"^(drafter|its KV cache|drafter's buffer) +(\d+) ", run(capsys, *arguments), re.MULTILINE)
    # 30 layers, 2 · 3 heads · 64 · f16, 4 slots of 4096 tokens
    assert rows == [("drafter", "92"), ("its KV cache", "360"), ("drafter's buffer", "18")]
    drafting = report(capsys, *arguments)
    assert drafting["gpu"]["draft_kv_cache_mib"] == 360
    assert drafting["gpu_total_mib"] > report(capsys, "--model", gemma)["gpu_total_mib"] + 360 + 92
    assert drafting["not_counted"] == []


def test_what_of_a_drafter_is_not_known_is_mentioned(
    capsys: pytest.CaptureFixture[str], gemma: Path, model_path: Path
) -> None:
    arguments = ["--model", str(gemma), "--set", "spec_type=draft-mtp", "--set", f"spec_draft_model={model_path}"]
    cli(["plan", *arguments, "--json"], standalone_mode=False)
    out, err = capsys.readouterr()
    (sentence,) = json.loads(out)["not_counted"]
    assert sentence == (
        "Of the drafter only the weights are counted, and not its KV cache and its buffer: what draft-mtp takes with "
        "llama is not known here."
    )
    assert err == f"{sentence}\n"
    assert json.loads(out)["gpu"]["draft_weights_mib"] == round(model_path.stat().st_size / 1024 / 1024, 1)


def test_a_model_that_drafts_for_itself_is_mentioned(capsys: pytest.CaptureFixture[str], gemma: Path) -> None:
    (sentence,) = report(capsys, "--model", gemma, "--set", "spec_type=draft-mtp")["not_counted"]
    assert sentence == "What draft-mtp takes without a drafter's file is not known here and not counted."


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--profile", "gemma-4-26b-a4b"], "`warmgate models pull gemma-4-26b-a4b`"),
        (["--card", "H200"], "There is no card 'H200'; did you mean 'H100'?"),
        (["--model", "/nowhere/model.gguf"], "/nowhere/model.gguf does not exist; check the path."),
        (["--mmproj", "/nowhere/mmproj.gguf"], "/nowhere/mmproj.gguf does not exist; check the path."),
        (["--set", "spec_draft_model=/nowhere/drafter.gguf"], "/nowhere/drafter.gguf does not exist; check the path."),
        (["--set", "cache_type_v=q8"], "cache_type_v=q8 is no cache type; there are f32, f16,"),
        (["--set", "slot=1"], "there is no value 'slot'; did you mean 'slots'?"),
    ],
)
def test_what_cannot_be_accounted_for_ends_in_a_sentence(arguments: list[str], sentence: str) -> None:
    with pytest.raises(CommandFailure) as failure:
        cli(["plan", *arguments], standalone_mode=False)
    assert sentence in str(failure.value)
    assert str(failure.value).endswith((".", "?"))
