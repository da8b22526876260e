"""A model that drafts tokens for another one to check: what of its memory can be known before a start.

llama-server gives it as many slots and as much context as the other one has, a cache of f16 and all of its layers on
the GPU, whatever the plan says of the other one's (`common_base_params_to_speculative` of common/speculative.cpp).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.failure import CommandFailure
from app.model_shape import read_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.gguf import GgufHeader
    from app.model_shape import ModelShape

# Drafters without keys and values of their own: they read the other model's (llama-kv-cache.cpp, `mem_other`).
SHARING = frozenset({"gemma4-assistant"})

# Ways to draft whose contexts are of another kind than a model's that answers by itself.
OTHER_KINDS = frozenset({"draft-mtp", "draft-eagle3", "draft-dflash", "draft-dspark"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafter:
    """A drafter, as far as memory goes.

    Attributes:
        file_bytes: The size of its files.
        shape: Its shape, or None if nothing but their size can be known.
        shares_cache: Whether it reads the other model's KV cache and has none.
        not_counted: A sentence on what cannot be known; empty if all is.
    """

    file_bytes: int
    shape: ModelShape | None = None
    shares_cache: bool = False
    not_counted: str = ""


def read_drafter(parts: Sequence[GgufHeader], spec_type: str | None) -> Drafter:
    """Read a drafter from the headers of its files, the first one first.

    Args:
        parts: They.
        spec_type: How it drafts, as in the plan.
    """
    file_bytes, architecture = sum(part.file_size for part in parts), parts[0].architecture
    shares_cache = architecture in SHARING
    kinds = _other_kinds(spec_type)
    if kinds and not shares_cache:
        reason = f"what {kinds} takes with {architecture} is not known here"
        return Drafter(file_bytes=file_bytes, not_counted=_only_the_weights(reason))
    try:
        return Drafter(file_bytes=file_bytes, shape=read_shape(parts), shares_cache=shares_cache)
    except CommandFailure as failure:
        return Drafter(file_bytes=file_bytes, not_counted=_only_the_weights(str(failure).rstrip(".")))


def own_drafts(spec_type: str | None) -> str:
    """Return a sentence on a model that drafts for itself, without a drafter's file; empty if it does not."""
    kinds = _other_kinds(spec_type)
    return f"What {kinds} takes without a drafter's file is not known here and not counted." if kinds else ""


def _other_kinds(spec_type: str | None) -> str:
    """Return those of the ways to draft that are of another kind, as a sentence lists them."""
    return ", ".join(sorted(OTHER_KINDS.intersection((spec_type or "").split(","))))


def _only_the_weights(reason: str) -> str:
    return f"Of the drafter only the weights are counted, and not its KV cache and its buffer: {reason}."
