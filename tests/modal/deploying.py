"""The real `modal deploy`, against the fake control plane, and what it asked for."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conftest import clean_environment

if TYPE_CHECKING:
    from fake_modal import FakeModal

ROOT = Path(__file__).parents[2]
DEPLOY_SECONDS = 60


@dataclass(frozen=True)
class Deployed:
    """A deployment's one class.

    Attributes:
        function: Its protobuf message.
        images: The image's layers, each a protobuf message, the base first.
        files: What is mounted into each container.
        secrets: The requests for the Secrets.
    """

    function: Any
    images: list[Any]
    files: set[str]
    secrets: list[Any]

    @property
    def switches(self) -> dict[str, str]:
        """The environment that is baked into the image."""
        lines = [line for image in self.images for line in image.dockerfile_commands]
        settings = (line.removeprefix("ENV ").partition("=") for line in lines if line.startswith("ENV WARMGATE_"))
        return {name: value for name, _, value in settings}


def modal_environment(modal: FakeModal, **extra: str) -> dict[str, str]:
    """Return the environment of a program that knows no other Modal than the fake one."""
    return clean_environment(MODAL_SERVER_URL=modal.url, MODAL_CONFIG_PATH="/nonexistent", **extra)


def deploy(modal: FakeModal, **switches: str) -> Deployed:
    """Run `modal deploy modal_app.py`, where there are keys."""
    modal.asked.clear()
    modal.secrets["warmgate-keys"] = {"WARMGATE_API_KEYS": "me:sk-test"}
    done = subprocess.run(
        [sys.executable, "-m", "modal", "deploy", "modal_app.py"],
        env=modal_environment(modal, MODAL_TOKEN_ID="ak-test", MODAL_TOKEN_SECRET="as-test", **switches),
        cwd=ROOT,
        timeout=DEPLOY_SECONDS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    (created,) = modal.asked["FunctionCreate"]
    return Deployed(
        function=created.function,
        images=[request.image for request in modal.asked["ImageGetOrCreate"]],
        files={file.filename for request in modal.asked["MountGetOrCreate"] for file in request.files},
        secrets=modal.asked["SecretGetOrCreate"],
    )
