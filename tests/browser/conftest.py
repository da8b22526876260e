"""One Chromium and one `warmgate` with the contract model for all tests in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from conftest import END_SECONDS, KEY, Warmgate
from contract.scenes import SERVED
from contract.test_images import PROJECTOR

from browser.chromium import Visit, chromium

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def gate(browser: Browser) -> Iterator[Warmgate]:  # noqa: ARG001 -- without a browser there is no need to start it
    """Return a `warmgate serve` with the contract model, which reads images, too."""
    arguments = (*SERVED, "--set", f"mmproj={PROJECTOR}", "--set", "slots=2")
    process = Warmgate("serve", "--port", "0", *arguments, env={"WARMGATE_API_KEYS": f"tests:{KEY}"})
    try:
        yield process.ready()
    finally:
        process.process.kill()
        process.process.wait(END_SECONDS)


@pytest.fixture
def visit(browser: Browser, gate: Warmgate) -> Iterator[Callable[..., Visit]]:
    """Return a function that begins a visit. After each one: nobody else was asked, and nothing went wrong unseen."""
    visits: list[Visit] = []

    def begin(*args: Any, **settings: Any) -> Visit:
        visits.append(Visit(browser, gate.url, *args, **settings))
        return visits[-1]

    yield begin
    for each in visits:
        each.close()
        assert each.complaints == []
        elsewhere = [url for url in each.requested if not url.startswith((f"{gate.url}/", "data:image/"))]
        assert elsewhere == []
