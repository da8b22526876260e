"""What a container does whose platform freezes it and wakes copies of it: the hooks of modal_app.py.

prepare()       before the snapshot: everything is imported and made once; in mode `gpu` the server is warm
resume()        after it, in every copy: settings and keys as they are now, a server that answers, a new gateway
application()   the requests, with the supervisor beside them; or listen(), where the platform forwards to a port
close()         at the end
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from app.garbage import spare_answers
from app.gateway_config import gateway_config
from app.http_server import bind, serving
from app.keys import resolve_keys
from app.launch import plan_launch
from app.logs import set_up_logging
from app.readiness import SupervisorReadiness
from app.settings import read_settings
from app.supervised import Supervised
from app.telemetry.telemetry import Telemetry
from gateway.application import Gateway
from gateway.upstream.probe import ProbedReadiness
from gateway.upstream.target import Target
from server_supervisor.supervisor import Supervisor
from snapshot.lifecycle import Lifecycle

if TYPE_CHECKING:
    from app.settings import Settings
    from server_supervisor.plan import LaunchPlan
    from server_supervisor.supervisor import Launch

logger = logging.getLogger("warmgate")

PUBLIC = "0.0.0.0"  # noqa: S104 -- who asks comes from outside, and so no key is made up
INSTANCE = "MODAL_TASK_ID"
"""The variable in which Modal tells one container from the next, copies of a snapshot too."""


class Container:
    """One container's life. All hooks belong to its main thread, and to the event loop that runs there."""

    def __init__(self) -> None:
        self._settings = _read_settings()
        set_up_logging(self._settings)
        self._frozen_in = os.environ.get(INSTANCE)
        self._server: _Server | None = None
        self._application: Supervised | None = None
        self._telemetry: Telemetry | None = None
        self._listening = contextlib.AsyncExitStack()

    def prepare(self) -> None:
        """Do before a snapshot what then need not be done after it.

        Raises:
            CommandFailure: Something is missing or cannot be used.
            StartFailed: The server does not become ready.
            StillOpen: A connection stays open, which no snapshot may hold.
        """
        _rehearse(self._settings)
        spare_answers()
        if self._settings.snapshot == "gpu":
            self._server = _Server(self._settings)
            self._server.lifecycle.prepare()

    def resume(self) -> None:
        """Make this container one of its own, with a server that answers.

        Raises:
            CommandFailure: Something is missing or cannot be used.
        """
        self._settings = _read_settings()
        if self._server is None:
            self._server = _Server(self._settings)
        instance = os.environ.get(INSTANCE)
        running = self._server.lifecycle.resume(restored=instance != self._frozen_in)
        supervisor = Supervisor(self._server.launch, running)
        readiness = SupervisorReadiness(supervisor, instance or secrets.token_hex(4))
        plan = self._server.plan
        keys = resolve_keys(self._settings)
        config = gateway_config(self._settings, keys, slots=plan.slots, on_gpu=bool(plan.gpu_layers))
        telemetry = Telemetry(self._settings)
        gateway = Gateway(
            config,
            Target.parse(self._server.launch.endpoint.url),
            readiness,
            observers=telemetry.observers,
            trace=telemetry.trace,
        )
        telemetry.start(gateway.registry)
        self._telemetry = telemetry
        self._application = Supervised(gateway, supervisor, self._settings.drain_seconds)

    def application(self) -> Supervised:
        """Return the ASGI application that `resume` has made."""
        assert self._application is not None  # noqa: S101 -- the order of the hooks
        return self._application

    async def listen(self, port: int) -> None:
        """Answer HTTP on a port, until `close`.

        Raises:
            CommandFailure: The port cannot be used.
        """
        await self._listening.enter_async_context(serving(self.application(), bind(PUBLIC, port)))

    async def close(self) -> None:
        """End what is left."""
        await self._listening.aclose()
        if self._server is not None:
            self._server.lifecycle.end()
        if self._telemetry is not None:
            self._telemetry.stop()


class _Server:
    """What is to be served, and its way through a snapshot."""

    def __init__(self, settings: Settings) -> None:
        self.launch: Launch
        self.plan: LaunchPlan
        self.launch, self.plan, engine = plan_launch(settings, Path(tempfile.mkdtemp(prefix="warmgate-")))
        self.lifecycle = Lifecycle(self.launch, slots=self.plan.slots, images=self.plan.mmproj is not None)
        logger.info("%s, by %s", self.plan.alias, engine)


def _read_settings() -> Settings:
    """Read them as they are now: a secret may have been changed since the snapshot."""
    return read_settings(host=PUBLIC)


def _rehearse(settings: Settings) -> None:
    """Make a gateway and throw it away.

    The first one takes a quarter of a second, for what libraries do on first use; each later one some milliseconds. So
    the real one can be made after the restore, and nothing in it is older than its container.
    """
    Telemetry(settings)
    nowhere = Target()
    Gateway(gateway_config(settings, resolve_keys(settings), slots=1), nowhere, ProbedReadiness(nowhere))
