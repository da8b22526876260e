"""Codex and Claude Code, each with only a base URL and a key: one turn with a tool call and its result, offline.

They are set up as docs/clients.md says.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from conftest import KEY
from contract.scenes import SCENES

from clients import documented
from clients.desk import Desk
from clients.fake_model import PREFIX, THOUGHT
from clients.node_clients import node_command

if TYPE_CHECKING:
    from pathlib import Path

    from clients.fake_model import FakeModel

# Reading a prompt of 13,000 tokens takes two busy cores a minute.
pytestmark = [pytest.mark.agents, pytest.mark.timeout(300)]

CODEX = "node_modules/@openai/codex/bin/codex.js"
CLAUDE = "node_modules/@anthropic-ai/claude-code/cli-wrapper.cjs"
PROMPT = "Read marker.txt and tell me what it says."


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk.make(tmp_path)


def test_codex_runs_a_command_and_tells_its_result(desk: Desk, contract_url: str) -> None:
    scene = SCENES["codex"]
    lines = run_codex(desk, contract_url, f"{scene.trigger} {PROMPT}")
    thought, executed, said = items_of(lines)[-3:]
    assert thought["text"] == scene.thought
    assert executed["aggregated_output"] == f"{desk.marker}\n"
    assert said["type"] == "agent_message"
    assert desk.marker in said["text"]
    assert lines[-1]["type"] == "turn.completed"
    assert lines[-1]["usage"]["cached_input_tokens"] > 0


def test_codex_knows_a_call_of_a_tool_in_its_namespace(desk: Desk, scripted_url: str) -> None:
    said = items_of(run_codex(desk, scripted_url, PROMPT))[-1]["text"]
    assert said.startswith(f"{PREFIX}invalid agent id nobody")  # else it says "unsupported call"


def run_codex(desk: Desk, url: str, prompt: str) -> list[dict[str, Any]]:
    """Let Codex do one turn. Returns what it reported of it."""
    config = desk.home / ".codex" / "config.toml"
    config.parent.mkdir()
    config.write_text(documented.block("Codex", "toml", url))
    options = ("--json", "--skip-git-repo-check", "--sandbox", "danger-full-access")
    printed = desk.run([*node_command(CODEX), "exec", *options, prompt], WARMGATE_KEY=KEY)
    return [json.loads(line) for line in printed.splitlines()]


def items_of(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line["item"] for line in lines if line["type"] == "item.completed"]


def test_claude_code_runs_a_command_and_tells_its_result(desk: Desk, contract_url: str) -> None:
    printed = run_claude(desk, contract_url, f"{SCENES['claude'].trigger} {PROMPT}", "Bash,Read")
    assert printed == f"The result is: {desk.marker}\n"


def test_claude_code_with_all_its_tools(desk: Desk, scripted_url: str, scripted_model: FakeModel) -> None:
    printed = run_claude(desk, scripted_url, PROMPT, "default")
    assert printed == f"{PREFIX}{desk.marker}\n"
    first, second = scripted_model.conversations[-2:]
    assert second[: len(first)] == first
    assert [message["role"] for message in second[len(first) :]] == ["assistant", "tool"]
    assert second[-2]["reasoning_content"] == THOUGHT


def run_claude(desk: Desk, url: str, prompt: str, tools: str) -> str:
    return desk.run(
        [*node_command(CLAUDE), "-p", prompt, "--allowedTools", "Bash", "--tools", tools],
        **documented.exports("Claude Code", url, KEY),
    )
