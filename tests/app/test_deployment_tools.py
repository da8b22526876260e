"""What is done once for a deployment: the model's way into its Volume, and the look at whether it works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from conftest import KEY
from fake_hub import FakeHub, know_no_other_hub

from app.deployment_tools import bring_model
from app.failure import CommandFailure
from app.model_store import Store, find
from app.profiles import PROFILES, HubFile, HubFiles, Profile
from app.smoke_test import smoke_test

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Warmgate

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
