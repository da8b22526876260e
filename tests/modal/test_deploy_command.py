"""`warmgate deploy`, with the real client and the fake control plane."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from deploying import DEPLOY_SECONDS, ROOT, modal_environment
from fake_modal import fake_modal

from app.deploy import Account, describe, hourly_price
from app.deployment import Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fake_modal import FakeModal

TOKEN = {"MODAL_TOKEN_ID": "ak-test", "MODAL_TOKEN_SECRET": "as-test"}


@pytest.fixture(scope="module")
def modal() -> Iterator[FakeModal]:
    with fake_modal() as modal:
        yield modal


def warmgate_deploy(modal: FakeModal, *arguments: str, **extra: str) -> tuple[int, str]:
    done = subprocess.run(
        [Path(sys.executable).with_name("warmgate"), "deploy", *arguments],
        env=modal_environment(modal, COLUMNS="200", **extra),
        cwd=ROOT,
        timeout=DEPLOY_SECONDS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_it_shows_what_will_be_there_and_what_it_costs_and_changes_nothing(modal: FakeModal) -> None:
    status, shown = warmgate_deploy(modal, "--show", **TOKEN)
    assert status == 0, shown
    assert "0 to 3 with one L40S" in shown
    assert "which is made now" in shown
    assert "$0.00 an hour" in shown
    assert not modal.asked["FunctionCreate"]
    assert not modal.asked["SecretGetOrCreate"]


def test_without_credentials_it_says_how_to_get_some(modal: FakeModal) -> None:
    status, shown = warmgate_deploy(modal, "--show")
    assert status == 1
    assert "run `modal setup`" in shown


def test_a_profile_without_files_is_refused(modal: FakeModal) -> None:
    status, shown = warmgate_deploy(modal, "--show", "--profile", "smollm2-135m", **TOKEN)
    assert status == 1
    assert "has no files on the hub" in shown


def test_costs_follow_from_what_is_deployed() -> None:
    deployment = Deployment(min_containers=1, max_containers=2, scaledown_seconds=600)
    assert hourly_price(deployment) == pytest.approx(2.46, abs=0.01)
    rows = dict(describe(deployment, Account(has_secret=True)))
    assert (rows["idle"], rows["tail"]) == ("$2.46 an hour", "$0.41 for the 600 s that each waits for another request")
    assert rows["busy"] == "$2.46 an hour for each container, $4.92 for all 2"
    assert hourly_price(Deployment(gpu="B300")) is None


def test_the_page_describes_every_switch_with_its_default() -> None:
    rows = [
        f"| `WARMGATE_{name.upper()}` | `{field.default}` | {field.description} |"
        for name, field in Deployment.model_fields.items()
    ]
    assert "\n".join(rows) in (ROOT / "docs" / "deploy.md").read_text()
