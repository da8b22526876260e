"""What the gateway may know about the server's state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Start: TypeAlias = Literal["cold", "restored", "unparked"]


@dataclass(frozen=True, slots=True)
class Report:
    """An immutable reading.

    Attributes:
        state: One word from a small set, for people and metrics.
        ready: Whether requests are answered now.
        parked: Whether it is not ready only because nobody has asked for long: the next request is held, and answered
            within seconds.
        final: Whether it will never be ready without somebody's help: then waiting makes no sense.
        generation: Changes when another server process has become ready: what was learnt of the old one is stale.
        retry_after: Whole seconds after which a client may try again, while it is not ready.
        detail: More for `/health`, as JSON values.
        restarts: How often the server had to be started again, for each reason.
        start: Where the present server came from: its weights, a snapshot, or the host memory where it was parked.
        phases: How long that took, in seconds by phase in their order, such as `load` and `warm_up`.
    """

    state: str
    ready: bool
    parked: bool = False
    final: bool = False
    generation: int = 0
    retry_after: int = 1
    detail: Mapping[str, object] = field(default_factory=dict)
    restarts: Mapping[str, int] = field(default_factory=dict)
    start: Start = "cold"
    phases: Mapping[str, float] = field(default_factory=dict)


class Readiness(Protocol):
    """Tells the gateway whether the server answers, and lets it wait until it does."""

    def report(self) -> Report:
        """Return the present reading. Cheap: it is called for every request."""
        ...

    async def wait_ready(self) -> Report:
        """Wait until the reading is ready or final, and return it."""
        ...
