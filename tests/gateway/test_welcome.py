"""The root, where people and some clients knock first."""

from __future__ import annotations

from driving import client_of, make_gateway
from fake_upstream import FakeUpstream, scenario

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@scenario
async def test_a_program_is_told_where_everything_is_without_a_key() -> None:
    async with client_of(make_gateway(FakeUpstream()), {}) as client:
        response = await client.get("/")
        assert response.status_code == 200
        assert response.json() == {
            "name": "warmgate",
            "description": "A private LLM endpoint that speaks OpenAI's API. Bring your key.",
            "base_url": "/v1",
            "docs": "/docs",
            "health": "/health",
        }
        for path in ("/health", "/docs"):
            assert (await client.get(path)).status_code in (200, 401)


@scenario
async def test_a_browser_gets_a_page() -> None:
    async with client_of(make_gateway(FakeUpstream()), BROWSER) as client:
        response = await client.get("/")
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert '<a href="/docs">' in response.text


@scenario
async def test_claude_code_asks_for_the_head_first() -> None:
    async with client_of(make_gateway(FakeUpstream()), {}) as client:
        response = await client.head("/")
        assert (response.status_code, response.content) == (200, b"")


@scenario
async def test_the_root_takes_nothing_else() -> None:
    async with client_of(make_gateway(FakeUpstream()), {}) as client:
        response = await client.post("/", json={})
        assert response.status_code == 405
        assert response.json()["error"]["code"] == "method_not_allowed"
