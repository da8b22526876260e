from __future__ import annotations

from typing import Any

import pytest
from fake_upstream import FakeUpstream, scenario

from gateway.errors import GatewayError, InvalidRequest, UpstreamFailed, UpstreamUnreachable
from gateway.request import GenerationRequest
from gateway.upstream.target import Target
from gateway.upstream.tokens import count_tokens

PATH = "/v1/chat/completions/input_tokens"
REQUEST = GenerationRequest(messages=[{"role": "user", "content": "Hi"}])


@scenario
async def test_the_server_counts_the_prompt() -> None:
    async with FakeUpstream(control={PATH: (200, {"input_tokens": 31})}).listening() as upstream:
        assert await count_tokens(upstream.target, REQUEST) == 31
        assert upstream.asked == [PATH]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"error": {"code": 400, "message": "bad tools", "type": "invalid_request_error"}}, InvalidRequest),
        (500, {"error": {"code": 500, "message": "oh", "type": "server_error"}}, UpstreamFailed),
        (200, {"object": "error"}, UpstreamFailed),
    ],
)
@scenario
async def test_a_refusal_is_the_error_that_it_stands_for(
    status: int, body: dict[str, Any], expected: type[GatewayError]
) -> None:
    async with FakeUpstream(control={PATH: (status, body)}).listening() as upstream:
        with pytest.raises(expected):
            await count_tokens(upstream.target, REQUEST)


@scenario
async def test_a_server_that_does_not_listen_is_unreachable() -> None:
    with pytest.raises(UpstreamUnreachable):
        await count_tokens(Target(socket_path="/nonexistent/socket"), REQUEST)
