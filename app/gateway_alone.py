"""The gateway before a llama-server that somebody else runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app import console
from app.gateway_config import gateway_config
from app.http_server import base_url, bind, listening
from app.keys import resolve_keys
from app.telemetry.telemetry import Telemetry
from gateway.application import Gateway
from gateway.upstream.probe import ProbedReadiness

if TYPE_CHECKING:
    from app.settings import Settings
    from gateway.upstream.target import Target


async def serve_gateway(settings: Settings, target: Target) -> None:
    """Run the gateway before `target`, until SIGTERM, SIGINT or SIGHUP.

    Raises:
        CommandFailure: It cannot start.
    """
    keys = resolve_keys(settings)
    telemetry = Telemetry(settings)
    with bind(settings.host, settings.port) as listener:
        readiness = ProbedReadiness(target)
        gateway = Gateway(
            gateway_config(settings, keys, slots=1),
            target,
            readiness,
            observers=telemetry.observers,
            trace=telemetry.trace,
        )
        probing = asyncio.create_task(readiness.run())
        try:
            with telemetry.running(gateway.registry):
                async with listening(gateway, listener) as stop:
                    console.announce(base_url(listener), f"the model of {target}", "gateway alone", keys.made)
                    await stop.wait()
                    await gateway.drain(settings.drain_seconds)
        finally:
            probing.cancel()
            await asyncio.wait({probing})
