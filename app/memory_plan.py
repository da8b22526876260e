"""How much memory llama-server takes for a launch plan, on the GPU and beside it, before anything is started.

Sums of what llama.cpp b11549 allocates; the files and lines are its. Weights and KV cache follow from the header
to the byte. The compute buffer is what ggml's allocator makes of the graph: its terms were found by letting
llama.cpp reserve its buffers for six models without loading them, see docs/plan.md. Three constants are measured.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from app.failure import CommandFailure
from app.gguf import GGML_TYPES, GgmlType
from app.model_shape import tensor_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.drafter import Drafter
    from app.gguf import GgufHeader
    from app.model_shape import Layer, ModelShape
    from server_supervisor.plan import LaunchPlan

MIB = 1024 * 1024

# Measured on an H100 with driver 580 and CUDA 13 (b11434), as nvidia-smi's total less everything counted here;
# 4 MiB of it are there without any process. Other cards are taken to be the same.
CUDA_CONTEXT_BYTES = 602 * MIB  # the process's context and the kernels, once the server is ready
CUDA_WORKING_BYTES = 120 * MIB  # cuBLAS and the pool for short-lived buffers, once long prompts have run
PROCESS_BYTES = 430 * MIB  # resident memory of the ready server less what is counted here: vocabulary, CUDA's own

# llama-server's defaults (common/common.h).
BATCH_SIZE = 2048
UBATCH_SIZE = 512
CACHE_TYPE = "f16"
CACHE_RAM_MIB = 8192
CTX_CHECKPOINTS = 32
# `kv_cache_types` of common/arg.cpp
CACHE_TYPES = {
    name: next(kind for kind in GGML_TYPES.values() if kind.name == name.upper())
    for name in ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
}

_F16, _F32 = 2, 4  # bytes
_PADDING = 256  # GGML_PAD of contexts and of the SWA cache, in tokens
LLAMA_MAX_SEQ = 256  # llama-cparams.h:8

GEMMA4_IMAGE_TOKENS = 1120  # for one image at most (tools/mtmd/clip.cpp:1695)
GEMMA4_PATCHES_PER_TOKEN = 9  # n_merge squared (clip.cpp:1687)
GEMMA4_CAUSAL_WIDTHS = (1536, 2560)  # of E2B and E4B, whose images need not fit in one ubatch (mtmd.cpp:2207)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuMemory:
    """Bytes on the GPU.

    Attributes:
        weights: Of the layers that are offloaded.
        kv_cache: Of layers that see the whole context.
        kv_cache_swa: Of layers that see a sliding window.
        compute: llama.cpp's buffer for the largest graph.
        mmproj_weights: The image projector.
        mmproj_compute: Its buffer, for the largest image.
        draft_weights: The drafter.
        draft_kv_cache: Its cache; 0 if it reads the model's.
        draft_compute: Its buffer.
        context: What CUDA takes for itself.
        working: What comes on top under load.
    """

    weights: int
    kv_cache: int
    kv_cache_swa: int
    compute: int
    mmproj_weights: int
    mmproj_compute: int
    draft_weights: int
    draft_kv_cache: int
    draft_compute: int
    context: int
    working: int

    @property
    def total(self) -> int:
        """What must be free: nvidia-smi's figure after load."""
        return _sum(self)

    @property
    def start(self) -> int:
        """nvidia-smi's figure when the server has become ready."""
        return self.total - self.working


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """Bytes of RAM.

    Attributes:
        process: The program, the vocabulary, CUDA's part on the host.
        weights: What is not offloaded: always the token embeddings.
        kv_cache: Of layers that are not offloaded.
        compute: The graph's inputs.
        output: Logits of one token for each slot.
        draft: All of these of the drafter.
        checkpoints: Context checkpoints, once each slot has all it may have.
        prompt_cache: Old prompts, once `--cache-ram` is full.
    """

    process: int
    weights: int
    kv_cache: int
    compute: int
    output: int
    draft: int
    checkpoints: int
    prompt_cache: int

    @property
    def total(self) -> int:
        """What it can come to."""
        return _sum(self)

    @property
    def start(self) -> int:
        """The resident memory when the server has become ready."""
        return self.total - self.checkpoints - self.prompt_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """The whole account.

    Attributes:
        n_cells: Tokens that the caches of layers with the whole context hold, all slots together.
        n_cells_swa: The same for layers with a sliding window.
        checkpoint_bytes: The size of one context checkpoint.
        gpu: Bytes on the GPU.
        host: Bytes of RAM.
    """

    n_cells: int
    n_cells_swa: int
    checkpoint_bytes: int
    gpu: GpuMemory
    host: HostMemory

    @property
    def parked_bytes(self) -> int:
        """RAM that a snapshot of the GPU adds, for all its memory moves there: as much as was measured."""
        return self.gpu.total


def account(
    shape: ModelShape, launch: LaunchPlan, *, mmproj: GgufHeader | None = None, drafter: Drafter | None = None
) -> MemoryPlan:
    """Add up what a launch takes.

    Args:
        shape: The model's.
        launch: How it is run; `None` in it is llama-server's default, and flash attention's `auto` is on.
        mmproj: The image projector's header, if one is loaded.
        drafter: The model that drafts for it, if one is loaded.

    Raises:
        CommandFailure: llama-server would refuse the plan, or it sets no limit to add up.
    """
    run = _Run(shape, launch)
    draft = _account_drafter(drafter, launch) if drafter else _Draft()
    # -ngl counts from the end, and the output is one more layer (llama-model.cpp:1617).
    n_layer = len(shape.layers)
    n_gpu_layers = _given(launch.gpu_layers, -1)
    i_gpu_start = max(0, n_layer + 1 - n_gpu_layers) if n_gpu_layers >= 0 else 0
    kept, offloaded = shape.layers[:i_gpu_start], shape.layers[i_gpu_start:]
    output_offloaded = i_gpu_start <= n_layer
    checkpoint = min(shape.n_swa, run.n_ctx_seq) * sum(run.cell_bytes(layer) for layer in shape.layers if layer.is_swa)
    return MemoryPlan(
        n_cells=run.n_stream * run.n_ctx_seq,
        n_cells_swa=run.n_stream * run.n_ctx_swa if shape.n_swa else 0,
        checkpoint_bytes=checkpoint,
        gpu=GpuMemory(
            weights=_weights(offloaded) + output_offloaded * (shape.output_bytes + shape.tied_bytes),
            kv_cache=sum(run.kv_bytes(layer) for layer in offloaded if not layer.is_swa),
            kv_cache_swa=sum(run.kv_bytes(layer) for layer in offloaded if layer.is_swa),
            compute=run.mask_bytes + run.largest_stage_bytes,
            mmproj_weights=sum(tensor_bytes([mmproj]).values()) if mmproj else 0,
            mmproj_compute=_mmproj_compute(mmproj, run.n_ubatch) if mmproj else 0,
            draft_weights=draft.weights,
            draft_kv_cache=draft.kv_cache,
            draft_compute=draft.compute,
            context=CUDA_CONTEXT_BYTES,
            working=CUDA_WORKING_BYTES,
        ),
        host=HostMemory(
            process=PROCESS_BYTES,
            weights=shape.input_bytes + _weights(kept) + (not output_offloaded) * shape.output_bytes,
            kv_cache=sum(run.kv_bytes(layer) for layer in kept),
            compute=run.mask_bytes + 4 * _F32 * run.n_ubatch * shape.n_embd,
            output=_F32 * shape.n_vocab * launch.slots,
            draft=draft.host,
            checkpoints=launch.slots * _given(launch.ctx_checkpoints, CTX_CHECKPOINTS) * checkpoint,
            prompt_cache=_given(launch.cache_ram_mib, CACHE_RAM_MIB) * MIB,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """Bytes of a drafter, on the GPU but for `host`."""

    weights: int = 0
    kv_cache: int = 0
    compute: int = 0
    host: int = 0


def _account_drafter(drafter: Drafter, launch: LaunchPlan) -> _Draft:
    """Add up what a drafter takes: a context like the model's, but with a cache of its own kind, or none."""
    if drafter.shape is None:
        return _Draft(weights=drafter.file_bytes)
    cached = launch if drafter.shares_cache else replace(launch, cache_type_k=None, cache_type_v=None)
    memory = account(drafter.shape, replace(cached, gpu_layers=None))
    gpu, host = memory.gpu, memory.host
    return _Draft(
        weights=gpu.weights,
        kv_cache=0 if drafter.shares_cache else gpu.kv_cache + gpu.kv_cache_swa,
        compute=gpu.compute,
        host=host.weights + host.compute + host.output,
    )


class _Run:
    """A launch with llama.cpp's rules applied to it (llama-context.cpp:248-300)."""

    def __init__(self, shape: ModelShape, launch: LaunchPlan) -> None:
        if not (1 <= launch.slots <= LLAMA_MAX_SEQ and launch.ctx_per_slot >= 1):
            raise CommandFailure(f"A plan needs 1 to {LLAMA_MAX_SEQ} slots, and a context of at least one token each.")
        if _given(launch.cache_ram_mib, CACHE_RAM_MIB) < 0:
            raise CommandFailure("cache_ram_mib=-1 sets no limit to the prompt cache, so there is nothing to add up.")
        n_ctx = launch.slots * launch.ctx_per_slot
        n_batch = min(_pad(n_ctx), _given(launch.batch_size, BATCH_SIZE))
        self.shape = shape
        self.slots = launch.slots
        kv_unified = bool(launch.kv_unified)  # the default with a given number of slots is a cache for each
        self.n_stream = 1 if kv_unified else launch.slots
        self.n_ubatch = min(n_batch, _given(launch.ubatch_size, UBATCH_SIZE) or n_batch)
        self.n_ctx_seq = _pad(n_ctx if kv_unified else launch.ctx_per_slot)
        n_seq_in_stream = launch.slots if kv_unified else 1
        # llama-kv-cache-iswa.cpp:73
        self.n_ctx_swa = _pad(min(self.n_ctx_seq, shape.n_swa * n_seq_in_stream + self.n_ubatch))
        self.flash_attn = launch.flash_attn != "off"
        self.type_k = self._cache_type("cache_type_k", launch.cache_type_k)
        self.type_v = self._cache_type("cache_type_v", launch.cache_type_v)
        self._n_embd_v_max = max(layer.n_embd_v_gqa for layer in shape.layers)
        if self.type_v.block_elements > 1 and not self.flash_attn:
            raise CommandFailure("A quantized V cache needs flash attention: set flash_attn=on, or cache_type_v=f16.")

    def kv_bytes(self, layer: Layer) -> int:
        """A layer's part of the KV cache (llama-kv-cache.cpp:209-234)."""
        return layer.has_kv * self.n_stream * self._n_kv(layer) * self.cell_bytes(layer)

    def cell_bytes(self, layer: Layer) -> int:
        """One token's K and V in one layer. Without flash attention V is as wide as in the widest layer."""
        n_embd_v = layer.n_embd_v_gqa if self.flash_attn else self._n_embd_v_max
        return _row_bytes(self.type_k, layer.n_embd_k_gqa) + _row_bytes(self.type_v, n_embd_v)

    @property
    def mask_bytes(self) -> int:
        """Which token may see which cell, once for each kind of layer (llama-graph.cpp:30)."""
        n_kv = {layer.is_swa: self._n_kv(layer) for layer in self.shape.layers}
        return (_F16 if self.flash_attn else _F32) * self.n_ubatch * sum(n_kv.values())

    @property
    def largest_stage_bytes(self) -> int:
        """The step of the graph that needs the most at once: the others use the same memory before and after it."""
        shape = self.shape
        dense = 3 * shape.n_ff
        experts = shape.n_expert_used * (3 * shape.n_ff_exp + shape.n_embd)
        feed_forward = _F32 * self.n_ubatch * (max(dense, experts) + 4 * shape.n_embd)
        output = _F32 * self.slots * (shape.n_vocab + shape.n_embd)  # one token of each slot (server-context.cpp:42)
        return max(feed_forward, output, *map(self._attention_bytes, shape.layers))

    def _attention_bytes(self, layer: Layer) -> int:
        q, n_embd = layer.n_embd_q, self.shape.n_embd
        if not self.flash_attn:
            return _F32 * self.n_ubatch * (4 * q + 3 * n_embd + self._n_kv(layer) * layer.n_head)
        # All cells of K and V that are not f16 are there once more as f16 (fattn.cu:722, fattn-common.cuh:53).
        rows = ((self.type_k, layer.n_embd_k_gqa), (self.type_v, layer.n_embd_v_gqa))
        converted = _F16 * self.n_stream * self._n_kv(layer) * sum(n for kind, n in rows if kind.name != "F16")
        return _F32 * self.n_ubatch * 3 * (q + n_embd) + converted

    def _n_kv(self, layer: Layer) -> int:
        return self.n_ctx_swa if layer.is_swa else self.n_ctx_seq

    def _cache_type(self, name: str, value: str | None) -> GgmlType:
        kind = CACHE_TYPES.get(value or CACHE_TYPE)
        if kind is None:
            raise CommandFailure(f"{name}={value} is no cache type; there are {', '.join(CACHE_TYPES)}.")
        heads = {head for layer in self.shape.layers for head in (layer.n_embd_head_k, layer.n_embd_head_v)}
        if any(head % kind.block_elements for head in heads):
            raise CommandFailure(f"{name}={value} does not suit this model: its blocks do not divide a head.")
        return kind


def _mmproj_compute(mmproj: GgufHeader, n_ubatch: int) -> int:
    """The image projector's buffer: its feed-forward step for all patches of the largest image."""
    n_ff, n_embd, image_size, patch_size, width = (
        value if isinstance(value := mmproj.metadata.get(f"clip.vision.{key}"), int) else 0
        for key in ("feed_forward_length", "embedding_length", "image_size", "patch_size", "projection_dim")
    )
    n_patches = (image_size // max(1, patch_size)) ** 2
    if mmproj.metadata.get("clip.vision.projector_type", mmproj.metadata.get("clip.projector_type")) == "gemma4v":
        tokens = GEMMA4_IMAGE_TOKENS if width in GEMMA4_CAUSAL_WIDTHS else min(GEMMA4_IMAGE_TOKENS, n_ubatch)
        n_patches = tokens * GEMMA4_PATCHES_PER_TOKEN
    return _F32 * n_patches * (3 * n_ff + 4 * n_embd)


def _weights(layers: Sequence[Layer]) -> int:
    return sum(layer.weight_bytes for layer in layers)


def _row_bytes(kind: GgmlType, n: int) -> int:
    return n // kind.block_elements * kind.block_bytes


def _pad(n: int) -> int:
    return n + -n % _PADDING


def _given(value: int | None, default: int) -> int:
    return default if value is None else value


def _sum(parts: GpuMemory | HostMemory) -> int:
    return sum(getattr(parts, field.name) for field in fields(parts))
