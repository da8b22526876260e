"""Whether an idle server gives its GPU memory back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.failure import CommandFailure
from server_supervisor.parking import CountedGpu, Parking
from snapshot.cuda import GpuError
from snapshot.gpu_state import CudaState

if TYPE_CHECKING:
    from app.settings import Settings
    from server_supervisor.parking import Moves


def plan_parking(settings: Settings, moves: Moves) -> Parking | None:
    """Return when and how the server is parked; None for never.

    Args:
        settings: After how long.
        moves: Where each parking, and each way back, is counted.

    Raises:
        CommandFailure: It shall be, and this machine cannot.
    """
    if not settings.park_after_seconds:
        return None
    try:
        return Parking(settings.park_after_seconds, CountedGpu(CudaState(), moves))
    except GpuError as error:
        sentence = str(error)
        raise CommandFailure(f"--park-after cannot be used: {sentence[0].lower()}{sentence[1:]}") from None
