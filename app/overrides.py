"""Values of a profile that a user changes, written `name=value`."""

from __future__ import annotations

import typing
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from app.failure import CommandFailure
from app.profiles import nearest
from server_supervisor.plan import LaunchPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

NOT_OVERRIDABLE = {"model"}  # has a flag of its own, with checks of its own


def read_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """Return the values that `name=value` texts stand for, checked against `LaunchPlan`'s types.

    `none` gives a value back to llama-server's own default.

    Raises:
        CommandFailure: A name is unknown (the nearest is named), or a value has the wrong type.
    """
    types = typing.get_type_hints(LaunchPlan)
    names = {field.name: types[field.name] for field in fields(LaunchPlan) if field.name not in NOT_OVERRIDABLE}
    return dict(_read(text, names) for text in texts)


def _read(text: str, names: dict[str, Any]) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not separator:
        raise CommandFailure(f"--set {text}: expected NAME=VALUE.")
    if name not in names:
        raise CommandFailure(f"--set {text}: there is no value {name!r}; {nearest(name, names)}")
    if value.strip() == "none" and type(None) in typing.get_args(names[name]):
        return name, None
    try:
        return name, msgspec.convert(value.strip(), names[name], strict=False, dec_hook=_read_path)
    except msgspec.ValidationError as error:
        raise CommandFailure(f"--set {text}: {error}.") from None


def _read_path(_: type, value: str) -> Path:
    """Read the one type among `LaunchPlan`'s that msgspec does not know."""
    return Path(value).expanduser()
