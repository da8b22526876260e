from __future__ import annotations

import asyncio
from typing import Any

import pytest
from driving import READY, FakeReadiness
from fake_upstream import FakeUpstream, scenario

from gateway.errors import NotReady, UpstreamFailed
from gateway.readiness import Report
from gateway.upstream.catalog import Catalog, ModelInfo

FAKE = ModelInfo(
    id="fake-model", created=1795368872, slots=4, ctx_per_slot=2048, fingerprint="b11549-fake", vision=True
)
LOADING_BODY = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}


@scenario
async def test_the_server_says_what_it_is() -> None:
    async with FakeUpstream().listening() as upstream:
        assert await Catalog(upstream.target, FakeReadiness()).current() == FAKE
        assert sorted(upstream.asked) == ["/props", "/v1/models"]


@scenario
async def test_it_is_asked_once_by_however_many_at_once() -> None:
    async with FakeUpstream().listening() as upstream:
        catalog = Catalog(upstream.target, FakeReadiness())
        assert await asyncio.gather(*[catalog.current() for _ in range(10)]) == [FAKE] * 10
        await catalog.current()
        assert len(upstream.asked) == 2


@scenario
async def test_another_server_process_is_asked_again() -> None:
    async with FakeUpstream().listening() as upstream:
        readiness = FakeReadiness()
        catalog = Catalog(upstream.target, readiness)
        await catalog.current()
        upstream.control["/v1/models"] = (200, {"data": [{"id": "other-model"}]})
        assert (await catalog.current()).id == "fake-model"
        readiness.move(Report(state="ready", ready=True, generation=READY.generation + 1))
        assert await catalog.current() == ModelInfo("other-model", 0, 4, 2048, "b11549-fake", vision=True)
        assert len(upstream.asked) == 4


@pytest.mark.parametrize("path", ["/props", "/v1/models"])
@scenario
async def test_a_server_that_is_loading_is_not_ready_and_asked_again(path: str) -> None:
    async with FakeUpstream().listening() as upstream:
        answers = dict(upstream.control)
        upstream.control[path] = (503, LOADING_BODY)
        catalog = Catalog(upstream.target, FakeReadiness())
        with pytest.raises(NotReady, match="being loaded"):
            await catalog.current()
        upstream.control = answers
        assert await catalog.current() == FAKE


@scenario
async def test_where_nobody_listens_nothing_is_ready() -> None:
    upstream = FakeUpstream()
    async with upstream.listening():
        pass
    with pytest.raises(NotReady, match="does not answer yet"):
        await Catalog(upstream.target, FakeReadiness()).current()


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/v1/models", 200, b""),
        ("/v1/models", 200, b"<html>"),
        ("/v1/models", 200, b'{"data": [{"id": "\xff"}]}'),
        ("/v1/models", 200, b'{"data": ' + b"[" * 100_000),
        ("/v1/models", 200, {"data": []}),
        ("/v1/models", 200, {"data": [{}]}),
        ("/v1/models", 401, {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}}),
        ("/props", 200, {}),
        ("/props", 200, {"total_slots": "4", "default_generation_settings": {"n_ctx": 5}}),
        ("/props", 200, {"total_slots": 4, "default_generation_settings": {}}),
        ("/props", 404, {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}),
    ],
)
@scenario
async def test_a_server_of_another_kind_is_a_failure_that_names_it(path: str, status: int, body: Any) -> None:
    async with FakeUpstream(control={path: (status, body)}).listening() as upstream:
        with pytest.raises(UpstreamFailed, match="does not answer as llama-server does") as caught:
            await Catalog(upstream.target, FakeReadiness()).current()
        assert str(upstream.target) in caught.value.message


@scenario
async def test_one_who_leaves_while_asking_does_not_keep_the_others_from_it() -> None:
    async with FakeUpstream().listening() as upstream:
        catalog = Catalog(upstream.target, FakeReadiness())
        first, second = asyncio.create_task(catalog.current()), asyncio.create_task(catalog.current())
        await asyncio.sleep(0)
        first.cancel()
        assert await second == FAKE
        assert first.cancelled()


@scenario
async def test_a_server_that_says_nothing_of_images_takes_none() -> None:
    props = {"total_slots": 1, "default_generation_settings": {"n_ctx": 5}}
    async with FakeUpstream(control={"/props": (200, props)}).listening() as upstream:
        assert not (await Catalog(upstream.target, FakeReadiness()).current()).vision


@pytest.mark.parametrize(("template", "marks"), [("{{ '<|tool_call>call:' }}", True), ("{{ messages }}", False)])
@scenario
async def test_a_template_shows_how_calls_begin(template: str, marks: bool) -> None:
    async with FakeUpstream().listening() as upstream:
        upstream.control["/props"][1]["chat_template"] = template
        assert (await Catalog(upstream.target, FakeReadiness()).current()).marks_calls == marks
