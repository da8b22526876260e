from __future__ import annotations

import json
from typing import Any

import pytest
from driving import LOADING, FakeReadiness, client_of, make_gateway, outcomes
from fake_upstream import EMBEDDINGS as ANSWER
from fake_upstream import FakeUpstream, scenario

EMBEDDINGS = "/v1/embeddings"
HAS_NONE = (501, {"error": {"code": 501, "message": "Start it with `--embeddings`", "type": "not_supported_error"}})


def upstream_with(status: int = 200, body: Any = ANSWER) -> FakeUpstream:
    return FakeUpstream(control={EMBEDDINGS: (status, body)})


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ({"input": "Hi", "model": "any"}, {"input": ["Hi"], "encoding_format": "float"}),
        ({"input": ["a", "b"], "user": "me"}, {"input": ["a", "b"], "encoding_format": "float"}),
        ({"input": "Hi", "dimensions": None}, {"input": ["Hi"], "encoding_format": "float"}),
        ({"input": "Hi", "encoding_format": "base64"}, {"input": ["Hi"], "encoding_format": "base64"}),
    ],
)
@scenario
async def test_texts_are_handed_over_and_the_answer_comes_back(body: dict[str, Any], sent: dict[str, Any]) -> None:
    async with upstream_with().listening() as upstream:
        gateway = make_gateway(upstream)
        async with client_of(gateway) as client:
            response = await client.post(EMBEDDINGS, json=body)
        assert response.status_code == 200
        assert response.json() == ANSWER
        assert json.loads(upstream.asked_with[upstream.asked.index(EMBEDDINGS)]) == sent
        assert outcomes(gateway) == {"embeddings ok": 1}
        assert gateway._generator._admission.in_flight == 0


@scenario
async def test_a_model_without_embeddings_is_named() -> None:
    async with upstream_with(*HAS_NONE).listening() as upstream:
        gateway = make_gateway(upstream)
        async with client_of(gateway) as client:
            response = await client.post(EMBEDDINGS, json={"input": "Hi"})
        assert response.status_code == 400
        assert response.json()["error"] == {
            "message": "The served model 'fake-model' has no embeddings.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "embeddings_not_supported",
        }
        assert outcomes(gateway) == {"embeddings invalid": 1}


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({}, "input", "Missing required parameter"),
        ({"input": []}, "input", "length >= 1"),
        ({"input": 5}, "input", "Expected `str | array`"),
        ({"input": [1, 2, 3]}, "input", "takes text, not token numbers"),
        ({"input": [[1, 2], [3]]}, "input", "takes text, not token numbers"),
        ({"input": ""}, "input", "there is nothing in it"),
        ({"input": ["Hi", ""]}, "input[1]", "there is nothing in it"),
        ({"input": [""]}, "input[0]", "there is nothing in it"),
        ({"input": "Hi", "dimensions": 64}, "dimensions", "vectors have one length"),
        ({"input": "Hi", "encoding_format": "int8"}, "encoding_format", "Invalid enum value"),
        ({"input": "Hi", "content": "Hi"}, "content", "Unknown parameter"),
    ],
)
@scenario
async def test_what_cannot_be_done_is_refused_by_name(body: dict[str, Any], param: str, message: str) -> None:
    async with upstream_with().listening() as upstream, client_of(make_gateway(upstream)) as client:
        response = await client.post(EMBEDDINGS, json=body)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == param
        assert message in response.json()["error"]["message"]
        assert upstream.asked == []


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (500, "server_error", "input (900 tokens) is too large to process. increase the physical batch size"),
        (400, "exceed_context_size_error", "input (9000 tokens) is larger than the max context size (2048 tokens)"),
    ],
)
@scenario
async def test_a_text_that_is_too_long_is_the_requests_fault(status: int, kind: str, message: str) -> None:
    refusal = {"error": {"code": status, "message": message, "type": kind}}
    async with upstream_with(status, refusal).listening() as upstream, client_of(make_gateway(upstream)) as client:
        response = await client.post(EMBEDDINGS, json={"input": "Hi"})
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "input")
        assert message in error["message"]


@scenario
async def test_a_failure_of_the_servers_is_none_of_the_requests() -> None:
    refusal = {"error": {"code": 500, "message": "oh", "type": "server_error"}}
    async with upstream_with(500, refusal).listening() as upstream, client_of(make_gateway(upstream)) as client:
        response = await client.post(EMBEDDINGS, json={"input": "Hi"})
        assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_error")


@scenario
async def test_a_server_that_is_not_ready_is_told_of() -> None:
    gateway = make_gateway(FakeUpstream(), FakeReadiness(LOADING), ready_seconds=0.01)
    async with client_of(gateway) as client:
        response = await client.post(EMBEDDINGS, json={"input": "Hi"})
    assert (response.status_code, response.headers["retry-after"]) == (503, "7")


@scenario
async def test_it_takes_post_and_a_key() -> None:
    gateway = make_gateway(FakeUpstream())
    async with client_of(gateway) as client, client_of(gateway, {}) as stranger:
        assert (await client.get(EMBEDDINGS)).status_code == 405
        assert (await stranger.post(EMBEDDINGS, json={"input": "Hi"})).status_code == 401
