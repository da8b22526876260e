"""The files of a plan, as far as memory goes: read from their headers, nothing is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.drafter import read_drafter
from app.failure import CommandFailure
from app.gguf import ModelFileError
from app.model_shape import read_parts, read_shape
from app.model_store import check_model

if TYPE_CHECKING:
    from app.drafter import Drafter
    from app.gguf import GgufHeader
    from app.model_shape import ModelShape
    from server_supervisor.plan import LaunchPlan


@dataclass(frozen=True, slots=True)
class PlannedFiles:
    """What a plan loads.

    Attributes:
        shape: The model's.
        projector: The image projector's header, if there is one.
        drafter: The model that drafts for it, if there is one.
    """

    shape: ModelShape
    projector: GgufHeader | None
    drafter: Drafter | None


def read_planned_files(plan: LaunchPlan, header: GgufHeader) -> PlannedFiles:
    """Read what a plan names.

    Args:
        plan: It.
        header: Of the model's first file.

    Raises:
        CommandFailure: A file is not there, or cannot be used.
    """
    try:
        shape = read_shape(read_parts(header))
        projector = check_model(plan.mmproj) if plan.mmproj else None
        draft = read_parts(check_model(plan.spec_draft_model)) if plan.spec_draft_model else None
    except ModelFileError as error:
        raise CommandFailure(str(error)) from None
    return PlannedFiles(shape, projector, read_drafter(draft, plan.spec_type) if draft else None)
