"""The two models that call tools for the clients: a tiny real one, and a script for prompts that it cannot hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from conftest import END_SECONDS, KEY, Warmgate
from contract.scenes import MODEL

from clients.fake_model import FakeModel, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = {"WARMGATE_API_KEYS": f"tests:{KEY}"}
# Codex's prompt is 13,000 tokens of this model's; greedy, because no agent says how it wants to be answered.
ROOMY = ("slots=1", "ctx_per_slot=32768", "temperature=0")


@pytest.fixture(scope="session")
def contract_url() -> Iterator[str]:
    """Return where `warmgate serve` runs with the contract model."""
    settings = [word for value in ROOMY for word in ("--set", value)]
    yield from _running("serve", "--model", str(MODEL), *settings)


@pytest.fixture(scope="session")
def scripted_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeModel]:
    """Return the scripted model."""
    with serving(tmp_path_factory.mktemp("scripted")) as model:
        yield model


@pytest.fixture(scope="session")
def scripted_url(scripted_model: FakeModel) -> Iterator[str]:
    """Return where `warmgate gateway` runs before the scripted model."""
    yield from _running("gateway", "--upstream", f"unix:{scripted_model.socket_path}")


def _running(*arguments: str) -> Iterator[str]:
    process = Warmgate(*arguments, "--port", "0", env=KEYS)
    try:
        yield process.ready().url
    finally:
        process.process.kill()
        process.process.wait(END_SECONDS)
