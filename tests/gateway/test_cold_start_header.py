"""The first answer after a start says what the start took, and no other does."""

from __future__ import annotations

from dataclasses import replace

from driving import LOADING, PLAIN, READY, STREAMED, Client, FakeReadiness, client_of, make_gateway
from fake_upstream import CHAT, FakeUpstream, scenario

HEADER = "x-warmgate-cold-start"
COLD = replace(READY, phases={"load": 12.34, "warm_up": 0.5})
RESTORED = replace(READY, start="restored", phases={"restore": 3.14, "probe": 0.2})


@scenario
async def test_only_the_first_answer_says_what_the_start_took() -> None:
    async with (
        FakeUpstream().listening() as upstream,
        client_of(make_gateway(upstream, FakeReadiness(COLD))) as client,
    ):
        first, second = await client.post(CHAT, json=PLAIN), await client.post(CHAT, json=PLAIN)
    assert first.headers[HEADER] == "cold; load=12.3s, warm_up=0.5s"
    assert HEADER not in second.headers


@scenario
async def test_a_stream_says_it_too_and_so_does_the_first_answer_after_each_further_start() -> None:
    readiness = FakeReadiness(COLD)
    async with FakeUpstream().listening() as upstream, client_of(make_gateway(upstream, readiness)) as client:
        told = []
        for report in (COLD, RESTORED, RESTORED, replace(RESTORED, start="unparked", phases={"restore": 1.0})):
            readiness.move(report)
            told.append((await client.post(CHAT, json=STREAMED)).headers.get(HEADER))
    assert told == [
        "cold; load=12.3s, warm_up=0.5s",
        "restored; restore=3.1s, probe=0.2s",
        None,
        "unparked; restore=1.0s",
    ]


@scenario
async def test_a_stream_that_has_been_kept_alive_meanwhile_gets_it_as_a_comment() -> None:
    readiness = FakeReadiness(LOADING)
    async with FakeUpstream().listening() as upstream:
        gateway = make_gateway(upstream, readiness, keep_alive_seconds=0.01)
        client = Client(gateway, STREAMED)
        assert await client.status() == 200  # the headers come with the first keep-alive
        readiness.move(COLD)
        assert f": {HEADER}: cold; load=12.3s, warm_up=0.5s\n\n".encode() in await client.rest()


@scenario
async def test_a_gateway_that_knows_of_no_start_says_nothing() -> None:
    async with FakeUpstream().listening() as upstream, client_of(make_gateway(upstream)) as client:
        assert HEADER not in (await client.post(CHAT, json=PLAIN)).headers
