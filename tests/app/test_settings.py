"""The settings, and the page that describes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.failure import CommandFailure
from app.settings import Settings, read_settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def described() -> str:
    """Return the page's table, as it should be."""
    rows = ["| variable | default | |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        rows.append(f"| `WARMGATE_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def test_the_page_describes_every_setting_with_its_default() -> None:
    assert described() in PAGE.read_text()


def test_flags_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMGATE_PORT", "1234")
    assert read_settings(port=None).port == 1234
    assert read_settings(port=99).port == 99


def test_an_empty_variable_is_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMGATE_PORT", "")
    assert read_settings().port == 8000


def test_a_path_may_begin_with_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("WARMGATE_CACHE_DIR", "~/cache")
    assert read_settings().cache_dir == Path("/home/me/cache")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read_settings().port = 1


def test_keys_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMGATE_API_KEYS", "me:sk-secret")
    assert "sk-secret" not in repr(read_settings())


def test_a_bad_value_names_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandFailure, match="--port"):
        read_settings(port=70000)
    monkeypatch.setenv("WARMGATE_MAX_WAITING", "many")
    with pytest.raises(CommandFailure, match="WARMGATE_MAX_WAITING"):
        read_settings()
