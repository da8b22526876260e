"""What `warmgate doctor` finds, with a real engine and model and an nvidia-smi of the test's own."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import clean_environment

from app.doctor import Finding, Gpu, Verdict, examine, query_gpu
from app.model_store import default_cache_dir, default_model
from app.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    InstallSmi = Callable[[str], None]

L40S = "NVIDIA L40S, 580.95.05, 46068, 45300"


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstallSmi:
    """Return a function that puts an nvidia-smi on PATH which prints the given line."""

    def install(line: str) -> None:
        script = tmp_path / "bin" / "nvidia-smi"
        script.parent.mkdir()
        script.write_text(f"#!/bin/sh\necho '{line}'\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")

    return install


def found(**flags: Any) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine(read_settings(port=0, **flags))}


def test_a_fresh_installation_is_well() -> None:
    findings = found()
    assert {finding.verdict for finding in findings.values()} == {Verdict.OK}
    assert list(findings) == ["engine", "model", "template", "GPU", "port", "keys", "disk"]


def test_a_missing_engine_and_a_missing_model_are_both_told() -> None:
    findings = found(llama_server="/nowhere/llama-server", model="/nowhere/m.gguf")
    assert findings["engine"].verdict is Verdict.FAILED
    assert "/nowhere/llama-server" in findings["engine"].message
    assert findings["model"].verdict is Verdict.FAILED
    assert "/nowhere/m.gguf" in findings["model"].message


def test_a_template_file_that_is_not_there_is_told() -> None:
    finding = found(overrides=("chat_template_file=/nowhere/t.jinja",))["template"]
    assert finding == Finding("template", Verdict.FAILED, "/nowhere/t.jinja is not there.")


def test_a_taken_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        findings = {finding.check: finding for finding in examine(read_settings(port=port))}
    assert findings["port"].verdict is Verdict.FAILED
    assert str(port) in findings["port"].message


def test_a_public_address_without_a_key_is_told() -> None:
    finding = found(host="0.0.0.0")["keys"]
    assert finding.verdict is Verdict.FAILED
    assert "WARMGATE_API_KEYS" in finding.message


def test_a_gpu_is_read_from_nvidia_smi(nvidia_smi: InstallSmi) -> None:
    nvidia_smi(L40S)
    assert query_gpu() == Gpu("NVIDIA L40S", "580.95.05", 46068, 45300)


@pytest.mark.parametrize("line", ["", "No devices were found", "NVIDIA L40S, 580, [N/A], 1"])
def test_an_nvidia_smi_without_an_answer_is_no_gpu(nvidia_smi: InstallSmi, line: str) -> None:
    nvidia_smi(line)
    assert query_gpu() is None


def test_a_driver_too_old_for_snapshots_is_a_warning(nvidia_smi: InstallSmi) -> None:
    nvidia_smi("NVIDIA L4, 550.54.15, 23034, 22500")
    finding = found()["GPU"]
    assert finding.verdict is Verdict.WARNING
    assert "driver 570 or newer" in finding.message


def test_a_plan_that_does_not_fit_the_gpu_is_told_with_what_it_takes(nvidia_smi: InstallSmi) -> None:
    nvidia_smi("NVIDIA T4, 580.95.05, 15360, 100")
    finding = found()["GPU"]
    assert finding.verdict is Verdict.WARNING  # a model this small runs on the CPU as well
    assert "100 of 15,360 MiB free" in finding.message
    assert "the plan takes" in finding.message


def test_a_drafter_counts_towards_what_the_plan_takes(nvidia_smi: InstallSmi) -> None:
    nvidia_smi("NVIDIA T4, 580.95.05, 15360, 100")
    model = default_model(default_cache_dir(os.environ))
    need = re.compile(r"the plan takes ([\d,]+) MiB")
    alone, drafting = (
        need.search(found(overrides=overrides)["GPU"].message)
        for overrides in ((), ("spec_type=draft-simple", f"spec_draft_model={model}"))
    )
    assert alone is not None
    assert drafting is not None
    assert int(drafting[1].replace(",", "")) > int(alone[1].replace(",", "")) + 92  # its weights, at least


@pytest.mark.parametrize("name", ["mmproj", "spec_draft_model"])
def test_a_file_of_the_plans_that_is_not_there_is_told(name: str) -> None:
    finding = found(overrides=(f"{name}=/nowhere/x.gguf",))["model"]
    assert finding.verdict is Verdict.FAILED
    assert "/nowhere/x.gguf" in finding.message


def run_doctor(*args: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("warmgate")), "doctor", "--port", "0", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=clean_environment())


def test_the_command_fails_when_a_check_does_and_prints_stable_json() -> None:
    well, ill = run_doctor("--json"), run_doctor("--json", "--model", "/nowhere/m.gguf")
    assert (well.returncode, ill.returncode) == (0, 1)
    for finding in json.loads(well.stdout)["findings"]:
        assert sorted(finding) == ["check", "message", "verdict"]
    verdicts = {finding["check"]: finding["verdict"] for finding in json.loads(ill.stdout)["findings"]}
    assert verdicts["model"] == "failed"


def test_without_a_terminal_it_is_plain_text() -> None:
    assert "\x1b" not in run_doctor().stdout
