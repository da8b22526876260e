"""OpenAI Embeddings: the request body. The answer is llama-server's own, which has OpenAI's shape.

After https://platform.openai.com/docs/api-reference/embeddings/create, as of November 2026.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.dialects import fields
from gateway.dialects.json_body import decode_body, invalid

UNSUPPORTED = {
    "dimensions": "The served model's vectors have one length.",
}
"""Fields of OpenAI's that would change the answer and that we cannot honour, with what to say unless null."""


class EmbeddingRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/embeddings`."""

    input: str | Annotated[list[str | int | list[int]], Meta(min_length=1, max_length=2048)]
    model: str = ""
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: fields.Nothing = None
    user: Any = None  # accepted and ignored: nobody is told


_decode = msgspec.json.Decoder(EmbeddingRequest).decode


def parse(body: bytes) -> bytes:
    """Check a request body. Returns what goes upstream: a white-list, as everywhere.

    Raises:
        InvalidRequest: It names the field.
    """
    request = decode_body(_decode, body)
    fields.refuse_unsupported(request, UNSUPPORTED)
    texts = [request.input] if isinstance(request.input, str) else request.input
    if not all(isinstance(text, str) for text in texts):
        raise invalid("input", "this endpoint takes text, not token numbers.")
    if "" in texts:
        raise invalid("input" if texts == [request.input] else f"input[{texts.index('')}]", "there is nothing in it.")
    return msgspec.json.encode({"input": texts, "encoding_format": request.encoding_format or "float"})
