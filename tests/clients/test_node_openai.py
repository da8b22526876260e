"""OpenAI's SDK for Node, with only a base URL and a key."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from conftest import KEY, clean_environment

from clients import weather
from clients.node_clients import node_command

if TYPE_CHECKING:
    from conftest import Warmgate

SCRIPT_SECONDS = 60


def run(script: str, url: str, **environment: str) -> Any:
    """Run a script of tests/clients/node, and return what it printed."""
    result = subprocess.run(
        node_command(script),
        env=clean_environment(OPENAI_BASE_URL=f"{url}/v1", OPENAI_API_KEY=KEY, **environment),
        capture_output=True,
        text=True,
        timeout=SCRIPT_SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_a_streamed_answer_with_usage(warmgate: Warmgate) -> None:
    printed = run("stream_chat.mjs", warmgate.url)
    assert len(printed["parts"]) > 2
    assert "Paris" in "".join(printed["parts"])
    assert printed["usage"]["completion_tokens"] > 0


def test_a_streamed_response(warmgate: Warmgate) -> None:
    printed = run("stream_response.mjs", warmgate.url)
    assert len(printed["deltas"]) > 2
    assert printed["output_text"] == "".join(printed["deltas"])
    assert "Paris" in printed["output_text"]
    assert printed["status"] == "completed"
    assert printed["usage"]["output_tokens"] > 0


@pytest.mark.parametrize("script", ["run_tools.mjs", "call_response_tool.mjs"])
def test_a_tool_call_and_its_result(contract_url: str, script: str) -> None:
    told = {"QUESTION": weather.QUESTION, "TOOL": json.dumps(weather.TOOL), "RESULT": weather.RESULT}
    printed = run(script, contract_url, **told)
    assert printed == {"answer": weather.ANSWER, "calls": [weather.ARGUMENTS]}
