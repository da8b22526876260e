from __future__ import annotations

from typing import TYPE_CHECKING, Any

from driving import client_of, make_gateway
from fake_upstream import CHAT, FakeUpstream, run

if TYPE_CHECKING:
    from collections.abc import Iterator


def document() -> Any:
    found: list[Any] = []

    async def fetch() -> None:
        async with client_of(make_gateway(FakeUpstream())) as client:
            found.extend([(await client.get("/openapi.json")).json() for _ in range(2)])

    run(fetch())
    assert found[0] == found[1]
    return found[0]


def references(node: Any) -> Iterator[str]:
    """Yield every `$ref`, and what a discriminator points at."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        yield from node.get("discriminator", {}).get("mapping", {}).values()
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from references(value)


def test_every_route_is_described_once() -> None:
    paths = document()["paths"]
    assert {path: sorted(methods) for path, methods in paths.items()} == {
        "/status": ["get"],
        "/livez": ["get"],
        "/readyz": ["get"],
        "/health": ["get"],
        "/v1/models": ["get"],
        "/v1/models/{model_id}": ["get"],
        "/metrics": ["get"],
        CHAT: ["post"],
        "/v1/messages/count_tokens": ["post"],
        "/v1/messages": ["post"],
        "/v1/embeddings": ["post"],
        "/v1/completions": ["post"],
        "/v1/responses": ["post"],
    }
    ids = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(set(ids)) == len(ids)


def test_all_that_is_referred_to_is_there() -> None:
    whole = document()
    targets = set(references(whole))
    assert len(targets) > 10
    for target in targets:
        node = whole
        for step in target.removeprefix("#/").split("/"):
            node = node[step]
        assert node["title"]


def test_the_data_path_is_described_with_its_fields_and_both_kinds_of_answer() -> None:
    whole = document()
    operation = whole["paths"][CHAT]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/ChatCompletionRequest"}
    request = whole["components"]["schemas"]["ChatCompletionRequest"]
    assert request["required"] == ["messages"]
    assert request["additionalProperties"] is False
    assert {"messages", "tools", "response_format", "reasoning_effort", "user"} <= set(request["properties"])
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}


def test_a_key_is_asked_for() -> None:
    whole = document()
    assert whole["security"] == [{"key": []}]
    assert whole["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
