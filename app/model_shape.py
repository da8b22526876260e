"""What of a model decides how much memory it takes, read from its header as llama.cpp reads it.

Names are llama.cpp's: `n_embd` is the width of the model, `n_embd_k_gqa` the width of a layer's K cache, SWA the
sliding window that some layers are limited to. Sources are files of llama.cpp b11549.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.failure import CommandFailure
from app.gguf import GgufHeader, read_header

if TYPE_CHECKING:
    from collections.abc import Sequence

# The input layer stays on the CPU whatever -ngl says (llama-model.cpp:1633; the list is in llama-arch.cpp:757-964).
INPUT_TENSORS = frozenset({"token_embd", "position_embd", "token_types", "per_layer_token_embd"})

LLAMA_MAX_LAYERS = 512  # llama-hparams.h:11

# Of every so many layers the last one sees the whole context, in models that do not say it themselves: the
# argument of `load_swa_pattern` in src/models/. For any other model all layers are counted as if they saw it all.
SWA_PERIODS = {"cohere2": 4, "gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2}

# Keys of models that remember something else than one K and one V row for each token and layer.
_OTHER_MEMORIES = {
    "attention.kv_lora_rank": "multi-head latent attention",
    "attention.indexer.key_length": "an attention index",
    "shortconv.l_cache": "a recurrent state",
    "ssm.state_size": "a recurrent state",
    "wkv.head_size": "a recurrent state",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer.

    Attributes:
        is_swa: Whether it sees a sliding window only.
        has_kv: Whether it has a KV cache of its own, and not an earlier layer's.
        n_head: Attention heads of the queries.
        n_head_kv: Heads of keys and values.
        n_embd_head_k: The width of one head of queries and keys.
        n_embd_head_v: The width of one head of values.
        weight_bytes: The size of its weights.
    """

    is_swa: bool
    has_kv: bool
    n_head: int
    n_head_kv: int
    n_embd_head_k: int
    n_embd_head_v: int
    weight_bytes: int

    @property
    def n_embd_q(self) -> int:
        """The width of a token's query."""
        return self.n_head * self.n_embd_head_k

    @property
    def n_embd_k_gqa(self) -> int:
        """The width of a token's row in the K cache (llama-hparams.cpp:156)."""
        return self.n_head_kv * self.n_embd_head_k

    @property
    def n_embd_v_gqa(self) -> int:
        """The width of a token's row in the V cache, also where V is computed with K's weights."""
        return self.n_head_kv * self.n_embd_head_v


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A model, as far as memory goes.

    Attributes:
        architecture: Such as `gemma4`.
        n_ctx_train: The context it was trained for, in tokens.
        n_embd: The width of the model.
        n_vocab: How many tokens there are.
        n_ff: The width of the widest dense feed-forward layer.
        n_ff_exp: The width of one expert; 0 without experts.
        n_expert_used: How many experts a token goes through.
        n_swa: The sliding window, in tokens; 0 if all layers see the whole context.
        layers: In order.
        input_bytes: Weights that stay on the CPU: the token embeddings.
        output_bytes: Weights after the last layer.
        tied_bytes: The token embeddings, if the output uses them too; 0 if it has weights of its own.
    """

    architecture: str
    n_ctx_train: int
    n_embd: int
    n_vocab: int
    n_ff: int
    n_ff_exp: int
    n_expert_used: int
    n_swa: int
    layers: tuple[Layer, ...]
    input_bytes: int
    output_bytes: int
    tied_bytes: int


def read_parts(first: GgufHeader) -> tuple[GgufHeader, ...]:
    """Return the headers of all the files of a model whose first file (or only one) is known to be right.

    Raises:
        ModelFileError: One of the others cannot be read.
    """
    count = first.split_count
    stem = first.path.name.removesuffix(f"-00001-of-{count:05}.gguf")
    others = (first.path.with_name(f"{stem}-{number:05}-of-{count:05}.gguf") for number in range(2, count + 1))
    return (first, *map(read_header, others))


def read_shape(parts: Sequence[GgufHeader]) -> ModelShape:
    """Read a text model's shape from the headers of its files, the first one first.

    Raises:
        CommandFailure: It is no text model, or one whose memory is of another kind than the KV cache.
    """
    header = parts[0]
    for key, memory in _OTHER_MEMORIES.items():
        if header.hyperparameter(key):
            raise CommandFailure(
                f"{header.path} has {memory}, which this account does not cover; "
                "llama.cpp's own `llama-fit-params --fit-print on` does."
            )
    weights = _Weights(parts)
    n_layer = _required(header, "block_count")
    if not 1 <= n_layer <= LLAMA_MAX_LAYERS:
        raise CommandFailure(f"{header.path} claims {n_layer:,} layers, and llama.cpp takes 1 to {LLAMA_MAX_LAYERS}.")
    n_swa = max(_each(header, "attention.sliding_window", 1, 0))
    is_swa = _swa_layers(header, n_layer) if n_swa else [False] * n_layer
    return ModelShape(
        architecture=header.architecture,
        n_ctx_train=_required(header, "context_length"),
        n_embd=_required(header, "embedding_length"),
        n_vocab=weights.n_vocab,
        n_ff=max(_each(header, "feed_forward_length", n_layer, 0)),
        n_ff_exp=_expert_width(header, n_layer),
        n_expert_used=max(_each(header, "expert_used_count", n_layer, 0)),
        n_swa=n_swa if any(is_swa) else 0,
        layers=_layers(header, is_swa, weights),
        input_bytes=weights.input_bytes,
        output_bytes=weights.output_bytes,
        tied_bytes=weights.tied_bytes,
    )


def tensor_bytes(parts: Sequence[GgufHeader]) -> dict[str, int]:
    """Return the size of each tensor in these files, by name.

    Raises:
        CommandFailure: A tensor's type is not known.
    """
    sizes: dict[str, int] = {}
    for part in parts:
        for tensor in part.tensors:
            if tensor.n_bytes is None:
                raise CommandFailure(f"{part.path} holds {tensor.name} as {tensor.type}, whose size is not known here.")
            sizes[tensor.name] = tensor.n_bytes
    return sizes


class _Weights:
    """Sizes of a model's weights, by where llama.cpp puts them (llama-model-loader.cpp:1166, 1371)."""

    def __init__(self, parts: Sequence[GgufHeader]) -> None:
        sizes = tensor_bytes(parts)
        embeddings = [t for part in parts for t in part.tensors if t.name == "token_embd.weight" and t.shape]
        if not embeddings:
            raise CommandFailure(f"{parts[0].path} has no token embeddings, so it is no text model.")
        self.n_vocab = embeddings[0].shape[-1]
        self.input_bytes = self.output_bytes = 0
        self.layer_bytes: Counter[int] = Counter()
        for name, size in sizes.items():
            if layer := re.match(r"blk\.(\d+)\.", name):
                self.layer_bytes[int(layer[1])] += size
            elif name.split(".")[0] in INPUT_TENSORS:
                self.input_bytes += size
            else:
                self.output_bytes += size
        self.tied_bytes = 0 if "output.weight" in sizes else sizes["token_embd.weight"]


def _layers(header: GgufHeader, is_swa: list[bool], weights: _Weights) -> tuple[Layer, ...]:
    """See llama-model.cpp:1425-1495 for the defaults, and llama-hparams.cpp:321 for layers without a cache."""
    n_layer = len(is_swa)
    n_head = _each(header, "attention.head_count", n_layer)
    n_head_kv = _each(header, "attention.head_count_kv", n_layer, n_head)
    n_embd_head = _required(header, "embedding_length") // max(1, n_head[0])
    head_k, head_v = (_each(header, f"attention.{x}_length", n_layer, n_embd_head) for x in ("key", "value"))
    swa_k, swa_v = (
        _each(header, f"attention.{x}_length_swa", n_layer, full) for x, full in (("key", head_k), ("value", head_v))
    )
    n_layer_kv_from_start = n_layer - _each(header, "attention.shared_kv_layers", 1, 0)[0]
    return tuple(
        Layer(
            is_swa=is_swa[il],
            has_kv=il < n_layer_kv_from_start,
            n_head=n_head[il],
            n_head_kv=n_head_kv[il],
            n_embd_head_k=(swa_k if is_swa[il] else head_k)[il],
            n_embd_head_v=(swa_v if is_swa[il] else head_v)[il],
            weight_bytes=weights.layer_bytes[il],
        )
        for il in range(n_layer)
    )


def _swa_layers(header: GgufHeader, n_layer: int) -> list[bool]:
    """The pattern as the model gives it, else as its architecture implies it (llama-model.cpp:3506)."""
    key = "attention.sliding_window_pattern"
    if isinstance(header.hyperparameter(key), tuple):
        return [bool(value) for value in _each(header, key, n_layer)]
    period = _each(header, key, 1, SWA_PERIODS.get(header.architecture, 1))[0]
    return [period == 0 or il % period < period - 1 for il in range(n_layer)]


def _expert_width(header: GgufHeader, n_layer: int) -> int:
    if not max(_each(header, "expert_count", n_layer, 0)):
        return 0
    return max(_each(header, "expert_feed_forward_length", n_layer, _each(header, "feed_forward_length", n_layer, 0)))


def _required(header: GgufHeader, name: str) -> int:
    return _each(header, name, 1)[0]


def _each(header: GgufHeader, name: str, n_layer: int, default: int | list[int] | None = None) -> list[int]:
    """Return a value for each layer: models give one for all, or an array (`get_key_or_arr`)."""
    value = header.hyperparameter(name)
    if value is None:
        value = tuple(default) if isinstance(default, list) else default
    if isinstance(value, int):
        return [value] * n_layer
    if isinstance(value, tuple) and len(value) >= n_layer:
        return [int(number) for number in value[:n_layer]]
    raise CommandFailure(f"{header.path} does not say its {header.architecture}.{name}, so it cannot be accounted for.")
