"""What is done once for a deployment: the model's way into its Volume, and the look at whether it works."""

from __future__ import annotations

import os
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest
from conftest import KEY, clean_environment
from fake_hub import FakeHub, know_no_other_hub

from app.deployment_tools import bring_model, show_smoke_test
from app.failure import CommandFailure
from app.model_store import Store, find
from app.profiles import PROFILES, HubFile, HubFiles, Profile
from app.smoke_test import smoke_test

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Warmgate

ASK = "import sys; from app.deployment_tools import show_smoke_test; show_smoke_test(sys.argv[1], '')"
FILES = HubFiles(weights=HubFile(repo="maker/tiny-GGUF", name="tiny.gguf"))


def test_the_model_comes_to_paths_that_name_its_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PROFILES, "tiny", Profile(name="tiny", summary="", alias="tiny", files=FILES))
    volume = tmp_path / "models"
    with FakeHub() as hub:
        revision = hub.commit("maker/tiny-GGUF", {"tiny.gguf": b"GGUF weights"})
        know_no_other_hub(hub, tmp_path / "hf", monkeypatch)
        bring_model("tiny", volume)
    model = find(FILES, Store(tmp_path / "a container's own cache", volume))
    assert model is not None
    assert model.weights == volume / "maker/tiny-GGUF" / revision / "tiny.gguf"
    assert "tiny is here" in capsys.readouterr().out


def test_a_profile_that_is_in_a_wheel_has_nothing_to_bring(tmp_path: Path) -> None:
    with pytest.raises(CommandFailure, match="has no files to bring"):
        bring_model("smollm2-135m", tmp_path)


def test_the_smoke_test_tells_where_it_is_and_how_long_two_answers_took(warmgate: Warmgate) -> None:
    url, first, following = smoke_test(warmgate.url, KEY)
    assert url == f"{warmgate.url}/v1"
    assert first.startswith("first answer: ")
    assert following.startswith("next answer: ")


def test_a_key_that_does_not_fit_is_told_of(warmgate: Warmgate) -> None:
    with pytest.raises(CommandFailure, match="answers 401"):
        list(smoke_test(warmgate.url, "sk-wrong"))


def test_the_key_is_the_last_that_is_configured(
    warmgate: Warmgate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WARMGATE_API_KEYS", f"old:sk-old,tests:{KEY}")
    show_smoke_test(warmgate.url, "")
    assert "next answer: " in capsys.readouterr().out


def test_a_key_that_is_not_configured_is_typed_and_not_shown(warmgate: Warmgate) -> None:
    terminal, theirs = os.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        try:
            asking = subprocess.Popen(
                [sys.executable, "-c", ASK, warmgate.url],
                env=clean_environment(),
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,  # or it would ask on the terminal of whoever runs the tests
            )
            while termios.tcgetattr(theirs)[3] & termios.ECHO:  # what is typed before that is thrown away
                assert asking.poll() is None
            os.write(terminal, f"{KEY}\n".encode())
            assert asking.wait() == 0
        finally:
            os.close(theirs)
        shown = screen.read(65536).decode()
    assert shown.startswith("A key of this deployment (it stays hidden):")
    assert "next answer: " in shown
    assert KEY not in shown


def test_without_a_terminal_it_says_where_the_key_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WARMGATE_API_KEYS", raising=False)
    with pytest.raises(CommandFailure, match="set WARMGATE_API_KEYS"):
        show_smoke_test("http://127.0.0.1:1", "")
