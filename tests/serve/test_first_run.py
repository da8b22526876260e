"""What a newcomer sees: a key, two snippets that work as printed, and plain lines where there is no terminal."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Warmgate


def first_run(start_warmgate: Callable[..., Warmgate]) -> tuple[Warmgate, str]:
    gate = start_warmgate("serve", "--port", "0").ready()
    gate.wait_for_line("print\\(chunk")
    return gate, gate.output


def test_the_key_is_printed_once_and_the_snippets_work(start_warmgate: Callable[..., Warmgate]) -> None:
    gate, shown = first_run(start_warmgate)
    assert shown.count("Key for this run") == 1
    curl = shown[shown.index("curl -N") : shown.index("from openai")]
    answer = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True).stdout
    assert answer.endswith("data: [DONE]\n\n")
    python = shown[shown.index("from openai") :]
    assert "sea" in subprocess.run([sys.executable, "-c", python], capture_output=True, text=True, check=True).stdout
    assert gate.end() == 0


def test_without_a_terminal_there_are_plain_lines(start_warmgate: Callable[..., Warmgate]) -> None:
    _, shown = first_run(start_warmgate)
    assert "loading smollm2-135m ...\n" in shown
    assert "\x1b" not in shown


def test_a_configured_key_is_never_printed(start_warmgate: Callable[..., Warmgate]) -> None:
    gate = start_warmgate("serve", "--port", "0", "--log-level", "debug", WARMGATE_API_KEYS="me:sk-quiet").ready()
    with gate.client("sk-quiet") as client:
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
        assert client.post("/v1/chat/completions", json=body).status_code == 200
    assert gate.end() == 0
    assert "sk-quiet" not in gate.output
    assert "llama_server" in gate.output  # its own lines are there, at this level
