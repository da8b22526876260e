"""Supervisor and gateway in one process, from the first signal to the last."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from app import console
from app.failure import CommandFailure
from app.gateway_config import gateway_config
from app.http_server import base_url, bind, listening
from app.keys import resolve_keys
from app.launch import plan_launch
from app.parking import plan_parking
from app.readiness import SupervisorReadiness
from app.telemetry.telemetry import Telemetry
from gateway.application import Gateway
from gateway.metrics.parking import ParkingState
from gateway.upstream.target import Target
from server_supervisor.parking import Moves
from server_supervisor.states import State
from server_supervisor.supervisor import Supervisor

if TYPE_CHECKING:
    from app.settings import Settings


async def serve(settings: Settings) -> None:
    """Run llama-server and the gateway before it, until SIGTERM, SIGINT or SIGHUP.

    Raises:
        CommandFailure: It cannot start.
    """
    keys = resolve_keys(settings)
    telemetry = Telemetry(settings)
    moves = Moves()
    with bind(settings.host, settings.port) as listener, tempfile.TemporaryDirectory(prefix="warmgate-") as runtime_dir:
        with console.progress("checking engine and model"):
            launch, plan, engine = plan_launch(settings, Path(runtime_dir))
            launch = replace(launch, parking=plan_parking(settings, moves))
        supervisor = Supervisor(launch)
        target = Target.parse(launch.endpoint.url)
        gateway = Gateway(
            gateway_config(settings, keys, slots=plan.slots, on_gpu=bool(plan.gpu_layers)),
            target,
            SupervisorReadiness(supervisor),
            observers=telemetry.observers,
            trace=telemetry.trace,
        )
        if launch.parking is not None:
            gateway.registry.register(ParkingState(moves))
        with telemetry.running(gateway.registry):
            async with asyncio.TaskGroup() as owner, listening(gateway, listener) as stop:
                owner.create_task(supervisor.run(gateway.activity))
                try:
                    with console.progress(f"loading {plan.alias}"):
                        await _until_ready(supervisor, stop)
                    if not stop.is_set():
                        console.announce(base_url(listener), plan.alias, engine, keys.made)
                    await stop.wait()
                finally:
                    supervisor.begin_drain()
                    await gateway.drain(settings.drain_seconds)
                    supervisor.stop()


async def _until_ready(supervisor: Supervisor, stop: asyncio.Event) -> None:
    """Wait for the first ready server or a signal.

    Raises:
        CommandFailure: There will be no ready server.
    """
    works = [asyncio.create_task(supervisor.wait_for(State.READY, State.FAILED)), asyncio.create_task(stop.wait())]
    try:
        await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for work in works:
            work.cancel()
    status = supervisor.status
    if status.state is State.FAILED and status.last_failure is not None:
        raise CommandFailure(status.last_failure.message)
