"""What is decided when the program is deployed, and holds in every container: modal_app.py's switches.

They are read on the machine that deploys and once more in each container, and must say the same there: Modal compares
what the code defines in both places. So they are baked into the image's environment.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.failure import CommandFailure
from app.settings import PREFIX

MINUTES = 60


class Deployment(BaseSettings):
    """One frozen object. A field `x` is set by the environment variable `WARMGATE_X`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True)

    profile: str = Field(default="gemma-4-26b-a4b", description="What to serve, as in `docs/settings.md`.")
    snapshot: Literal["off", "cpu", "gpu"] = Field(
        default="gpu",
        description="What the snapshot of a container holds: nothing, the program alone, or the warm server too.",
    )
    door: Literal["function", "server"] = Field(
        default="function",
        description="How requests come in: `function` queues them while there is no container, `server` forwards them "
        "with less delay and answers 503 while there is none.",
    )
    port: int = Field(default=8000, description="Where `server` forwards to, in the container.")
    engine: Literal["image", "volume"] = Field(
        default="image",
        description="Where llama-server is: in the image, where another build makes new snapshots, or in the Volume "
        "`llama-server-binary`, where it outlives images and `modal run modal_app.py::build_llama_server` puts it.",
    )
    gpu: str = Field(default="L40S", description="The kind of GPU.")
    memory_mib: int = Field(
        default=40 * 1024, description="Host memory to reserve: a snapshot parks in it all that is in the GPU's."
    )
    min_containers: int = Field(default=0, ge=0, description="How many containers run even while nobody asks.")
    max_containers: int = Field(
        default=3, ge=1, description="How many containers may run: the most that a burst may cost."
    )
    buffer_containers: int = Field(
        default=0, ge=0, description="How many idle ones are kept ahead while others are busy."
    )
    scaledown_seconds: int = Field(
        default=2 * MINUTES, ge=2, le=60 * MINUTES, description="How long an idle container is kept, and paid for."
    )
    target_inputs: int = Field(
        default=4, ge=1, description="Requests in one container before another is started: its slots."
    )
    max_inputs: int = Field(
        default=32,
        ge=1,
        description="Requests that one container takes while the next one starts; they wait in our queue.",
    )

    def environment(self) -> dict[str, str]:
        """Return what to bake into the image: these switches, as they are read."""
        return {f"{PREFIX}{name.upper()}": str(value) for name, value in self.model_dump().items()}


def read_deployment(profile: str | None = None) -> Deployment:
    """Read the switches; a profile that is given counts more than the environment's.

    Raises:
        CommandFailure: A value cannot be used; the message names the variable.
    """
    try:
        return Deployment() if profile is None else Deployment(profile=profile)
    except ValidationError as error:
        found = error.errors()[0]
        variable = f"{PREFIX}{str(found['loc'][0]).upper()}"
        raise CommandFailure(f"{variable} cannot be used: {found['msg']}.") from None
