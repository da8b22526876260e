"""Fields that several dialects have: what they may hold, and what of the samplers goes upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gateway.dialects.json_body import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.request import Json

Choices = Annotated[int, Meta(ge=1, le=8)]
FunctionName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_.-]{1,128}$(?!\n)")]  # Python's $ lets a last line feed pass
Stop = str | Annotated[list[str], Meta(max_length=16)]
Tokens = Annotated[int, Meta(ge=1, le=2**31 - 1)]
TopLogprobs = Annotated[int, Meta(ge=0, le=20)]

Temperature = Annotated[float, Meta(ge=0, le=2)]
Probability = Annotated[float, Meta(ge=0, le=1)]
TopK = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
RepeatPenalty = Annotated[float, Meta(gt=0, le=10)]
LogitBias = dict[str, Annotated[float, Meta(ge=-100, le=100)]]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

Nothing = Annotated[Any, Meta(extra_json_schema={"type": "null"})]
"""A field that cannot be honoured: null asks for nothing, and anything else is to be refused by name."""

_SAMPLERS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repeat_penalty",
    "logit_bias",
)


def stop_texts(stop: Stop | None) -> tuple[str, ...]:
    """Return a body's stop texts, without empty ones: such a text would end every answer before its first word."""
    return tuple(text for text in ([stop] if isinstance(stop, str) else stop or ()) if text)


def refuse_unsupported(body: msgspec.Struct, unsupported: Mapping[str, str]) -> None:
    """Refuse the fields that cannot be honoured, unless they are null and ask for nothing.

    Args:
        body: Holds them as `Nothing`.
        unsupported: Their names, with what to say of them.

    Raises:
        InvalidRequest: It names the first.
    """
    for name, why in unsupported.items():
        if getattr(body, name) is not None:
            raise invalid(name, why)


def chosen_sampling(body: msgspec.Struct) -> Json:
    """Return a body's samplers as llama-server takes them: those that the dialect has and the client has set."""
    chosen = {name: value for name in _SAMPLERS if (value := getattr(body, name, None)) is not None}
    seed: int | None = getattr(body, "seed", None)
    if seed is not None:
        chosen["seed"] = seed % 2**32  # llama-server's seeds have 32 bits; -1 is "any" on both sides
    return chosen
