"""Graphics cards, what fits on them, and how large a context can be there."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from app.failure import CommandFailure
from app.memory_plan import MIB, account
from app.profiles import nearest

if TYPE_CHECKING:
    from app.drafter import Drafter
    from app.gguf import GgufHeader
    from app.model_shape import ModelShape
    from server_supervisor.plan import LaunchPlan

# What the driver keeps of nvidia-smi's total and no process gets: 510 MiB on an A10, 600 on an L40S, 770 on an A100
# with 80 GB, as the difference to the total capacity in PyTorch's messages. The largest of them counts for all.
DRIVER_RESERVED_BYTES = 768 * MIB

# Tokens of context for each slot, by the number of slots; None if there is no room for any.
Contexts: TypeAlias = dict[int, int | None]

SLOTS = (1, 2, 4, 8, 16)
CTX_STEP = 4096  # tokens


@dataclass(frozen=True, slots=True)
class Card:
    """A card, by Modal's name for it.

    Attributes:
        name: Such as `L40S`.
        total_bytes: nvidia-smi's total.
    """

    name: str
    total_bytes: int

    @property
    def usable_bytes(self) -> int:
        """What a process can have."""
        return self.total_bytes - DRIVER_RESERVED_BYTES


# nvidia-smi on Modal's machines: https://github.com/modal-labs/modal-client/pull/2797
CARDS = {
    name: Card(name, mib * MIB)
    for name, mib in (
        ("L4", 23034),
        ("A10", 23028),
        ("L40S", 46068),
        ("A100-40GB", 40960),
        ("A100-80GB", 81920),
        ("H100", 81559),
    )
}


def find_card(name: str) -> Card:
    """Return the card of that name, in whatever case.

    Raises:
        CommandFailure: There is none; the message names the nearest.
    """
    if card := CARDS.get(name.upper()):
        return card
    raise CommandFailure(f"There is no card {name!r}; {nearest(name, CARDS)}")


def largest_contexts(
    card: Card,
    shape: ModelShape,
    launch: LaunchPlan,
    *,
    mmproj: GgufHeader | None = None,
    drafter: Drafter | None = None,
) -> Contexts:
    """Return, for each number of slots, how many tokens of context each of them can have on a card.

    Multiples of 4096 up to what the model was trained for; None if not even 4096 fit. All else is as in `launch`.

    Raises:
        CommandFailure: As `account` does.
    """
    contexts = range(CTX_STEP, shape.n_ctx_train + 1, CTX_STEP)

    def is_too_much(ctx_per_slot: int, slots: int) -> bool:
        changed = replace(launch, slots=slots, ctx_per_slot=ctx_per_slot)
        return account(shape, changed, mmproj=mmproj, drafter=drafter).gpu.total > card.usable_bytes

    def largest(slots: int) -> int | None:
        fitting = bisect.bisect_left(contexts, True, key=lambda ctx: is_too_much(ctx, slots))
        return contexts[fitting - 1] if fitting else None

    return {slots: largest(slots) for slots in SLOTS}
