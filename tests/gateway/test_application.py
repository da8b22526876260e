"""Routing, authentication and the small routes, in-process."""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from driving import AUTH, FAILED, KEY, LOADING, PLAIN, STREAMED, FakeReadiness, client_of, events_of, make_gateway
from fake_upstream import ANSWER, CHAT, FakeUpstream, answer, scenario

from gateway.readiness import Report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OPEN = ["/", "/livez", "/readyz", "/health"]
CLOSED = [
    CHAT,
    "/v1/models",
    "/v1/models/fake-model",
    "/metrics",
    "/docs",
    "/docs/oauth2-redirect",
    "/openapi.json",
    "/redoc",
    "/health/",
    "/livez/../props",
    "http://gateway//livez",  # a path of two slashes, not a host
    "/HEALTH",
    "/props",
    "/slots",
    "/v1/completions",
    "/completion",
    "/no/such/path",
]


def error(message: str, code: str | None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


NO_KEY = error("No API key: send it as 'Authorization: Bearer KEY'.", "invalid_api_key")
WRONG_KEY = error("Incorrect API key.", "invalid_api_key")


# -- keys


@scenario
async def test_nothing_but_health_answers_without_a_key() -> None:
    gateway = make_gateway(FakeUpstream())
    async with client_of(gateway, {}) as client:
        for path in CLOSED:
            for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD"):
                answer = await client.request(method, path)
                wrong = await client.request(method, path, headers={"authorization": "Bearer wrong"})
                assert (answer.status_code, wrong.status_code) == (401, 401), (method, path)
                assert answer.headers["www-authenticate"].startswith("Bearer"), (method, path)
                if method != "HEAD":
                    assert (answer.json(), wrong.json()) == (NO_KEY, WRONG_KEY), (method, path)


@pytest.mark.parametrize("path", OPEN)
@scenario
async def test_health_needs_no_key(path: str) -> None:
    async with client_of(make_gateway(FakeUpstream()), {}) as client:
        assert (await client.get(path)).status_code == 200
        assert (await client.head(path)).status_code == 200


@scenario
async def test_a_key_in_any_other_place_does_not_open() -> None:
    async with client_of(make_gateway(FakeUpstream()), {}) as client:
        for attempt in (
            client.get(f"/v1/models?api_key={KEY}"),
            client.get("/v1/models", headers={"x-key": KEY}),
            client.get("/v1/models", headers={"authorization": KEY}),
            client.get("/v1/models", headers={"cookie": f"authorization=Bearer {KEY}"}),
        ):
            assert (await attempt).status_code == 401


@pytest.mark.parametrize("value", [b"Basic \xff", b"Bearer \xff", b"\xff"])
@scenario
async def test_a_header_that_is_no_text_is_refused_properly(value: bytes) -> None:
    async with client_of(make_gateway(FakeUpstream()), {}) as client:
        answer = await client.get("/v1/models", headers=[(b"authorization", value)])
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
@scenario
async def test_a_browser_is_asked_for_a_password_and_the_key_is_one(path: str) -> None:
    async with client_of(make_gateway(FakeUpstream()), {}) as client:
        refused = await client.get(path)
        assert refused.headers.get_list("www-authenticate") == [
            "Bearer",
            'Basic realm="warmgate: any name, and a key as password"',
        ]
        assert (await client.get(path, auth=("me", KEY))).status_code == 200
        assert (await client.get(path, auth=("me", "wrong"))).status_code == 401
        assert (await client.get(path, auth=(KEY, ""))).status_code == 401


@scenario
async def test_metrics_can_be_opened_and_nothing_else_with_them() -> None:
    async with client_of(make_gateway(FakeUpstream(), metrics_public=True), {}) as client:
        assert (await client.get("/metrics")).status_code == 200
        for path in CLOSED:
            if path != "/metrics":
                assert (await client.get(path)).status_code == 401, path


@scenario
async def test_a_request_without_a_key_is_not_read() -> None:
    """Not even a body that is too large is looked at before the key."""

    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    async with client_of(make_gateway(FakeUpstream()), {}) as client:
        assert (await client.post(CHAT, content=body())).status_code == 401


# -- paths and methods


@pytest.mark.parametrize("path", ["/v1", "/props", "/slots", "/completion", "/redoc", "/v1/chat/completions/"])
@scenario
async def test_an_unknown_path_is_not_found(path: str) -> None:
    async with client_of(make_gateway(FakeUpstream())) as client:
        for method in ("GET", "POST"):
            answer = await client.request(method, path)
            assert answer.status_code == 404
            assert answer.json() == error(f"There is nothing at {path}.", "not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
@scenario
async def test_chat_takes_nothing_but_post(method: str) -> None:
    async with client_of(make_gateway(FakeUpstream())) as client:
        answer = await client.request(method, CHAT)
    assert answer.status_code == 405
    assert answer.json() == error(f"{CHAT} takes POST, not {method}.", "method_not_allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/health", "/openapi.json"])
@scenario
async def test_the_small_routes_take_no_post(path: str) -> None:
    async with client_of(make_gateway(FakeUpstream())) as client:
        answer = await client.post(path)
    assert answer.status_code == 405
    assert answer.json() == error(f"{path} does not take POST.", "method_not_allowed")
    assert "GET" in answer.headers["allow"]


# -- bodies


@scenario
async def test_a_body_that_is_declared_too_large_is_not_read() -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    async with client_of(make_gateway(FakeUpstream(), max_body_bytes=100)) as client:
        answer = await client.post(CHAT, content=body(), headers={"content-length": "101"})
    assert answer.status_code == 413
    assert answer.json() == error("The request body is larger than 100 bytes.", "request_too_large")


@scenario
async def test_a_body_that_becomes_too_large_is_not_read_to_its_end() -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 40
            yield b" " * 40

    async with client_of(make_gateway(FakeUpstream(), max_body_bytes=100)) as client:
        answer = await client.post(CHAT, content=body())
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"
    assert sent == 120


@scenario
async def test_a_body_of_just_the_limit_in_pieces_is_read() -> None:
    content = json.dumps(PLAIN).encode()

    async def body() -> AsyncIterator[bytes]:
        for at in range(len(content)):
            yield content[at : at + 1]

    async with FakeUpstream().listening() as upstream:
        gateway = make_gateway(upstream, max_body_bytes=len(content))
        async with client_of(gateway) as client:
            assert (await client.post(CHAT, content=body())).status_code == 200


@scenario
async def test_a_body_that_is_refused_never_reaches_the_upstream() -> None:
    async with FakeUpstream().listening() as upstream, client_of(make_gateway(upstream)) as client:
        answer = await client.post(CHAT, json=PLAIN | {"id_slot": 0})
        assert answer.status_code == 400
        assert answer.json() == error("Invalid 'id_slot': Unknown parameter.", None, "id_slot")
        assert upstream.connections == 0


@pytest.mark.parametrize("depth", range(980, 990))
@scenario
async def test_a_body_that_is_nested_as_deep_as_can_just_be_read_is_answered_or_refused(depth: int) -> None:
    nested = '{"a":' * depth + "1" + "}" * depth
    tools = '[{"function":{"name":"f","parameters":' + nested + "}}]"
    async with FakeUpstream().listening() as upstream, client_of(make_gateway(upstream)) as client:
        answer = await client.post(CHAT, content='{"messages":[{"role":"user","content":"x"}],"tools":' + tools + "}")
        assert answer.status_code in (200, 400)


# -- answers


@scenario
async def test_an_answer_is_streamed() -> None:
    async with FakeUpstream().listening() as upstream, client_of(make_gateway(upstream)) as client:
        answer = await client.post(CHAT, json=STREAMED, headers={"x-request-id": "mine"})
    assert answer.status_code == 200
    assert dict(answer.headers) == {
        "x-request-id": "mine",
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        "x-accel-buffering": "no",
    }
    *chunks, done = events_of(answer.content)
    assert done == "[DONE]"
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {"content": "Hello"},
        {"content": " world"},
        {},
    ]
    assert {(chunk["model"], chunk["system_fingerprint"]) for chunk in chunks} == {("fake-model", "b11549-fake")}
    assert len({chunk["id"] for chunk in chunks}) == 1


@scenario
async def test_an_answer_comes_in_one_piece() -> None:
    async with FakeUpstream().listening() as upstream, client_of(make_gateway(upstream)) as client:
        answers = [await client.post(CHAT, json=PLAIN) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].headers["content-type"] == "application/json"
    assert int(answers[0].headers["content-length"]) == len(answers[0].content)
    body = answers[0].json()
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "Hello world", "refusal": None}
    assert body["usage"]["total_tokens"] == 7
    assert body["id"].startswith("chatcmpl-")
    assert body["id"] != answers[1].json()["id"]


@pytest.mark.parametrize("body", [PLAIN, STREAMED])
@scenario
async def test_the_upstream_is_always_asked_for_a_stream_and_sees_nothing_of_the_clients_headers(
    body: dict[str, Any],
) -> None:
    async with FakeUpstream().listening() as upstream:
        headers = AUTH | {"x-conversation-id": "mine", "x-api-key": "k", "cookie": "a=b", "user-agent": "me"}
        async with client_of(make_gateway(upstream), headers) as client:
            await client.post(CHAT, json=body | {"user": "me", "metadata": {"a": "b"}, "model": "x"})
        (call,) = upstream.calls
        assert call.body == {
            **PLAIN,
            "stream": True,
            "stream_options": {"include_usage": True},
            "timings_per_token": True,
            "chat_template_kwargs": {"enable_thinking": True},
            "reasoning_budget_tokens": 8192,
            "reasoning_control": True,
        }
        names = [line.partition(b":")[0] for line in call.head.strip().split(b"\r\n")[1:]]
        assert names == [b"host", b"content-type", b"content-length"]


@scenario
async def test_a_stream_whose_bytes_come_in_any_pieces_is_the_same_answer() -> None:
    whole = b"".join(ANSWER)
    async with FakeUpstream().listening() as upstream, client_of(make_gateway(upstream)) as client:
        for size in (1, 2, 3, 7, 50, 200, 1000):
            upstream.plan.append(answer(*[whole[at : at + size] for at in range(0, len(whole), size)]))
            response = await client.post(CHAT, json=PLAIN)
            assert response.json()["choices"][0]["message"]["content"] == "Hello world", f"pieces of {size}"


# -- health, models, metrics


@scenario
async def test_a_ready_server_is_healthy() -> None:
    report = Report(state="ready", ready=True, detail={"since": "now", "restarts": 2})
    async with client_of(make_gateway(FakeUpstream(), FakeReadiness(report)), {}) as client:
        assert (await client.get("/livez")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).json() == {"status": "ok", "state": "ready"}
        health = await client.get("/health")
        assert health.json() == {"status": "ok", "state": "ready", "since": "now", "restarts": 2}
        assert "retry-after" not in health.headers


@pytest.mark.parametrize("report", [LOADING, FAILED])
@scenario
async def test_a_server_that_is_not_ready_is_not_healthy_but_this_process_lives(report: Report) -> None:
    async with client_of(make_gateway(FakeUpstream(), FakeReadiness(report)), {}) as client:
        assert (await client.get("/livez")).status_code == 200
        for path in ("/readyz", "/health"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert answer.json() == {"status": "unavailable", "state": report.state}
            assert answer.headers["retry-after"] == str(report.retry_after)


MODEL = {
    "id": "fake-model",
    "object": "model",
    "created": 1795368872,
    "owned_by": "warmgate",
    "max_model_len": 2048,
}


@scenario
async def test_the_one_model_is_listed_and_described() -> None:
    async with FakeUpstream().listening() as upstream, client_of(make_gateway(upstream)) as client:
        assert (await client.get("/v1/models")).json() == {"object": "list", "data": [MODEL]}
        assert (await client.get("/v1/models/fake-model")).json() == MODEL


@scenario
async def test_a_model_whose_name_has_a_slash_is_found() -> None:
    models = (200, {"data": [{"id": "org/model:Q4", "created": 5}]})
    async with (
        FakeUpstream(control={"/v1/models": models}).listening() as upstream,
        client_of(make_gateway(upstream)) as client,
    ):
        assert (await client.get("/v1/models/org/model:Q4")).json()["id"] == "org/model:Q4"
        assert (await client.get("/v1/models/org%2Fmodel%3AQ4")).json()["id"] == "org/model:Q4"


@scenario
async def test_another_model_is_not_found() -> None:
    async with FakeUpstream().listening() as upstream, client_of(make_gateway(upstream)) as client:
        answer = await client.get("/v1/models/gpt-4")
    assert answer.status_code == 404
    assert answer.json() == error("The model 'gpt-4' is not served here.", "model_not_found", "model")


@scenario
async def test_models_of_a_server_that_does_not_answer_are_not_ready() -> None:
    upstream = FakeUpstream()
    async with upstream.listening():
        pass
    async with client_of(make_gateway(upstream)) as client:
        answer = await client.get("/v1/models")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "not_ready"
    assert answer.headers["retry-after"] == "1"


@scenario
async def test_a_bug_in_a_small_route_is_told_in_the_same_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = make_gateway(FakeUpstream())
    monkeypatch.setattr(gateway._metrics, "registry", None)
    transport = httpx.ASGITransport(gateway, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=AUTH) as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 500
    assert answer.json()["error"] == {
        "message": "Something went wrong in the gateway; its log says what.",
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    }


@scenario
async def test_a_bug_in_the_data_path_is_logged_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with FakeUpstream().listening() as upstream:
        gateway = make_gateway(upstream)
        monkeypatch.setattr(gateway._generator, "_begin", None)
        async with client_of(gateway) as client:
            answer = await client.post(CHAT, json=PLAIN)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "a bug in the data path" in caplog.text
    assert "Traceback" in caplog.text


# -- secrets


@scenario
async def test_no_key_is_ever_logged_or_exported(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with FakeUpstream().listening() as upstream:
        gateway = make_gateway(upstream)
        for headers in (AUTH, {"authorization": f"Bearer {KEY}x"}, {"authorization": f"Basic {KEY}"}):
            async with client_of(gateway, headers) as client:
                for path in ("/v1/models", "/metrics", "/health", "/nothing"):
                    await client.get(path)
                for body in (PLAIN, STREAMED, {"messages": 5}):
                    await client.post(CHAT, json=body)
        async with client_of(gateway, {}) as client:
            password = b64encode(f"me:{KEY}".encode()).decode()
            await client.get("/docs", headers={"authorization": f"Basic {password}"})
        exported = gateway._metrics.render()[0].decode()
        sent = b"".join(call.head + call.raw_body for call in upstream.calls).decode()
    for text in (caplog.text, exported, sent, repr(gateway._config)):
        assert KEY not in text
        assert password not in text
    assert caplog.text
