"""Takes the pictures in docs/pictures again, of two real `warmgate` processes.

The status view is that of the contract model, which makes every kind of call, under load and after a restart; in the
playground it is a small real model. Run by `make pictures`. They look best where the font Inter is installed.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice, product
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import Warmgate
from contract.model.acts import trigger
from contract.playing import DIALECTS, play
from contract.scenes import SCENES, SERVED
from playwright.sync_api import expect

from browser.chromium import PHONE, Visit, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
KEYS = {"laptop": "wg-laptop-6d3f", "agents": "wg-agents-a1c8", "ci": "wg-ci-55e0", "phone": "wg-phone-0b77"}
SCENES_PLAYED = ("plain", "call", "think", "call", "count", "wrong-type", "call", "think-long", "quoted-number", "call")
DESKTOP = (1120, 840)

Request = tuple[str, str, str]
"""A key, a path and a scene."""


def ask(gate: Warmgate, request: Request) -> None:
    key, path, scene = request
    with gate.client(key) as client:
        play(client, path, trigger(scene), SCENES[scene].tools, stream=True)


def take_status(browser: Browser) -> None:
    """Take pictures while requests run and wait, after one restart."""
    keys = ",".join(f"{name}:{key}" for name, key in KEYS.items())
    gate = Warmgate("serve", "--port", "0", *SERVED, "--set", "slots=3", env={"WARMGATE_API_KEYS": keys})
    requests = [
        (key, path, scene) for (scene, path), key in zip(product(SCENES_PLAYED, DIALECTS), cycle(KEYS.values()))
    ]
    try:
        gate.ready()
        with ThreadPoolExecutor(len(KEYS)) as clients:
            list(clients.map(lambda request: ask(gate, request), requests))
            gate.engine().kill()
            running = clients.map(lambda request: ask(gate, request), islice(cycle(requests), 6 * len(requests)))
            next(islice(running, 3 * len(requests), None))
            for name, size, scheme, scale in (("status", (1120, 1004), "light", 1), ("phone", PHONE, "dark", 2)):
                visit = Visit(browser, gate.url, size, color_scheme=scheme, device_scale_factor=scale)
                page = visit.open(KEYS["laptop"])
                expect(page.locator("#slots")).to_contain_text("3of 3")
                page.screenshot(path=PICTURES / f"{name}.png")
                visit.close()
    finally:
        gate.process.kill()
        gate.process.wait()


def take_playground(browser: Browser) -> None:
    """Take a picture of a conversation with a tool call in it."""
    gate = Warmgate("serve", "--port", "0", "--set", "threads=1", env={"WARMGATE_API_KEYS": f"laptop:{KEYS['laptop']}"})
    try:
        visit = Visit(browser, gate.ready().url, DESKTOP, color_scheme="dark")
        page = visit.open(KEYS["laptop"], "playground")
        page.get_by_label("Instructions").fill("You are a helpful assistant.")
        page.get_by_label("Temperature").fill("0")
        for number, question in enumerate(("What is the capital of France?", "Set a timer for five minutes."), 1):
            page.get_by_label("Message").fill(question)
            page.get_by_role("button", name="Send").click()
            expect(page.locator(".turn.model .facts")).to_have_count(number, timeout=60_000)
            page.get_by_role("button", name="Example").click()
            page.get_by_label("Whether to call one").select_option("required")
        page.mouse.move(0, 0)
        page.screenshot(path=PICTURES / "playground.png")
        visit.close()
    finally:
        gate.process.kill()
        gate.process.wait()


if __name__ == "__main__":
    with chromium() as browser:
        take_status(browser)
        take_playground(browser)
