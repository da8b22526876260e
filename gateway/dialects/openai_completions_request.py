"""OpenAI's older Completions: the request body.

Field by field after https://platform.openai.com/docs/api-reference/completions/create, as of November 2026. The prompt
becomes one user message: llama-server's raw completion routes are not used, because a field that they read can end the
process, and a chat model makes little of a bare prompt.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.dialects.json_body import decode_body, invalid
from gateway.dialects.openai_chat_request import MOST_CHOICES, Penalty, Positive, Probability, StreamOptions
from gateway.request import GenerationRequest
from gateway.thinking import OFF

IGNORED = {
    "user": "nobody is told",
}
"""Top-level fields that are accepted and have no effect, with the reason."""

UNSUPPORTED: dict[str, str] = {}
"""Fields of OpenAI's that are refused whatever they hold: none; `echo`, `best_of` and `suffix` may hold nothing."""

DEFAULT_MAX_TOKENS = 16  # OpenAI's


class CompletionRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/completions`."""

    prompt: str | list[str | int | list[int]]
    model: str = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Positive | None = None
    stop: str | Annotated[list[str], Meta(max_length=16)] | None = None
    n: Annotated[int, Meta(ge=1, le=MOST_CHOICES)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    # honoured only where that means doing nothing
    echo: bool | None = None
    best_of: int | None = None
    suffix: str | None = None
    # accepted and ignored: see IGNORED
    user: Any = None


_decode = msgspec.json.Decoder(CompletionRequest).decode


def decode(body: bytes) -> CompletionRequest:
    """Check a body's fields.

    Raises:
        InvalidRequest: It is not JSON, or a field has the wrong type or value, or is unknown; `param` names it.
    """
    return decode_body(_decode, body, UNSUPPORTED)


def to_generation(body: CompletionRequest) -> GenerationRequest:
    """Map a checked body to the internal request.

    Raises:
        InvalidRequest: A field asks for what a chat model cannot do.
    """
    _check_unsupported(body)
    return GenerationRequest(
        messages=[{"role": "user", "content": _prompt(body.prompt)}],
        thinking=OFF,
        max_tokens=body.max_tokens or DEFAULT_MAX_TOKENS,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        logprobs=body.logprobs,
        sampling=_sampling(body),
    )


def _prompt(prompt: str | list[str | int | list[int]]) -> str:
    if isinstance(prompt, str):
        return prompt
    texts = [item for item in prompt if isinstance(item, str)]
    if len(texts) < len(prompt):
        raise invalid("prompt", "this endpoint takes text, not token numbers.")
    if len(texts) != 1:
        raise invalid("prompt", f"this endpoint takes one prompt a request, not {len(texts)}.")
    return texts[0]


def _check_unsupported(body: CompletionRequest) -> None:
    if body.echo:
        raise invalid("echo", "this endpoint returns the completion only.")
    if body.suffix:
        raise invalid("suffix", "this endpoint does not insert text.")
    if body.best_of not in (None, body.n or 1):
        raise invalid("best_of", "this endpoint returns all that it generates: leave it out, or make it the same as n.")


_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias")


def _sampling(body: CompletionRequest) -> dict[str, Any]:
    chosen = {name: value for name in _SAMPLING if (value := getattr(body, name)) is not None}
    if body.seed is not None:
        chosen["seed"] = body.seed % 2**32  # llama-server's seeds have 32 bits; -1 is "any" on both sides
    return chosen
