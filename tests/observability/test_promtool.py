from __future__ import annotations

import subprocess

from debian_tools import tool
from driving import PLAIN, client_of, make_gateway, served
from fake_upstream import CHAT, FakeUpstream, run, until


def test_promtool_finds_nothing_wrong_with_our_series() -> None:
    """But for the colons in llama-server's own names, which are kept."""
    text = b""

    async def scrape() -> None:
        nonlocal text
        async with FakeUpstream().listening() as upstream:
            gateway = make_gateway(upstream)
            async with served(gateway), client_of(gateway) as client:
                await client.post(CHAT, json=PLAIN)
                await until(lambda: gateway._upstream_metrics.age_seconds is not None)
                text, _ = gateway._metrics.render()

    run(scrape())
    checked = subprocess.run([tool("promtool"), "check", "metrics"], input=text, capture_output=True, check=False)
    complaints = checked.stderr.decode().splitlines()
    assert complaints
    assert {line.partition(" ")[2] for line in complaints} == {"metric names should not contain ':'"}
