"""A server that somebody else has made ready, for a supervisor to adopt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server_supervisor.process import ChildProcess
    from server_supervisor.states import Start


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers.

    Attributes:
        child: Its process, spawned by a thread that lives on.
        start: Where it came from.
        phases: How long that took, in seconds by phase.
    """

    child: ChildProcess
    start: Start
    phases: Mapping[str, float]
