"""What to serve, as data. Each value that is not llama-server's default carries its reason."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.failure import CommandFailure
from server_supervisor.plan import LaunchPlan

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A model and how it is run.

    Attributes:
        name: The profile's name, and its model's in answers.
        summary: One line for people.
        slots: How many requests are decoded side by side.
        ctx_per_slot: Context of each slot, in tokens.
        launch: Further fields of `LaunchPlan`.
    """

    name: str
    summary: str
    slots: int
    ctx_per_slot: int
    launch: dict[str, Any] = field(default_factory=dict)

    def plan(self, model: Path, alias: str) -> LaunchPlan:
        """Return the plan that runs `model` in this profile's way."""
        return LaunchPlan(model=model, alias=alias, slots=self.slots, ctx_per_slot=self.ctx_per_slot, **self.launch)


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="smollm2-135m",
            summary="SmolLM2-135M-Instruct on the CPU: small, real, and there after `make install`.",
            slots=4,  # as many as the product has, so that a laptop shows the same queueing
            ctx_per_slot=2048,  # a laptop answers short questions; the model was trained for 8192
            launch={
                "temperature": 0.2,  # its model card's, as is top_p; at llama-server's 0.8 it rambles
                "top_p": 0.9,
                "fit": "off",  # the plan is what runs: no silent change of context to fit the memory
                "cache_ram_mib": 256,  # the default, 8 GiB of old prompts, is not what a laptop has to spare
            },
        ),
    )
}


def find_profile(name: str) -> Profile:
    """Return the profile of that name.

    Raises:
        CommandFailure: There is none; the message names the nearest.
    """
    if name in PROFILES:
        return PROFILES[name]
    nearest = difflib.get_close_matches(name, PROFILES, n=1) or sorted(PROFILES)
    raise CommandFailure(f"There is no profile {name!r}; did you mean {nearest[0]!r}?")
