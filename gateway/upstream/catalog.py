"""What the server says it is: model, slots, context, images. Asked once for each server process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import msgspec

from gateway.barring import CALL_MARK
from gateway.errors import NotReady, UpstreamFailed
from gateway.upstream.wire import UNREADABLE

if TYPE_CHECKING:
    from gateway.readiness import Readiness
    from gateway.upstream.target import Target

ANSWER_SECONDS = 5.0


class ModelInfo(msgspec.Struct, frozen=True):
    """The one model that is served.

    Attributes:
        id: Its name in answers.
        created: Unix time at which the server started.
        slots: How many requests it decodes side by side.
        ctx_per_slot: Context of each slot, in tokens.
        fingerprint: The engine's build, OpenAI's `system_fingerprint`.
        vision: Whether it takes images.
        marks_calls: Whether it begins tool calls as Gemma 4 does, with `<|tool_call>`.
    """

    id: str
    created: int
    slots: int
    ctx_per_slot: int
    fingerprint: str
    vision: bool = False
    marks_calls: bool = False


class _Model(msgspec.Struct):
    id: str
    created: int = 0


class _Models(msgspec.Struct):
    data: list[_Model]


class _GenerationSettings(msgspec.Struct):
    n_ctx: int


class _Modalities(msgspec.Struct):
    vision: bool = False


class _Props(msgspec.Struct):
    total_slots: int
    default_generation_settings: _GenerationSettings
    build_info: str = ""
    chat_template: str = ""
    modalities: _Modalities = msgspec.field(default_factory=_Modalities)


class Catalog:
    """Remembers the answer until another server process has become ready."""

    def __init__(self, target: Target, readiness: Readiness) -> None:
        self._target = target
        self._readiness = readiness
        self._known: tuple[int, ModelInfo] | None = None
        self._asking = asyncio.Lock()

    @property
    def known(self) -> ModelInfo | None:
        """What the last server was that was asked; None before the first."""
        return self._known[1] if self._known is not None else None

    async def current(self) -> ModelInfo:
        """Return what the present server is.

        Raises:
            NotReady: No server answers now.
            UpstreamFailed: It answers with something else than llama-server does.
        """
        generation = self._readiness.report().generation
        if self._known is not None and self._known[0] == generation:
            return self._known[1]
        async with self._asking:
            if self._known is None or self._known[0] != generation:
                self._known = (generation, await self._ask())
            return self._known[1]

    async def _ask(self) -> ModelInfo:
        try:
            async with self._target.control_client(ANSWER_SECONDS) as client:
                models, props = await asyncio.gather(client.get("/v1/models"), client.get("/props"))
        except httpx.TransportError as error:
            raise NotReady("The model server does not answer yet.", retry_after=1) from error
        if httpx.codes.SERVICE_UNAVAILABLE in (models.status_code, props.status_code):
            raise NotReady("The model is being loaded.", retry_after=1)
        try:
            model = msgspec.json.decode(models.content, type=_Models).data[0]
            found = msgspec.json.decode(props.content, type=_Props)
        except (*UNREADABLE, IndexError) as error:
            raise UpstreamFailed(f"{self._target} does not answer as llama-server does: {error}") from error
        return ModelInfo(
            id=model.id,
            created=model.created,
            slots=found.total_slots,
            ctx_per_slot=found.default_generation_settings.n_ctx,
            fingerprint=found.build_info,
            vision=found.modalities.vision,
            marks_calls=CALL_MARK in found.chat_template,
        )
