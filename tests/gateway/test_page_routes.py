"""The root, where people and some clients knock first, and the files of its page."""

from __future__ import annotations

import re

from driving import client_of, make_gateway
from fake_upstream import FakeUpstream, scenario

from gateway.routes.page import FILES

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@scenario
async def test_a_program_is_told_where_everything_is_without_a_key() -> None:
    async with client_of(make_gateway(FakeUpstream()), {}) as client:
        response = await client.get("/")
        assert response.status_code == 200
        assert response.headers["vary"] == "accept"
        assert response.json() == {
            "name": "warmgate",
            "description": "A private LLM endpoint that speaks OpenAI's API. Bring your key.",
            "base_url": "/v1",
            "docs": "/docs",
            "health": "/health",
            "status": "/status",
        }
        for path in ("/health", "/docs", "/status"):
            assert (await client.get(path)).status_code in (200, 401)


@scenario
async def test_a_browser_gets_a_page_and_all_that_it_names_without_a_key() -> None:
    async with client_of(make_gateway(FakeUpstream()), BROWSER) as client:
        page = await client.get("/")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        named = set(re.findall(r'(?:href|src)="(page/[^"]+)"', page.text))
        assert named
        types = {}
        while named:
            path = named.pop()
            response = await client.get(f"/{path}")
            types[path] = response.headers["content-type"]
            named |= {f"page/{name}" for name in re.findall(r'from "\./([^"]+)"', response.text)} - types.keys()
        # nothing lies there that is not used
        assert types.keys() == {f"page/{name}" for name in FILES} - {"page/index.html"}
        assert set(types.values()) == {"text/css; charset=utf-8", "text/javascript; charset=utf-8", "image/svg+xml"}


@scenario
async def test_the_page_is_shut_against_everything_from_elsewhere() -> None:
    async with client_of(make_gateway(FakeUpstream()), BROWSER) as client:
        page = await client.get("/")
        policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
        assert (policy["default-src"], policy["frame-ancestors"]) == ("'self'", "'none'")
        assert policy.keys() & {"script-src", "style-src", "connect-src"} == set()
        assert "unsafe" not in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|https?://", page.text)


@scenario
async def test_a_file_that_the_browser_has_is_not_sent_again() -> None:
    async with client_of(make_gateway(FakeUpstream()), BROWSER) as client:
        for path in ("/", "/page/main.js"):
            first = await client.get(path)
            again = await client.get(path, headers={"if-none-match": first.headers["etag"]})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
            assert again.headers["cache-control"] == "no-cache"


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
