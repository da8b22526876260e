"""How far the tool-call contract goes: a setting of the endpoint, of a key and of a request."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Mode(enum.StrEnum):
    """What is done about a call that its own schema rejects."""

    REPAIR = "repair"
    """Put it right or ask the model again; refuse the answer if that fails."""
    VALIDATE = "validate"
    """Pass it on, and say so."""
    OFF = "off"
    """Do not look."""


class Outcome(enum.StrEnum):
    """What became of a call, the best first."""

    VALID = "valid"
    NORMALISED = "normalized"
    REPAIRED = "repaired"
    INVALID = "invalid"
    """Passed on all the same, because only a report was wanted."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallHandling:
    """What is done about one request's calls.

    Attributes:
        mode: How far it goes.
        most_repairs: How often the model is asked again for one call.
        temperature: With which it is asked again: low, because it is to correct and not to invent.
        max_tokens: Of each such answer.
    """

    mode: Mode = Mode.REPAIR
    most_repairs: int = 2
    temperature: float = 0.2
    max_tokens: int = 4096


REPAIR_CALLS = CallHandling()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallPolicy:
    """What holds for whom.

    Attributes:
        handling: For those who have no mode of their own.
        by_key: Modes of keys, by their names.
    """

    handling: CallHandling = REPAIR_CALLS
    by_key: Mapping[str, Mode] = field(default_factory=dict)

    def of(self, key: str, asked: Mode | None) -> CallHandling:
        """Return what holds for a request of the key's owner who asks for a mode, or for none."""
        mode = asked or self.by_key.get(key, self.handling.mode)
        return self.handling if mode is self.handling.mode else replace(self.handling, mode=mode)


def parse_modes(text: str) -> dict[str, Mode]:
    """Read `name:mode` pairs, separated by commas.

    Raises:
        ValueError: An entry is not that, or a name stands twice.
    """
    modes: dict[str, Mode] = {}
    for entry in (part.strip() for part in text.split(",") if part.strip()):
        name, separator, mode = (part.strip() for part in entry.partition(":"))
        if not name or not separator or mode not in list(Mode):
            raise ValueError(f"{entry!r} is no name and one of {', '.join(Mode)}, with a colon between them")
        if name in modes:
            raise ValueError(f"the name {name!r} stands twice")
        modes[name] = Mode(mode)
    return modes
