from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from conftest import Warmgate

CHAT = "/v1/chat/completions"
QUESTION = "What is the capital of Iceland?"
ASKED = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 4, "temperature": 0}

QUICK_SECONDS = 0.1
HANGING_SECONDS = 8
"""So old are llama-server's series when a scrape of them has been given up: 5 s between two, and 2 s for an answer."""


def test_the_log_is_json_when_that_is_wanted_the_childs_lines_too(serve: Callable[..., Warmgate]) -> None:
    gate = serve("--log-level", "debug", WARMGATE_LOG_FORMAT="json")
    with gate.client() as client:
        answered = client.post(CHAT, json=ASKED, headers={"x-request-id": "mine"})
    assert answered.headers["x-request-id"] == "mine"
    gate.end()
    entries = [json.loads(line) for line in gate.printed]
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(entry) for entry in entries))
    (line,) = (entry for entry in entries if entry["logger"] == "warmgate.requests")
    assert (line["request_id"], line["key"], line["outcome"], line["status"]) == ("mine", "tests", "ok", 200)
    assert line["tokens"]["answer"] == answered.json()["usage"]["completion_tokens"]
    assert set(line["seconds"]) == {"queue", "server", "prefill", "first_token", "total"}
    assert {"info", "debug"} <= {entry["level"] for entry in entries if entry["logger"] == "warmgate.llama_server"}
    assert QUESTION not in "".join(gate.printed)


def _scrape(client: httpx.Client) -> tuple[float, float]:
    """Return how long a scrape took, and how old llama-server's series in it are, in seconds."""
    began = time.perf_counter()
    text = client.get("/metrics").text
    seconds = time.perf_counter() - began
    ages = [line.split()[1] for line in text.splitlines() if line.startswith("warmgate_upstream_scrape_age_seconds ")]
    return seconds, float(ages[0]) if ages else 0.0


def test_a_scrape_does_not_wait_for_a_server_that_hangs(serve: Callable[..., Warmgate]) -> None:
    gate = serve(WARMGATE_SCRAPE_SECONDS="5")
    took: list[float] = []
    age = 0.0
    with gate.client() as client:
        while not age:
            _, age = _scrape(client)
        gate.engine().send_signal(signal.SIGSTOP)
        while age < HANGING_SECONDS:
            seconds, age = _scrape(client)
            took.append(seconds)
    # One in a hundred may have had to wait for a busy machine.
    assert sorted(took)[len(took) * 99 // 100 - 1] < QUICK_SECONDS
