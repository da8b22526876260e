"""A headless Chromium that reaches nothing but this machine: `apt install chromium` on Debian."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Any, Final

import pytest
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page

REQUIRED: Final = "TESTS_NEED_CHROMIUM"
"""Set where Chromium is known to be there, as in CI: what would be skipped without it then fails."""

FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
ANSWER_MS: Final = 20_000
DESKTOP: Final = (1200, 900)
PHONE: Final = (360, 740)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run a Chromium with a profile of its own, the calling test skipped if there is none."""
    path = shutil.which("chromium")
    if path is None and os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set, but chromium is not installed")
    if path is None:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """One visit to the page, with nothing left of any visit before.

    Attributes:
        page: The browser's tab.
        requested: Every URL that was asked for.
        complaints: What the console said of errors, and scripts that failed. An answer with another status than
            200 is none.
    """

    def __init__(self, browser: Browser, url: str, size: tuple[int, int] = DESKTOP, **settings: Any) -> None:
        viewport: Any = dict(zip(("width", "height"), size, strict=True))
        self._context = browser.new_context(base_url=url, viewport=viewport, **settings)
        self._context.set_default_timeout(ANSWER_MS)
        self.requested: list[str] = []
        self.complaints: list[str] = []
        self.page = self._context.new_page()
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._listen)

    def _listen(self, message: ConsoleMessage) -> None:
        refusal = "Failed to load resource: the server responded with a status of"
        if message.type in ("error", "warning") and not message.text.startswith(refusal):
            self.complaints.append(message.text)

    def open(self, key: str | None = None, view: str = "status") -> Page:
        """Open the page, and give it a key."""
        self.page.goto(f"/#{view}")
        if key is not None:
            self.page.get_by_label("API key").fill(key)
            self.page.get_by_role("button", name="Open").click()
            self.page.get_by_role("button", name="Forget key").wait_for()
        return self.page

    def close(self) -> None:
        self._context.close()
