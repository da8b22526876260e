"""From settings to what the gateway is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.application import GatewayConfig
from gateway.generation import Limits

if TYPE_CHECKING:
    from app.keys import Keys
    from app.settings import Settings


def gateway_config(settings: Settings, keys: Keys, *, slots: int) -> GatewayConfig:
    """Return the gateway's configuration. `slots` is what is known of the server before it has said so itself."""
    return GatewayConfig(
        keys=keys.ring,
        limits=Limits(ready_seconds=settings.ready_wait_seconds, silence_seconds=settings.silence_seconds),
        metrics_public=settings.metrics_public,
        slots=slots,
        max_waiting=settings.max_waiting,
        max_wait_seconds=settings.max_wait_seconds,
        keep_alive_seconds=settings.keep_alive_seconds,
        max_body_bytes=settings.max_body_mib << 20,
        scrape_seconds=settings.scrape_seconds,
    )
