"""The status view in a real browser, of a real `warmgate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from conftest import KEY
from contract.model.acts import trigger
from contract.playing import CHAT, play
from contract.scenes import SCENES
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Warmgate

    from browser.chromium import Visit

FIVE_MINUTES_MS = 5 * 60_000


def test_without_a_key_there_is_the_state_and_nothing_else(visit: Callable[..., Visit]) -> None:
    page = visit().open()
    expect(page.get_by_role("status")).to_have_text("Ready")
    expect(page.locator("#figures")).to_be_hidden()
    expect(page.get_by_text("contract")).to_have_count(0)
    page.get_by_role("link", name="Playground").click()
    expect(page.get_by_label("Message")).to_be_hidden()
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_key_is_asked_for_once_and_kept_in_the_tab_only(visit: Callable[..., Visit]) -> None:
    page = visit().open()
    page.get_by_label("API key").fill("wrong")
    page.get_by_label("API key").press("Enter")
    expect(page.get_by_text("This is not a key of this endpoint.")).to_be_visible()
    page.get_by_label("API key").fill(KEY)
    page.get_by_label("API key").press("Enter")
    expect(page.locator("#slots")).to_have_text("0of 2 busy")
    page.reload()
    expect(page.locator("#slots")).to_have_text("0of 2 busy")
    kept = "[{...sessionStorage}, localStorage.length, document.cookie]"
    assert page.evaluate(kept) == [{"warmgate-key": KEY}, 0, ""]
    page.get_by_role("button", name="Forget key").click()
    expect(page.locator("#figures")).to_be_hidden()
    assert page.evaluate(kept) == [{}, 0, ""]


def test_a_browser_that_was_let_into_the_documentation_needs_no_key(visit: Callable[..., Visit]) -> None:
    begun = visit(http_credentials={"username": "anybody", "password": KEY})
    begun.page.goto("/openapi.json")
    page = begun.open()
    expect(page.locator("#figures")).to_be_visible()
    expect(page.get_by_label("API key")).to_be_hidden()


def test_requests_and_what_became_of_their_tool_calls_appear(visit: Callable[..., Visit], gate: Warmgate) -> None:
    page = visit().open(KEY)
    with gate.client() as client:
        for scene, outcome in {"plain": "", "call": "valid; attempts=1", "wrong-type": "repaired; attempts=2"}.items():
            assert play(client, CHAT, trigger(scene), SCENES[scene].tools, stream=True).handled == outcome
    newest = page.locator("#requests tbody tr").first
    expect(newest).to_contain_text("testsChat completionsOkRepaired, 2 attempts")
    expect(page.locator("#served")).to_have_text("contract")
    expect(page.locator("#calls")).to_contain_text("Repaired")
    expect(page.locator("#calls")).to_contain_text("The model was asked again")
    expect(page.get_by_role("img", name="Time to first token of the last")).to_be_visible()
    expect(page.get_by_role("img", name="Tokens per second over 5 minutes")).to_be_visible()
    expect(page.locator("#start")).to_contain_text("from the weights")
    expect(page.locator("#start .phases li")).not_to_have_count(0)


def test_a_restart_appears_with_its_reason(visit: Callable[..., Visit], gate: Warmgate) -> None:
    page = visit().open(KEY)
    gate.engine().kill()
    expect(page.locator("#restarts")).to_contain_text("llama-server was ended by SIGKILL.")
    expect(page.locator("#history")).to_contain_text("Down, about to restart")
    expect(page.get_by_role("status")).to_have_text("Ready")
    expect(page).to_have_title("Ready · warmgate")


def test_it_asks_again_only_while_somebody_looks(visit: Callable[..., Visit]) -> None:
    begun = visit()
    begun.page.clock.install()
    page = begun.open(KEY)

    def polls(milliseconds: int) -> int:
        before = len(begun.requested)
        for _ in range(milliseconds // 1000):
            page.clock.run_for(1000)
            page.evaluate("fetch('livez')")  # an answer that comes after those to what was asked before
        return sum(url.endswith("/status") for url in begun.requested[before:])

    live = page.get_by_role("button", name="Live")
    paused = page.get_by_role("button", name="Paused")
    assert polls(10_000) >= 2
    live.click()
    expect(paused).to_be_visible()
    assert polls(10_000) == 0
    paused.click()
    assert polls(10_000) >= 2
    page.clock.fast_forward(FIVE_MINUTES_MS)
    expect(paused).to_be_visible()
    assert polls(10_000) == 0
    page.mouse.move(50, 50)
    expect(live).to_be_visible()


@pytest.mark.parametrize("width", [360, 700, 1000])
def test_it_fits_a_phone_and_whatever_is_wider(visit: Callable[..., Visit], width: int) -> None:
    page = visit((width, 740), has_touch=True, is_mobile=True).open(KEY)
    for view in ("Status", "Playground"):
        page.get_by_role("link", name=view).click()
        assert page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [width, width]


def test_it_is_dark_where_that_is_wished(visit: Callable[..., Visit]) -> None:
    def brightness(scheme: Any) -> float:
        page = visit(color_scheme=scheme).open()
        colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))

    assert brightness("dark") < 128
    assert brightness("light") > 640


def test_the_keyboard_reaches_everything_in_its_order(visit: Callable[..., Visit]) -> None:
    page = visit().open(KEY, "playground")
    wanted = ["prompt", "image", "clear", "send", "thinking", "budget", "tools", "tools-example", "tool-choice"]
    page.get_by_label("Message").focus()
    reached: list[str] = []
    while len(reached) < 20 and "tool-choice" not in reached:
        reached.append(page.evaluate("document.activeElement.id"))
        page.keyboard.press("Tab")
    assert [name for name in reached if name in wanted] == wanted
