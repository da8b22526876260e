"""OpenAI's older Completions: the request body.

Field by field after https://platform.openai.com/docs/api-reference/completions/create, as of November 2026. The prompt
becomes one user message: llama-server's raw completion routes are not used, because a field that they read can end the
process, and a chat model makes little of a bare prompt.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.dialects import fields
from gateway.dialects.json_body import decode_body, invalid
from gateway.dialects.openai_chat_request import StreamOptions
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
    max_tokens: fields.Tokens | None = None
    stop: fields.Stop | None = None
    n: fields.Choices | None = None
    temperature: fields.Temperature | None = None
    top_p: fields.Probability | None = None
    seed: fields.Seed | None = None
    presence_penalty: fields.Penalty | None = None
    frequency_penalty: fields.Penalty | None = None
    logit_bias: fields.LogitBias | None = None
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
        stop=fields.stop_texts(body.stop),
        logprobs=body.logprobs,
        sampling=fields.chosen_sampling(body),
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
