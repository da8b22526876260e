"""Who we are in what is sent."""

from __future__ import annotations

import os
import socket

SERVICE = "warmgate"


def container_name() -> str:
    """Return what tells this container from its siblings: Modal's name for it, or else the host's.

    Ask after a snapshot was restored: the environment before it was another container's.
    """
    return os.environ.get("MODAL_TASK_ID") or socket.gethostname()
