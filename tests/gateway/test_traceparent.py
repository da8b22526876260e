"""Whose trace a request belongs to, and what llama-server is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from driving import AUTH, KEY, PLAIN, STREAMED, FakeReadiness, client_of, make_gateway
from fake_upstream import CHAT, FakeUpstream, scenario

from gateway.application import Gateway, GatewayConfig
from gateway.auth.keys import KeyRing
from gateway.generation import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def told(upstream: FakeUpstream) -> list[bytes]:
    """Return the lines with which llama-server was told of a trace."""
    return [line for call in upstream.calls for line in call.head.split(b"\r\n") if b"traceparent" in line]


@pytest.mark.parametrize("body", [PLAIN, STREAMED])
@scenario
async def test_a_trace_context_is_passed_on_as_it_came(body: object) -> None:
    async with FakeUpstream().listening() as upstream:
        async with client_of(make_gateway(upstream), AUTH | {"traceparent": HEADER}) as client:
            await client.post(CHAT, json=body)
        assert told(upstream) == [f"traceparent: {HEADER}".encode()]


@pytest.mark.parametrize("headers", [{}, {b"traceparent": b"nonsense"}, {b"traceparent": HEADER.encode() + b"\xe9"}])
@scenario
async def test_what_is_none_is_not_passed_on(headers: dict[bytes, bytes]) -> None:
    async with FakeUpstream().listening() as upstream:
        async with client_of(make_gateway(upstream), AUTH) as client:
            response = await client.post(CHAT, json=PLAIN, headers=headers)
        assert response.status_code == 200
        assert told(upstream) == []


@scenario
async def test_a_gateway_that_takes_part_says_what_is_passed_on() -> None:
    def go_on(traceparent: str | None) -> str:
        return f"after {traceparent}"

    async with FakeUpstream().listening() as upstream:
        async with client_of(_taking_part(upstream, go_on), AUTH | {"traceparent": HEADER}) as client:
            await client.post(CHAT, json=PLAIN)
        assert told(upstream) == [f"traceparent: after {HEADER}".encode()]


def _taking_part(upstream: FakeUpstream, trace: Callable[[str | None], str]) -> Gateway:
    config = GatewayConfig(keys=KeyRing({"tester": KEY}), limits=Limits(ready_seconds=5, silence_seconds=5))
    return Gateway(config, upstream.target, FakeReadiness(), trace=trace)
