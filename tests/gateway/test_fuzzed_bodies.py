"""Two thousand bodies for each dialect, drawn from our own OpenAPI document: answered, or refused by the field."""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from driving import client_of, make_gateway
from fake_upstream import FakeUpstream, run
from fuzzed_bodies import Fuzzer

from gateway.images.policy import ImagePolicy
from gateway.routes.openapi import BODIES

if TYPE_CHECKING:
    import httpx

BODIES_EACH = 2000
ROUNDS = 8  # each within the time that a scenario has
REFUSED = range(400, 500)
UNFETCHED = ImagePolicy(urls="none")  # some bodies name hosts
NAMED = re.compile(r"'[^']*'")


@pytest.mark.parametrize("seed", range(ROUNDS))
@pytest.mark.parametrize("path", BODIES)
def test_a_body_is_answered_or_refused_by_name(path: str, seed: int) -> None:
    run(_fuzz(path, seed))


async def _fuzz(path: str, seed: int) -> None:
    async with FakeUpstream().listening() as upstream, client_of(make_gateway(upstream, images=UNFETCHED)) as client:
        document = (await client.get("/openapi.json")).json()
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        answered = 0
        for number in range(BODIES_EACH // ROUNDS):
            random = Random(f"{path} {seed} {number}")
            body = Fuzzer(document, random, mischief=random.choice((0.0, 0.01, 0.1))).draw(schema)
            response = await client.post(path, json=body)
            _check(response, body)
            answered += response.status_code == 200
        assert answered  # or it would not be the field's own checks that were tried


def _check(response: httpx.Response, body: Any) -> None:
    if response.status_code == 200:
        return
    if response.status_code == 502:  # a required call, which the fake model does not manage
        assert response.json()["error"].get("code") == "tool_call_invalid", f"{response.text} for {body!r}"
        return
    if "tool_call_invalid" in response.text:
        return  # a call was required, and this upstream says "Hello world" whatever it is asked
    assert response.status_code in REFUSED, f"{response.status_code} {response.text} for {body!r}"
    error = response.json()["error"]
    assert error.get("param") is not None or NAMED.search(error["message"]), f"{error} for {body!r}"
