from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from app.cards import CARDS, find_card, largest_contexts
from app.drafter import Drafter, own_drafts, read_drafter
from app.failure import CommandFailure
from app.gguf import GGML_TYPES, GgufArray, GgufHeader, TensorInfo, Value
from app.memory_plan import MIB, GpuMemory, HostMemory, MemoryPlan, account
from app.model_shape import read_parts, read_shape
from server_supervisor.plan import LaunchPlan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.model_shape import ModelShape

KIB = 1024
Tensor: TypeAlias = tuple[str, tuple[int, ...], str]  # name, shape, type
KINDS = {kind.name: kind for kind in GGML_TYPES.values()}


def header(arch: str, values: Mapping[str, Value], tensors: Sequence[Tensor], **pairs: Value) -> GgufHeader:
    """What a file with these values and tensors says about itself; there is no file."""
    infos, offset = [], 0
    for name, shape, kind in tensors:
        size = math.prod(shape) // KINDS[kind].block_elements * KINDS[kind].block_bytes if kind in KINDS else None
        infos.append(TensorInfo(name, shape, kind, offset, size))
        offset += size or 0
    return GgufHeader(
        path=Path("model.gguf"),
        version=3,
        metadata={"general.architecture": arch, **pairs, **{f"{arch}.{name}": value for name, value in values.items()}},
        tensors=tuple(infos),
        alignment=32,
        data_offset=0,
        file_size=offset,
    )


def gemma4(**changes: Value) -> GgufHeader:
    """Gemma 4 26B-A4B in full size: the model that was measured (the types are those of a Q4_K_M)."""
    n_layer, n_embd, n_head, n_vocab = 30, 2816, 16, 262144
    is_swa = tuple(il % 6 != 5 for il in range(n_layer))
    values: dict[str, Value] = {
        "context_length": 262144,
        "embedding_length": n_embd,
        "block_count": n_layer,
        "feed_forward_length": 2112,
        "attention.head_count": n_head,
        "attention.head_count_kv": tuple(8 if swa else 2 for swa in is_swa),
        "attention.key_length": 512,
        "attention.value_length": 512,
        "attention.key_length_swa": 256,
        "attention.value_length_swa": 256,
        "attention.sliding_window": 1024,
        "attention.sliding_window_pattern": is_swa,
        "attention.shared_kv_layers": 0,
        "embedding_length_per_layer_input": 0,
        "expert_count": 128,
        "expert_used_count": 8,
        "expert_feed_forward_length": 704,
    }
    tensors: list[Tensor] = [
        ("token_embd.weight", (n_embd, n_vocab), "Q6_K"),
        ("output_norm.weight", (n_embd,), "F32"),
        ("rope_freqs.weight", (256,), "F32"),
    ]
    for il, swa in enumerate(is_swa):
        head, n_head_kv = (256, 8) if swa else (512, 2)
        norms = ["attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"]
        norms += ["pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"]
        layer: list[Tensor] = [(f"{norm}.weight", (n_embd,), "F32") for norm in norms]
        layer += [
            ("attn_q.weight", (n_embd, n_head * head), "Q8_0"),
            ("attn_k.weight", (n_embd, n_head_kv * head), "Q8_0"),
            ("attn_output.weight", (n_head * head, n_embd), "Q8_0"),
            ("attn_q_norm.weight", (head,), "F32"),
            ("attn_k_norm.weight", (head,), "F32"),
            ("layer_output_scale.weight", (1,), "F32"),
            ("ffn_gate.weight", (n_embd, 2112), "Q8_0"),
            ("ffn_up.weight", (n_embd, 2112), "Q8_0"),
            ("ffn_down.weight", (2112, n_embd), "Q8_0"),
            ("ffn_gate_inp.weight", (n_embd, 128), "F32"),
            ("ffn_gate_inp.scale", (n_embd,), "F32"),
            ("ffn_gate_up_exps.weight", (n_embd, 2 * 704, 128), "Q4_K"),
            ("ffn_down_exps.weight", (704, n_embd, 128), "Q5_1"),
            ("ffn_down_exps.scale", (128,), "F32"),
        ]
        layer += [("attn_v.weight", (n_embd, n_head_kv * head), "Q8_0")] if swa else []
        tensors += [(f"blk.{il}.{name}", shape, kind) for name, shape, kind in layer]
    return header("gemma4", values | changes, tensors)


def dense(
    arch: str, n_layer: int, n_embd: int, n_head: int, n_head_kv: int, head: int, n_ff: int, n_vocab: int, **more: Any
) -> GgufHeader:
    """A dense model, all of Q4_K but its output, or with the embeddings as output if `tied`."""
    tied = more.pop("tied", False)
    values: dict[str, Value] = {
        "context_length": 131072,
        "embedding_length": n_embd,
        "block_count": n_layer,
        "feed_forward_length": n_ff,
        "attention.head_count": n_head,
        "attention.head_count_kv": n_head_kv,
        "attention.key_length": head,
        "attention.value_length": head,
        **more,
    }
    tensors: list[Tensor] = [("token_embd.weight", (n_embd, n_vocab), "Q4_K")]
    tensors += [] if tied else [("output.weight", (n_embd, n_vocab), "Q6_K")]
    for il in range(n_layer):
        tensors += [
            (f"blk.{il}.attn_q.weight", (n_embd, n_head * head), "Q4_K"),
            (f"blk.{il}.attn_k.weight", (n_embd, n_head_kv * head), "Q4_K"),
            (f"blk.{il}.attn_v.weight", (n_embd, n_head_kv * head), "Q4_K"),
            (f"blk.{il}.attn_output.weight", (n_head * head, n_embd), "Q4_K"),
            (f"blk.{il}.ffn_up.weight", (n_embd, n_ff), "Q4_K"),
            (f"blk.{il}.ffn_gate.weight", (n_embd, n_ff), "Q4_K"),
            (f"blk.{il}.ffn_down.weight", (n_ff, n_embd), "Q4_K"),
        ]
    return header(arch, values, tensors)


GEMMA4_26B = read_shape([gemma4()])
LLAMA_8B = read_shape([dense("llama", 32, 4096, 32, 8, 128, 14336, 128256)])
GEMMA3_12B = read_shape(
    [dense("gemma3", 48, 3840, 16, 8, 256, 15360, 262144, tied=True, **{"attention.sliding_window": 1024})]
)


def launch(slots: int, ctx_per_slot: int, **changes: Any) -> LaunchPlan:
    return LaunchPlan(model=Path("model.gguf"), alias="model", slots=slots, ctx_per_slot=ctx_per_slot, **changes)


def q8_0(slots: int, ctx_per_slot: int, **changes: Any) -> LaunchPlan:
    return launch(slots, ctx_per_slot, cache_type_k="q8_0", cache_type_v="q8_0", flash_attn="on", **changes)


# --- against what was measured, and against llama.cpp's own account


@pytest.mark.parametrize(
    ("plan", "kv_unified", "after_start", "after_load"),
    [
        (q8_0(4, 16384), False, 18157, 18281),  # -c 65536 --parallel 4
        (q8_0(16, 16384), True, 22341, 22459),  # -c 262144 --parallel 16 --kv-unified
    ],
)
def test_the_account_is_what_nvidia_smi_showed_on_an_h100(
    plan: LaunchPlan, kv_unified: bool, after_start: int, after_load: int
) -> None:
    memory = account(GEMMA4_26B, replace(plan, kv_unified=kv_unified))
    assert memory.gpu.start / MIB == pytest.approx(after_start, rel=0.01)
    assert memory.gpu.total / MIB == pytest.approx(after_load, rel=0.01)
    assert memory.host.start / MIB == pytest.approx(1.3 * 1024 if kv_unified else 1.0 * 1024, rel=0.1)


@pytest.mark.parametrize(
    ("shape", "plan", "kv_unified", "reserved"),
    [
        # weights, KV cache and compute buffer on the GPU; weights and compute buffer on the host, in MiB, rounded down
        (GEMMA4_26B, q8_0(4, 16384), False, (15901, 1317, 338, 577, 40)),
        (GEMMA4_26B, q8_0(16, 16384), True, (15901, 4473, 1361, 577, 295)),
        (GEMMA4_26B, q8_0(4, 65536), False, (15901, 3357, 1154, 577, 88)),
        (GEMMA4_26B, q8_0(1, 262144), False, (15901, 2879, 1346, 577, 280)),
        (GEMMA4_26B, q8_0(8, 16384), False, (15901, 2635, 594, 577, 40)),
        (GEMMA4_26B, q8_0(4, 65536, ubatch_size=2048), False, (15901, 3995, 1547, 577, 357)),
        (GEMMA4_26B, launch(4, 2048), False, (15901, 1360, 102, 577, 25)),
        (GEMMA4_26B, launch(1, 3000, ubatch_size=1024), False, (15901, 460, 208, 577, 54)),
        (GEMMA4_26B, launch(4, 8192, flash_attn="off"), False, (15901, 2160, 354, 577, 57)),
        (LLAMA_8B, launch(4, 2048), False, (4155, 1024, 118, 281, 34)),
        (LLAMA_8B, launch(4, 2048, ubatch_size=2048), False, (4155, 1024, 472, 281, 136)),
        (LLAMA_8B, q8_0(1, 131072), False, (4155, 8704, 680, 281, 160)),
        (LLAMA_8B, launch(1, 32768, flash_attn="off"), False, (4155, 4096, 2156, 281, 100)),
        (GEMMA3_12B, launch(4, 2048), False, (6314, 2432, 123, 540, 33)),
        (GEMMA3_12B, q8_0(1, 131072), False, (6314, 4607, 1200, 540, 160)),
    ],
)
def test_the_account_is_what_llama_cpp_reserves(
    shape: ModelShape, plan: LaunchPlan, kv_unified: bool, reserved: tuple[int, ...]
) -> None:
    memory = account(shape, replace(plan, kv_unified=kv_unified))
    gpu, host = memory.gpu, memory.host
    ours = (gpu.weights, gpu.kv_cache + gpu.kv_cache_swa, gpu.compute, host.weights, host.compute)
    assert [size / MIB for size in ours] == pytest.approx(reserved, abs=20)
    assert sum(ours) / MIB == pytest.approx(sum(reserved), rel=0.01)


# --- by hand


def test_a_small_model_is_accounted_for_to_the_byte() -> None:
    model = header(
        "llama",
        {
            "context_length": 4096,
            "embedding_length": 64,
            "block_count": 2,
            "feed_forward_length": 128,
            "attention.head_count": 2,
            "attention.head_count_kv": 1,
        },
        [
            ("token_embd.weight", (64, 1000), "F16"),
            ("output_norm.weight", (64,), "F32"),
            ("output.weight", (64, 1000), "F16"),
            ("blk.0.attn_k.weight", (64, 32), "Q8_0"),
            ("blk.1.attn_k.weight", (64, 32), "Q8_0"),
        ],
    )
    memory = account(read_shape([model]), launch(2, 1000, cache_ram_mib=256, ubatch_size=64))
    assert memory == MemoryPlan(
        n_cells=2 * 1024,  # padded to 256
        n_cells_swa=0,
        checkpoint_bytes=0,
        gpu=GpuMemory(
            weights=64 * 1000 * 2 + 64 * 4 + 2 * 64 * 34,
            kv_cache=2048 * 2 * (32 + 32) * 2,
            kv_cache_swa=0,
            compute=64 * 1024 * 2 + 4 * 64 * (3 * 128 + 4 * 64),
            mmproj_weights=0,
            mmproj_compute=0,
            draft_weights=0,
            draft_kv_cache=0,
            draft_compute=0,
            context=602 * MIB,
            working=120 * MIB,
        ),
        host=HostMemory(
            process=430 * MIB,
            weights=64 * 1000 * 2,
            kv_cache=0,
            compute=64 * 1024 * 2 + 4 * 4 * 64 * 64,
            output=2 * 1000 * 4,
            draft=0,
            checkpoints=0,
            prompt_cache=256 * MIB,
        ),
    )


def test_the_embeddings_of_gemma_are_on_both_sides_and_the_rest_is_on_the_gpu() -> None:
    memory = account(GEMMA4_26B, q8_0(4, 16384))
    assert memory.gpu.weights == sum(tensor.n_bytes or 0 for tensor in gemma4().tensors)
    assert memory.host.weights == 262144 * 2816 // 256 * 210


def test_a_token_of_gemma_takes_10_kib_in_the_layers_that_see_all_and_a_window_is_1536_cells() -> None:
    memory = account(GEMMA4_26B, q8_0(4, 65536))
    assert memory.gpu.kv_cache == memory.n_cells * 10.625 * KIB  # 2 · 2 heads · 512 · 34/32 bytes · 5 layers
    assert memory.n_cells == 262144
    assert memory.n_cells_swa == 4 * 1536  # 1024 + 512, already a multiple of 256
    assert memory.gpu.kv_cache_swa == memory.n_cells_swa * 106.25 * KIB


def test_a_cache_of_f16_takes_twice_as_much() -> None:
    memory = account(GEMMA4_26B, launch(4, 65536))
    assert memory.gpu.kv_cache == 262144 * 20 * KIB
    assert memory.gpu.kv_cache_swa == 4 * 300 * MIB


@pytest.mark.parametrize(
    ("slots", "ctx_per_slot", "ubatch_size", "kv_unified", "cells"),
    [
        (1, 65536, 512, False, 1536),
        (1, 65536, 500, False, 1536),  # padded
        (1, 65536, 2048, False, 3072),
        (1, 1024, 512, False, 1024),  # never more than the context
        (8, 16384, 512, False, 8 * 1536),
        (16, 16384, 512, True, 16896),  # one stream: 16 windows and one ubatch
    ],
)
def test_the_cells_of_a_sliding_window(
    slots: int, ctx_per_slot: int, ubatch_size: int, kv_unified: bool, cells: int
) -> None:
    plan = q8_0(slots, ctx_per_slot, ubatch_size=ubatch_size)
    assert account(GEMMA4_26B, replace(plan, kv_unified=kv_unified)).n_cells_swa == cells


def test_a_checkpoint_is_one_window_of_the_sliding_layers() -> None:
    memory = account(GEMMA4_26B, q8_0(4, 65536, ctx_checkpoints=8, cache_ram_mib=0))
    assert memory.checkpoint_bytes == 106.25 * MIB
    assert memory.host.checkpoints == 4 * 8 * memory.checkpoint_bytes
    assert memory.host.prompt_cache == 0
    assert account(GEMMA4_26B, launch(1, 65536)).checkpoint_bytes == 200 * MIB
    assert account(LLAMA_8B, launch(1, 65536)).host.checkpoints == 0


def test_a_snapshot_parks_what_the_gpu_holds() -> None:
    memory = account(GEMMA4_26B, q8_0(4, 16384))
    assert memory.parked_bytes / MIB == pytest.approx(17.78 * 1024, rel=0.01)  # RSS 4.26 -> 22.04 GiB


def test_layers_that_are_not_offloaded_are_in_ram_with_their_cache() -> None:
    whole = account(LLAMA_8B, launch(1, 4096))
    for gpu_layers in (-1, 33, 999):
        assert account(LLAMA_8B, launch(1, 4096, gpu_layers=gpu_layers)) == whole
    half = account(LLAMA_8B, launch(1, 4096, gpu_layers=17))
    assert half.gpu.kv_cache == half.host.kv_cache == whole.gpu.kv_cache // 2
    assert half.gpu.weights + half.host.weights == whole.gpu.weights + whole.host.weights
    none = account(LLAMA_8B, launch(1, 4096, gpu_layers=0))
    assert none.gpu.weights == none.gpu.kv_cache == 0
    # tied embeddings are there once if the output is not offloaded
    gemma = account(GEMMA4_26B, launch(1, 4096, gpu_layers=0))
    assert gemma.host.weights == account(GEMMA4_26B, launch(1, 4096)).gpu.weights


def test_layers_that_share_a_cache_have_none() -> None:
    shared = read_shape([gemma4(**{"attention.shared_kv_layers": 6})])
    memory, whole = account(shared, q8_0(1, 65536)), account(GEMMA4_26B, q8_0(1, 65536))
    assert memory.gpu.kv_cache == whole.gpu.kv_cache * 4 // 5
    assert memory.gpu.kv_cache_swa == whole.gpu.kv_cache_swa * 20 // 25


def test_a_models_pattern_of_sliding_windows_is_its_own_or_its_architectures() -> None:
    def sliding(arch: str, **values: Value) -> int:
        model = dense(arch, 12, 256, 2, 2, 128, 512, 1000, **{"attention.sliding_window": 512, **values})
        return sum(layer.is_swa for layer in read_shape([model]).layers)

    assert sliding("gemma3") == 10
    assert sliding("gpt-oss") == 6
    assert sliding("llama") == 0
    assert sliding("plamo3", **{"attention.sliding_window_pattern": 4}) == 9
    assert sliding("plamo3", **{"attention.sliding_window_pattern": (True,) * 5 + (False,) * 7}) == 5


def test_the_parts_of_a_split_model_are_added_up() -> None:
    whole = gemma4()
    first = replace(whole, tensors=whole.tensors[:300])
    rest = replace(whole, tensors=whole.tensors[300:], metadata={})  # only the first part has the values
    assert read_shape([first, rest]) == GEMMA4_26B
    assert read_parts(whole) == (whole,)


def test_an_image_projector_is_weights_and_a_buffer_for_the_largest_image() -> None:
    values = {"embedding_length": 1152, "feed_forward_length": 4304, "image_size": 224, "patch_size": 16}
    pairs = {f"vision.{name}": value for name, value in values.items()}
    layer: list[Tensor] = [("v.blk.0.ffn_up.weight", (1152, 4304), "F32")]
    gemma = header("clip", {**pairs, "vision.projection_dim": 2816, "vision.projector_type": "gemma4v"}, layer)
    plan = q8_0(1, 65536, ubatch_size=256)
    with_images = account(GEMMA4_26B, plan, mmproj=gemma).gpu
    assert with_images.mmproj_weights == 1152 * 4304 * 4
    assert with_images.mmproj_compute / MIB == pytest.approx(150.7, rel=0.03)  # mtmd_get_memory_usage, 256 tokens
    assert with_images.total == account(GEMMA4_26B, plan).gpu.total + with_images.mmproj_weights + (
        with_images.mmproj_compute
    )
    other = header("clip", {**pairs, "projector_type": "siglip"}, layer)
    assert account(GEMMA4_26B, plan, mmproj=other).gpu.mmproj_compute == 4 * (224 // 16) ** 2 * (3 * 4304 + 4 * 1152)


# --- what must hold for every plan


@pytest.mark.parametrize("shape", [GEMMA4_26B, LLAMA_8B])
@pytest.mark.parametrize("kv_unified", [False, True])
@pytest.mark.parametrize("cache_type", ["f16", "q8_0", "q4_0"])
def test_more_slots_or_more_context_never_take_less(shape: ModelShape, kv_unified: bool, cache_type: str) -> None:
    steps = (1, 2, 3, 5, 8, 16)

    def total(slots: int, kilo_tokens: int) -> tuple[int, int]:
        plan = launch(slots, kilo_tokens * 1024, cache_type_k=cache_type, cache_type_v=cache_type)
        memory = account(shape, replace(plan, kv_unified=kv_unified))
        return memory.gpu.total, memory.host.total

    for fixed in steps:
        for less, more in itertools.pairwise(steps):
            assert all(a <= b for a, b in zip(total(less, fixed), total(more, fixed), strict=True))
            assert all(a <= b for a, b in zip(total(fixed, less), total(fixed, more), strict=True))


def test_smaller_cache_types_take_less() -> None:
    sizes = [account(GEMMA4_26B, launch(4, 65536, cache_type_k=t)).gpu.kv_cache for t in ("f32", "f16", "q8_0", "q4_0")]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4


# --- drafters


def smollm2() -> GgufHeader:
    return dense("llama", 30, 576, 9, 3, 64, 1536, 49152, tied=True)


def gemma4_assistant() -> GgufHeader:
    """A drafter for Gemma 4 in full width: it has queries, and the keys and values are the other model's."""
    n_embd, n_embd_target, n_head, n_vocab, n_ff = 1024, 2816, 16, 262144, 4096
    is_swa = (True, True, True, False)
    values: dict[str, Value] = {
        "context_length": 262144,
        "embedding_length": n_embd,
        "embedding_length_out": n_embd_target,
        "block_count": 4,
        "nextn_predict_layers": 4,
        "feed_forward_length": n_ff,
        "attention.head_count": n_head,
        "attention.head_count_kv": tuple(8 if swa else 2 for swa in is_swa),
        "attention.key_length": 512,
        "attention.value_length": 512,
        "attention.key_length_swa": 256,
        "attention.value_length_swa": 256,
        "attention.sliding_window": 1024,
        "attention.sliding_window_pattern": is_swa,
        "attention.shared_kv_layers": 4,
    }
    tensors: list[Tensor] = [
        ("token_embd.weight", (n_embd, n_vocab), "Q8_0"),
        ("nextn.pre_projection.weight", (2 * n_embd_target, n_embd), "Q8_0"),
        ("nextn.post_projection.weight", (n_embd, n_embd_target), "Q8_0"),
    ]
    for il, swa in enumerate(is_swa):
        head = 256 if swa else 512
        tensors += [
            (f"blk.{il}.attn_q.weight", (n_embd, n_head * head), "Q8_0"),
            (f"blk.{il}.attn_output.weight", (n_head * head, n_embd), "Q8_0"),
            (f"blk.{il}.ffn_up.weight", (n_embd, n_ff), "Q8_0"),
            (f"blk.{il}.ffn_gate.weight", (n_embd, n_ff), "Q8_0"),
            (f"blk.{il}.ffn_down.weight", (n_ff, n_embd), "Q8_0"),
        ]
    return header("gemma4-assistant", values, tensors)


SMOLLM2_DRAFTS = read_drafter([smollm2()], "draft-simple")
ASSISTANT = read_drafter([gemma4_assistant()], "draft-mtp")


@pytest.mark.parametrize(
    ("changes", "compute"),
    [
        ({}, 8.32),
        ({"cache_type_k": "q8_0", "cache_type_v": "q8_0", "gpu_layers": 0}, 8.32),
        ({"kv_unified": True}, 11.32),
    ],
)
def test_a_drafter_takes_what_llama_cpp_reserves_for_it(changes: dict[str, Any], compute: float) -> None:
    plan = launch(4, 2048, ubatch_size=256, flash_attn="on", **changes)
    gpu = account(GEMMA4_26B, plan, drafter=SMOLLM2_DRAFTS).gpu
    assert gpu.draft_kv_cache == 180 * MIB  # in f16, whatever the model's own cache is
    assert gpu.draft_compute / MIB == pytest.approx(compute, abs=1)
    assert gpu.draft_weights == sum(tensor.n_bytes or 0 for tensor in smollm2().tensors)


def test_a_drafter_is_counted_beside_the_model_and_changes_nothing_else() -> None:
    plan = q8_0(4, 65536)
    alone, both = account(GEMMA4_26B, plan), account(GEMMA4_26B, plan, drafter=SMOLLM2_DRAFTS)
    gpu, host = both.gpu, both.host
    assert gpu.total - alone.gpu.total == gpu.draft_weights + gpu.draft_kv_cache + gpu.draft_compute
    embeddings = smollm2().tensors[0].n_bytes
    assert embeddings is not None
    assert host.total - alone.host.total == host.draft > embeddings
    assert replace(gpu, draft_weights=0, draft_kv_cache=0, draft_compute=0) == alone.gpu
    assert replace(host, draft=0) == alone.host
    assert both.parked_bytes == gpu.total


def test_the_drafter_of_gemma_4_reads_the_models_cache_and_has_none() -> None:
    gpu = account(GEMMA4_26B, q8_0(4, 65536), drafter=ASSISTANT).gpu
    assert ASSISTANT.not_counted == ""
    assert gpu.draft_kv_cache == 0
    assert gpu.draft_weights == sum(tensor.n_bytes or 0 for tensor in gemma4_assistant().tensors)
    copy = 2 * 262144 * 2 * (2 * 512)  # of the layer that sees it all, as f16
    assert copy < gpu.draft_compute < copy + 150 * MIB
    f16 = account(GEMMA4_26B, launch(4, 65536), drafter=ASSISTANT).gpu
    assert f16.draft_compute < gpu.draft_compute - copy * 0.9


@pytest.mark.parametrize(
    ("parts", "spec_type", "reason"),
    [
        ([smollm2()], "ngram-mod,draft-mtp", "what draft-mtp takes with llama is not known here."),
        ([smollm2()], "draft-eagle3", "what draft-eagle3 takes with llama is not known here."),
        ([header("eagle3", {}, [])], None, "model.gguf has no token embeddings"),
        ([header("mamba", {"ssm.state_size": 16}, [])], "draft-simple", "a recurrent state"),
    ],
)
def test_of_a_drafter_of_another_kind_the_files_are_counted_and_the_rest_is_said_not_to_be(
    parts: list[GgufHeader], spec_type: str | None, reason: str
) -> None:
    drafter = read_drafter(parts, spec_type)
    assert drafter.not_counted.startswith("Of the drafter only the weights are counted, and not its KV cache")
    assert reason in drafter.not_counted
    gpu = account(GEMMA4_26B, launch(1, 4096), drafter=drafter).gpu
    assert (gpu.draft_weights, gpu.draft_kv_cache, gpu.draft_compute) == (parts[0].file_size, 0, 0)


@pytest.mark.parametrize(("spec_type", "said"), [(None, False), ("ngram-mod", False), ("ngram-mod,draft-mtp", True)])
def test_what_a_model_that_drafts_for_itself_takes_is_said_not_to_be_counted(spec_type: str | None, said: bool) -> None:
    assert bool(own_drafts(spec_type)) is said


# --- cards


def test_the_largest_context_fits_and_the_next_one_does_not() -> None:
    plan, card = launch(1, 4096, ubatch_size=2048), CARDS["L4"]
    contexts = largest_contexts(card, GEMMA4_26B, plan)

    def fits(slots: int, ctx_per_slot: int) -> bool:
        changed = replace(plan, slots=slots, ctx_per_slot=ctx_per_slot)
        return account(GEMMA4_26B, changed).gpu.total <= card.usable_bytes

    assert list(contexts) == [1, 2, 4, 8, 16]
    assert [ctx is None for ctx in contexts.values()] == [False, False, False, True, True]
    for slots, ctx in contexts.items():
        assert ctx is None or fits(slots, ctx)
        assert not fits(slots, (ctx or 0) + 4096)


def test_beside_a_drafter_less_context_fits() -> None:
    plan, card = launch(1, 4096), CARDS["L4"]
    drafter = Drafter(file_bytes=1024 * MIB)
    alone, beside = (largest_contexts(card, GEMMA4_26B, plan, drafter=each)[1] for each in (None, drafter))
    assert alone is not None
    assert beside is not None
    assert beside < alone


def test_no_context_is_larger_than_what_the_model_was_trained_for() -> None:
    assert set(largest_contexts(CARDS["H100"], GEMMA4_26B, q8_0(1, 4096)).values()) == {262144}


def test_cards_are_found_in_any_case_and_the_nearest_is_named() -> None:
    assert find_card("l40s") is CARDS["L40S"]
    with pytest.raises(CommandFailure, match=r"There is no card 'L40'; did you mean 'L40S'\?"):
        find_card("L40")


# --- what is refused


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cache_type_v": "q8_0", "flash_attn": "off"}, "A quantized V cache needs flash attention: set flash_attn=on"),
        ({"cache_type_k": "q9"}, "cache_type_k=q9 is no cache type; there are f32, f16, bf16, q8_0,"),
        ({"cache_ram_mib": -1}, "cache_ram_mib=-1 sets no limit to the prompt cache"),
        ({"slots": 0}, "A plan needs 1 to 256 slots"),
        ({"ctx_per_slot": 0}, "a context of at least one token each"),
    ],
)
def test_a_plan_that_llama_server_would_refuse_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CommandFailure, match=sentence):
        account(GEMMA4_26B, replace(launch(1, 4096), **changes))


def test_a_cache_type_must_divide_the_heads() -> None:
    narrow = read_shape([dense("llama", 1, 256, 16, 16, 16, 512, 1000)])
    with pytest.raises(CommandFailure, match="cache_type_k=q8_0 does not suit this model"):
        account(narrow, q8_0(1, 4096))


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (gemma4(**{"ssm.state_size": 128}), "has a recurrent state, which this account does not cover"),
        (gemma4(**{"attention.kv_lora_rank": 512}), "has multi-head latent attention"),
        (gemma4(block_count=0), "claims 0 layers"),
        (gemma4(block_count=2**32 - 1), "claims 4,294,967,295 layers"),
        (gemma4(context_length="long"), r"does not say its gemma4\.context_length"),
        (gemma4(**{"attention.head_count_kv": (8, 2)}), r"does not say its gemma4\.attention\.head_count_kv"),
        (gemma4(**{"attention.sliding_window_pattern": (True,)}), "does not say its gemma4.attention.sliding_window"),
        (gemma4(**{"attention.head_count_kv": GgufArray("uint32", 9999)}), "does not say"),
        (header("clip", {}, [("v.patch_embd.weight", (16, 16), "F32")]), "no token embeddings, so it is no text model"),
        (header("llama", {}, [("token_embd.weight", (16, 16), "type 99")]), "as type 99, whose size is not known"),
    ],
)
def test_a_model_that_cannot_be_accounted_for_is_named_with_the_reason(model: GgufHeader, sentence: str) -> None:
    with pytest.raises(CommandFailure, match=sentence):
        read_shape([model])
