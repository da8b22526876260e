"""How long each phase of a start took."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Phases(dict[str, float]):
    """Seconds by phase, in the order in which the phases came. One that came again counts with all its times."""

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count the time inside the context, also when it ends with an exception."""
        began = time.monotonic()
        try:
            yield
        finally:
            self[name] = self.get(name, 0.0) + time.monotonic() - began
