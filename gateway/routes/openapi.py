"""The data path's part of the documentation page: FastAPI cannot see routes that run before its router."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway.dialects.anthropic_messages_request import CountTokensRequest, MessagesRequest
from gateway.dialects.openai_chat_request import ChatCompletionRequest
from gateway.dialects.openai_completions_request import CompletionRequest
from gateway.dialects.openai_embeddings import EmbeddingRequest
from gateway.dialects.openai_responses_request import ResponsesRequest

if TYPE_CHECKING:
    from fastapi import FastAPI

BODIES = {
    "/v1/chat/completions": ChatCompletionRequest,
    "/v1/completions": CompletionRequest,
    "/v1/embeddings": EmbeddingRequest,
    "/v1/messages": MessagesRequest,
    "/v1/messages/count_tokens": CountTokensRequest,
    "/v1/responses": ResponsesRequest,
}
STREAMLESS = frozenset({"/v1/embeddings", "/v1/messages/count_tokens"})


def document_data_path(api: FastAPI) -> None:
    """Make `api`'s OpenAPI document describe the data path too."""
    generated = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = generated()
            references, components = msgspec.json.schema_components(
                BODIES.values(), ref_template="#/components/schemas/{name}"
            )
            document.setdefault("components", {}).setdefault("schemas", {}).update(components)
            for path, schema in zip(BODIES, references, strict=True):
                document["paths"][path] = {"post": _operation(path, schema)}
            scheme = {"type": "http", "scheme": "bearer"}
            document["components"]["securitySchemes"] = {"key": scheme}
            document["security"] = [{"key": []}]
        return generated()

    api.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _operation(path: str, schema: dict[str, Any]) -> dict[str, Any]:
    answers: dict[str, dict[str, Any]] = {"application/json": {}}
    if path not in STREAMLESS:
        answers["text/event-stream"] = {}
    return {
        "tags": ["generation"],
        "operationId": path.strip("/").replace("/", "_"),
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"200": {"description": "The answer.", "content": answers}},
    }
