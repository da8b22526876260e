from __future__ import annotations

import logging

import pytest
from conftest import KEY, Warmgate
from keys_in_logs import Watch, leaks, secrets_in

MADE = "wg-" + "aB_-" * 8


def test_secrets_are_found_in_a_programs_environment() -> None:
    environment = {
        "WARMGATE_API_KEYS": "me:sk-first, sk-second,x:short",
        "WARMGATE_SEAL_SECRET": "seal-it",
        "HOME": "/",
    }
    assert secrets_in(environment) == {"sk-first", "sk-second", "seal-it"}


@pytest.mark.parametrize(
    ("line", "leaks_it"),
    [
        ("2026-01-01 00:00:00,000 INFO    warmgate: sk-first\n", True),
        ("anywhere else: sk-first\n", True),
        ("2026-01-01 00:00:00,000 INFO    warmgate: sk-other\n", False),
        (f"Key for this run: {MADE}\n", False),
        (f"2026-01-01 00:00:00,000 INFO    warmgate: {MADE}\n", True),
        (f'{{"message":"{MADE}"}}\n', True),
    ],
)
def test_a_line_with_a_secret_is_found(line: str, leaks_it: bool) -> None:
    assert leaks([line], {"sk-first"}) == [line] * leaks_it


def test_what_this_process_logs_is_watched() -> None:
    logger, watch = logging.getLogger("somebody"), Watch({"sk-first"})
    logger.addHandler(watch)
    try:
        logger.warning("it is %s", "sk-first")
        logger.warning("hidden", extra={"fields": {"key": "sk-first"}})
        logger.warning("nothing")
    finally:
        logger.removeHandler(watch)
    assert watch.found == ["it is sk-first ", "hidden {'key': 'sk-first'}"]


def test_all_that_a_program_prints_is_kept(warmgate: Warmgate) -> None:
    with warmgate.client() as client:
        client.get("/v1/models", headers={"x-request-id": "kept"})
        client.post("/v1/chat/completions", json={}, headers={"x-request-id": "kept-too"})
    warmgate.wait_for_line("kept-too tests chat_completions: invalid 400")
    assert any("kept-too" in line for line in warmgate.printed)
    assert KEY not in "".join(warmgate.printed)
