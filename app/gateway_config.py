"""From settings to what the gateway is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.failure import CommandFailure
from app.telemetry.identity import container_name
from gateway.application import GatewayConfig
from gateway.backend_sampling import BackendSampling
from gateway.generation import Limits
from gateway.images.policy import ImagePolicy
from gateway.thinking import UNBOUNDED, ThinkingPolicy
from gateway.thoughts.seal import SecretSeal
from gateway.toolcalls.policy import CallHandling, ToolCallPolicy, parse_modes

if TYPE_CHECKING:
    from app.keys import Keys
    from app.settings import Settings
    from gateway.toolcalls.policy import Mode


def gateway_config(settings: Settings, keys: Keys, *, slots: int, on_gpu: bool = False) -> GatewayConfig:
    """Return the gateway's configuration.

    Args:
        settings: What is set.
        keys: Who may call.
        slots: What is known of the server before it has said so itself.
        on_gpu: Whether we know that the model is on a GPU. Its sampler is many times slower on a CPU.

    Raises:
        CommandFailure: A setting cannot be used together with the keys.
    """
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
        instance=container_name,
        thinking=ThinkingPolicy(
            enabled=settings.thinking,
            budget=None if settings.thinking_budget == UNBOUNDED else settings.thinking_budget,
            answer_reserve=settings.answer_reserve,
        ),
        images=ImagePolicy(
            urls=settings.image_urls,
            max_count=settings.image_max_count,
            max_bytes=settings.image_max_mib << 20,
            max_total_bytes=settings.image_total_mib << 20,
            max_pixels=settings.image_max_megapixels * 1_000_000,
            max_total_pixels=settings.image_max_megapixels * 2_000_000,
            seconds=settings.image_seconds,
            fetches=settings.image_fetches,
        ),
        log_content=settings.log_content,
        most_identical_calls=settings.most_identical_calls,
        backend_sampling=_backend_sampling(settings.backend_sampling, on_gpu=on_gpu),
        tool_calls=ToolCallPolicy(
            handling=CallHandling(
                mode=settings.tool_calls,
                most_repairs=settings.tool_call_repairs,
                temperature=settings.tool_call_temperature,
                max_tokens=settings.tool_call_max_tokens,
            ),
            by_key=_modes_by_key(settings, keys),
        ),
        seal=SecretSeal(_seal_secrets(settings) or [keys.seal_secret]),
    )


def _backend_sampling(wanted: BackendSampling, *, on_gpu: bool) -> BackendSampling:
    return BackendSampling.OFF if wanted is BackendSampling.AUTO and not on_gpu else wanted


def _modes_by_key(settings: Settings, keys: Keys) -> dict[str, Mode]:
    try:
        modes = parse_modes(settings.tool_calls_by_key or "")
    except ValueError as error:
        raise CommandFailure(f"WARMGATE_TOOL_CALLS_BY_KEY cannot be used: {error}.") from None
    if unknown := sorted(set(modes) - keys.ring.names):
        raise CommandFailure(f"WARMGATE_TOOL_CALLS_BY_KEY cannot be used: there is no key named {unknown[0]!r}.")
    return modes


def _seal_secrets(settings: Settings) -> list[bytes]:
    text = settings.seal_secret.get_secret_value() if settings.seal_secret else ""
    return [secret.strip().encode("utf-8", "surrogateescape") for secret in text.split(",") if secret.strip()]
