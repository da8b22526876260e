"""The playground in a real browser, with a real llama-server that plays scenes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from conftest import KEY
from contract.model.acts import COUNT, THOUGHT, trigger
from contract.scenes import tool, tools
from pictures import png
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page

    from browser.chromium import Visit

MARKUP = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>"


@pytest.fixture
def page(visit: Callable[..., Visit]) -> Page:
    page = visit().open(KEY, "playground")
    page.get_by_label("Temperature").fill("0")
    return page


def say(page: Page, text: str) -> Locator:
    """Send a message, and return the model's turn."""
    page.get_by_label("Message").fill(text)
    page.get_by_label("Message").press("Enter")
    return page.locator(".turn.model").last


def declare(page: Page, *declared: Any) -> None:
    page.get_by_label("Definitions, as JSON").fill(json.dumps(declared))


def test_an_answer_streams(page: Page) -> None:
    page.evaluate("""() => {
        window.lengths = new Set();
        const log = document.getElementById("log");
        new MutationObserver(() => lengths.add(log.textContent.length)).observe(log, {childList: true, subtree: true});
    }""")
    turn = say(page, trigger("count"))
    expect(turn.locator(".facts")).to_contain_text("tok/s")
    expect(turn.locator(".said")).to_have_text(COUNT)
    assert page.evaluate("lengths.size") > 20
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_a_thought_is_shown_while_it_comes_and_then_folded(page: Page) -> None:
    page.get_by_label("Think before answering").check()
    turn = say(page, trigger("think"))
    expect(turn.locator("> .said")).to_have_text("I have thought about it, and the answer is yes.")
    expect(turn.get_by_text(THOUGHT)).to_be_hidden()
    turn.get_by_text("Thought", exact=True).click()
    expect(turn.get_by_text(THOUGHT)).to_be_visible()


def test_a_budget_ends_the_thought(page: Page) -> None:
    page.get_by_label("Think before answering").check()
    page.get_by_label("Budget, in tokens").fill("8")
    turn = say(page, trigger("think"))
    expect(turn.locator(".facts")).to_contain_text("8 of thought")


def test_a_repaired_call_is_shown_as_one_and_its_result_can_be_given_back(page: Page) -> None:
    declare(page, *tools("set_timer"))
    turn = say(page, trigger("wrong-type"))
    call = turn.locator(".call")
    expect(call).to_contain_text("set_timer")
    expect(call).to_contain_text("Repaired, 2 attempts")
    assert isinstance(json.loads(call.locator("pre").inner_text())["minutes"], int)
    call.get_by_label("Result of set_timer").fill("done")
    call.get_by_role("button", name="Give back").click()
    expect(page.locator(".turn.model").last.locator(".said")).to_have_text("The result is: done")


def test_a_refused_call_is_told_as_it_was_told_to_us(page: Page) -> None:
    minutes = {"type": "integer", "minimum": 5, "maximum": 3}
    declare(page, tool("set_timer", "Set a timer.", {"minutes": minutes, "label": {"type": "string"}}))
    alert = say(page, trigger("wrong-type")).get_by_role("alert")
    expect(alert).to_contain_text("The model's call of the tool 'set_timer' is not valid")
    expect(alert).to_contain_text("tool_call_invalid")


def test_tools_that_are_no_json_are_not_sent(page: Page) -> None:
    page.get_by_label("Definitions, as JSON").fill("[{")
    page.get_by_label("Message").fill("Hello")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text("JSON")
    expect(page.get_by_label("Message")).to_have_value("Hello")
    page.get_by_role("button", name="Example").click()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_refused_request_says_which_field_is_to_blame(page: Page) -> None:
    declare(page, tool("no good name", "None.", {}))
    alert = say(page, "Hello").get_by_role("alert")
    expect(alert).to_contain_text("400 · tools[0].function.name")


@pytest.mark.parametrize(("kind", "sent"), [("png", "png"), ("webp", "jpeg")])
def test_an_image_is_sent_along_in_a_format_that_is_read(page: Page, kind: str, sent: str) -> None:
    picture: Any = {"name": "grey", "mimeType": f"image/{kind}", "buffer": png((64, 64))}
    page.get_by_label("Image").set_input_files(picture)
    expect(page.locator("#attached img")).to_have_attribute("src", re.compile(f"^data:image/{sent};base64,"))
    turn = say(page, trigger("plain"))
    expect(turn.locator(".facts")).to_contain_text("written")
    expect(turn.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_alt_text("Attached picture")).to_be_visible()


def test_what_is_no_picture_is_not_sent(page: Page) -> None:
    page.get_by_label("Image").set_input_files({"name": "a.heic", "mimeType": "image/heic", "buffer": b"no picture"})
    expect(page.get_by_role("alert")).to_have_text("a.heic is no picture that this browser can read.")


def test_an_answer_can_be_stopped(page: Page) -> None:
    declare(page, *tools("set_timer"))
    turn = say(page, trigger("unterminated"))
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    expect(turn.get_by_role("alert")).to_have_count(0)
    page.get_by_role("link", name="Status").click()
    expect(page.locator("#requests tbody tr").first).to_contain_text("Cancelled")


def test_markup_stays_text_whoever_writes_it(page: Page) -> None:
    call = {"index": 0, "id": "call_1", "function": {"name": MARKUP, "arguments": json.dumps({MARKUP: MARKUP})}}
    deltas: list[Any] = [{"reasoning_content": MARKUP}, {"content": MARKUP}, {"tool_calls": [call]}]
    events = [*({"choices": [{"delta": delta}]} for delta in deltas), {"error": {"message": MARKUP, "code": MARKUP}}]
    stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    # no model that plays scenes can be brought to write it
    page.route("**/v1/chat/completions", lambda route: route.fulfill(content_type="text/event-stream", body=stream))
    turn = say(page, MARKUP)
    for place in (".said", ".call code", ".call pre", ".refusal"):
        expect(turn.locator(place).last).to_contain_text(MARKUP.replace('"', '\\"') if place == ".call pre" else MARKUP)
    expect(page.locator(".turn.user .said")).to_have_text(MARKUP)
    expect(page.locator("#log :is(img, .said b, pre b, code b)")).to_have_count(0)
    expect(page).to_have_title("Ready · warmgate")
