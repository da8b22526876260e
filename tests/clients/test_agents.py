"""Codex and Claude Code, each with only a base URL and a key: one turn with a tool call and its result.

The agents, the gateway and everything between them are real. The model is not: see fake_model.py.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from conftest import KEY
from desk import PROMPT, Desk
from fake_model import PREFIX, THOUGHT, serving
from node_clients import node_command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Warmgate

pytestmark = pytest.mark.agents

CODEX = "node_modules/@openai/codex/bin/codex.js"
CLAUDE = "node_modules/@anthropic-ai/claude-code/cli-wrapper.cjs"

CODEX_CONFIG = """\
model = "gemma-4"
model_provider = "warmgate"
web_search = "disabled"
check_for_update_on_startup = false

[model_providers.warmgate]
name = "warmgate"
base_url = "{url}/v1"
env_key = "WARMGATE_KEY"
wire_api = "responses"

[analytics]
enabled = false

[features]
plugins = false
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk.make(tmp_path)


def test_codex_runs_a_command_and_tells_its_result(desk: Desk, gateway_before: Callable[[Path], Warmgate]) -> None:
    command = [*node_command(CODEX), "exec", "--json", "--skip-git-repo-check", "--sandbox", "danger-full-access"]
    with serving(desk.home, "exec_command", {"cmd": "cat marker.txt"}) as model:
        configure_codex(desk, gateway_before(model.socket_path).url)
        printed = desk.run([*command, PROMPT], WARMGATE_KEY=KEY)
        conversations = model.conversations
    items = [line["item"] for line in map(json.loads, printed.splitlines()) if line["type"] == "item.completed"]
    told = [(item["type"], item.get("text") or item.get("aggregated_output")) for item in items]
    assert told[-3:-1] == [("reasoning", THOUGHT), ("command_execution", desk.marker + "\n")]
    assert told[-1][1].startswith(PREFIX)
    assert desk.marker in told[-1][1]
    assert_the_thought_comes_back(conversations)


def configure_codex(desk: Desk, url: str) -> None:
    config = desk.home / ".codex" / "config.toml"
    config.parent.mkdir()
    config.write_text(CODEX_CONFIG.format(url=url))


@pytest.mark.parametrize("tools", ["Bash,Read", "default"])
def test_claude_code_runs_a_command_and_tells_its_result(
    desk: Desk, gateway_before: Callable[[Path], Warmgate], tools: str
) -> None:
    command = [*node_command(CLAUDE), "-p", PROMPT, "--allowedTools", "Bash", "--tools", tools]
    with serving(desk.home, "Bash", {"command": "cat marker.txt", "description": "Read the marker"}) as model:
        printed = desk.run(
            command,
            ANTHROPIC_BASE_URL=gateway_before(model.socket_path).url,
            ANTHROPIC_AUTH_TOKEN=KEY,
            ANTHROPIC_MODEL="gemma-4",
            CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        )
        conversations = model.conversations
    assert printed == f"{PREFIX}{desk.marker}\n"
    assert_the_thought_comes_back(conversations)


def assert_the_thought_comes_back(conversations: list[list[dict[str, str]]]) -> None:
    """Gemma 4 wants to see the thought that led to a call, when it is told the call's result."""
    first, second = conversations
    assert second[: len(first)] == first
    assert [message["role"] for message in second[len(first) :]] == ["assistant", "tool"]
    assert second[-2]["reasoning_content"] == THOUGHT
