"""Pushes on a thread of its own: at once, ever again, and a last time at the end."""

from __future__ import annotations

import logging
import threading
from http.client import HTTPException
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("warmgate.telemetry")


class PushLoop:
    """Calls a function that pushes. One that fails is called again all the same."""

    def __init__(self, push: Callable[[], None], seconds: float) -> None:
        """Begin.

        Args:
            push: Pushes once. It may raise what HTTP clients raise.
            seconds: Between two pushes.
        """
        self._push = push
        self._seconds = seconds
        self._failing = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="warmgate-push", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Push a last time, and wait until that is done."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        self._push_once()
        while not self._ending.wait(self._seconds):
            self._push_once()
        self._push_once()

    def _push_once(self) -> None:
        try:
            self._push()
        except (OSError, HTTPException, ValueError) as error:
            if not self._failing:  # once: the loop outlives a long outage
                logger.warning("metrics cannot be pushed: %s", error)
            self._failing = True
        else:
            self._failing = False
