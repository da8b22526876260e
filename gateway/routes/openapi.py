"""The data path's part of the documentation page: FastAPI cannot see routes that run before its router."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway.dialects.openai_chat_request import ChatCompletionRequest

if TYPE_CHECKING:
    from fastapi import FastAPI

BODIES = {"/v1/chat/completions": ChatCompletionRequest}


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
    answers: dict[str, dict[str, Any]] = {"application/json": {}, "text/event-stream": {}}
    return {
        "tags": ["generation"],
        "operationId": path.strip("/").replace("/", "_"),
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"200": {"description": "The answer.", "content": answers}},
    }
