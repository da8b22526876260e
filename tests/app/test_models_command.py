"""`warmgate models`: inside this process where a profile of ours is needed, else as a real process."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fake_hub import TOKEN, FakeHub, know_no_other_hub
from rich.console import Console

from app import console
from app.cli import cli
from app.failure import CommandFailure
from app.model_store import Store, find
from app.profiles import GEMMA4, PROFILES, HubFile, HubFiles, Profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Warmgate

REPO = "maker/tiny-GGUF"
WEIGHTS = b"GGUF weights " + bytes(300_000)
TEMPLATE = b"{{ messages }}\n"
TINY = Profile(
    name="tiny",
    summary="",
    alias="tiny",
    files=HubFiles(
        weights=HubFile(repo=REPO, name="tiny.gguf"),
        chat_template=HubFile(repo=REPO, name="chat_template.jinja"),
    ),
)
TWIN = Profile(name="tiny-twin", summary="", alias="tiny", files=TINY.files)
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as fake:
        yield fake


@pytest.fixture
def tiny(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """Return the hub, with two profiles that find their model on it."""
    hub.commit(REPO, {"tiny.gguf": WEIGHTS, "chat_template.jinja": TEMPLATE})
    know_no_other_hub(hub, tmp_path / "hf", monkeypatch)
    monkeypatch.setenv("WARMGATE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setitem(PROFILES, "tiny", TINY)
    monkeypatch.setitem(PROFILES, "tiny-twin", TWIN)
    return hub


def models(*arguments: str) -> None:
    cli(["models", *arguments], standalone_mode=False)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[list[str]]:
    capsys.readouterr()
    models("list", *arguments)
    return [line.split() for line in printed(capsys).splitlines()]


# --- inside this process


def test_a_model_is_pulled_shown_checked_and_found(
    tiny: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    revision = tiny.repositories[REPO].main
    assert listed(capsys, "tiny")[1:] == [
        ["tiny"],
        ["tiny.gguf", "?", "-", "-", "not", "here"],
        ["chat_template.jinja", "?", "-", "-", "not", "here"],
    ]
    models("pull", "tiny")
    weights = tmp_path / "hf" / "hub" / "models--maker--tiny-GGUF" / "snapshots" / revision / "tiny.gguf"
    assert printed(capsys) == f"tiny is here: {weights}\n"

    assert listed(capsys, "tiny")[1:] == [
        ["tiny"],
        ["tiny.gguf", "300.0", "kB", revision[:12], "yes", str(weights)],
        ["chat_template.jinja", "15", "bytes", revision[:12], "yes", str(weights.with_name("chat_template.jinja"))],
    ]
    models("path", "tiny")
    assert printed(capsys) == f"{weights}\n"
    models("verify", "tiny")
    template = weights.with_name("chat_template.jinja")
    assert printed(capsys) == f"{weights} is as it should be.\n{template} is as it should be.\n"


def test_a_local_dir_is_its_own_place(tiny: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = tmp_path / "volume"
    models("pull", "tiny", "--local-dir", str(volume))
    capsys.readouterr()
    models("path", "tiny", "--local-dir", str(volume))
    assert printed(capsys) == f"{volume / REPO / tiny.repositories[REPO].main / 'tiny.gguf'}\n"
    with pytest.raises(CommandFailure):
        models("path", "tiny")


@pytest.mark.usefixtures("tiny")
def test_profiles_with_the_same_files_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys)
    assert ["tiny-twin", "as", "tiny"] in rows
    assert [row[0] for row in rows].count("tiny.gguf") == 1


def test_the_list_is_there_for_programs(tiny: FakeHub, capsys: pytest.CaptureFixture[str], model_path: Path) -> None:
    models("pull", "tiny")
    capsys.readouterr()
    models("list", "--json")
    profiles = {profile["profile"]: profile for profile in json.loads(printed(capsys))}
    assert set(profiles) == set(PROFILES) - {"any-gguf"}
    assert profiles["gemma-4-26b-a4b"]["here"] is False
    assert profiles["smollm2-135m"]["files"][0]["path"] == str(model_path)
    assert profiles["tiny"]["here"] is True
    weights, template = profiles["tiny"]["files"]
    assert weights["source"] == template["source"] == REPO
    assert weights["revision"] == tiny.repositories[REPO].main
    assert (weights["size"], weights["verified"]) == (len(WEIGHTS), True)
    assert Path(weights["path"]).read_bytes() == WEIGHTS


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("command", ["path", "verify"])
def test_a_model_that_is_not_here_says_how_to_bring_it(command: str) -> None:
    with pytest.raises(CommandFailure) as caught:
        models(command, "tiny")
    assert str(caught.value) == "tiny.gguf is not here; `warmgate models pull tiny` brings it."


@pytest.mark.usefixtures("tiny")
def test_a_file_that_rotted_is_named_until_it_is_pulled_again(capsys: pytest.CaptureFixture[str]) -> None:
    models("pull", "tiny")
    capsys.readouterr()
    models("path", "tiny")
    weights = Path(printed(capsys).strip())
    before = weights.stat()
    weights.write_bytes(WEIGHTS[:-1] + b"!")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a failing disk would have it
    with pytest.raises(CommandFailure) as caught:
        models("verify", "tiny")
    assert str(caught.value) == "1 of 2 files are not as they should be; pull them again."
    assert f"{weights} is corrupt: its SHA-256 is not" in printed(capsys)
    models("pull", "tiny")
    models("verify", "tiny")
    assert weights.read_bytes() == WEIGHTS


@pytest.mark.usefixtures("tiny")
def test_all_that_is_here_is_verified_if_nothing_is_named(capsys: pytest.CaptureFixture[str], model_path: Path) -> None:
    models("verify")
    assert printed(capsys) == f"{model_path} is as it should be.\n"


@pytest.mark.usefixtures("tiny")
def test_the_model_of_the_wheel_is_here_without_a_pull(capsys: pytest.CaptureFixture[str], model_path: Path) -> None:
    assert listed(capsys, "smollm2-135m")[2] == [SMOLLM2_FILE, "98.4", "MB", "-", "no", str(model_path)]
    models("pull")  # the default profile's
    assert printed(capsys) == f"smollm2-135m is here: {model_path}\n"
    assert listed(capsys, "smollm2-135m")[2] == [SMOLLM2_FILE, "98.4", "MB", "-", "yes", str(model_path)]
    models("path")
    assert capsys.readouterr() == (f"{model_path}\n", "")


@pytest.mark.usefixtures("tiny")
def test_the_environment_names_the_profile(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMGATE_PROFILE", "tiny")
    models("pull")
    assert printed(capsys).startswith("tiny is here: ")


@pytest.mark.parametrize("command", ["pull", "verify", "path"])
def test_a_profile_without_a_model_is_refused(command: str) -> None:
    with pytest.raises(CommandFailure, match="any-gguf has no model of its own"):
        models(command, "any-gguf")


@pytest.mark.usefixtures("tiny")
def test_a_terminal_sees_bars(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "err", Console(stderr=True, force_terminal=True, width=100))
    models("pull", "tiny")
    shown = capsys.readouterr().err
    assert "downloading tiny.gguf" in shown
    assert "300.0/300.0 kB" in shown


@pytest.mark.usefixtures("tiny")
def test_a_log_sees_lines(capsys: pytest.CaptureFixture[str]) -> None:
    models("pull", "tiny")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "downloading tiny.gguf: 0 % of 300.0 kB"
    assert lines[-1] == "verifying chat_template.jinja: 100 % of 15 bytes"
    assert len(lines) <= 4 * 11


# --- as a process


@pytest.fixture
def start(hub: FakeHub, tmp_path: Path, start_warmgate: Callable[..., Warmgate]) -> Callable[..., Warmgate]:
    """Return a function that starts `warmgate models ARGS...` before a hub with Gemma 4's files, but tiny ones."""
    assert GEMMA4.files is not None
    weights, mmproj, template = GEMMA4.files.every
    hub.commit(weights.repo, {weights.name: WEIGHTS, mmproj.name: b"GGUF mmproj"})
    hub.commit(template.repo, {template.name: TEMPLATE})
    hub.repositories[template.repo].gated = True

    def run(*arguments: str) -> Warmgate:
        places = {"HF_HOME": str(tmp_path / "hf"), "WARMGATE_CACHE_DIR": str(tmp_path / "cache")}
        settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": ""}
        return start_warmgate("models", *arguments, **places, **settings)

    return run


def test_a_model_is_pulled_with_the_settings_of_the_hugging_face_tools(
    start: Callable[..., Warmgate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = start("pull", "gemma-4-26b-a4b", "--update")
    assert gate.wait() == 0, gate.output
    assert TOKEN not in gate.output
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    assert GEMMA4.files is not None
    model = find(GEMMA4.files, Store(tmp_path / "cache"))
    assert model is not None
    assert model.weights.read_bytes() == WEIGHTS
    assert f"gemma-4-26b-a4b is here: {model.weights}\n" in gate.output


def test_a_pull_that_fails_ends_in_one_sentence(hub: FakeHub, start: Callable[..., Warmgate]) -> None:
    hub.close()
    gate = start("pull", "gemma-4-26b-a4b")
    assert gate.wait() == 1
    (sentence,) = gate.output.splitlines()
    assert sentence.startswith(f"warmgate: The hub at {hub.url} cannot be reached (")
    assert TOKEN not in sentence


def test_ctrl_c_ends_a_pull_at_once_and_the_next_goes_on(hub: FakeHub, start: Callable[..., Warmgate]) -> None:
    cut = len(WEIGHTS) * 3 // 10 + 1  # its last byte makes it 30 %, so that line says that all of it is here
    hub.cuts, hub.stalls = [cut], True
    gate = start("pull", "gemma-4-26b-a4b", "--update")
    assert hub.stalled.wait(60)
    gate.wait_for_line("downloading .*: 30 %")
    gate.process.send_signal(signal.SIGINT)
    assert gate.wait() == 130
    hub.go_on.set()
    gate = start("pull", "gemma-4-26b-a4b", "--update")
    assert gate.wait() == 0, gate.output
    assert [request.range for request in hub.bodies()[:2]] == [None, f"bytes={cut}-"]
