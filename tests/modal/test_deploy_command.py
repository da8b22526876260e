"""`warmgate deploy`, with the real client and the fake control plane."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from deploying import DEPLOY_SECONDS, ROOT, modal_environment
from fake_modal import fake_modal
from modal._serialization import deserialize, serialize
from modal_proto import api_pb2

from app.deploy import Account, describe, hourly_price
from app.deployment import Deployment
from app.failure import CommandFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fake_modal import FakeModal

NEXT = "Now ask it something; you will be asked for the key: modal run modal_app.py"
TOKEN = {"MODAL_TOKEN_ID": "ak-test", "MODAL_TOKEN_SECRET": "as-test"}


@pytest.fixture
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


def shown_keys(shown: str) -> list[str]:
    return re.findall(r"wg-[\w-]{32}", shown)


def calls(modal: FakeModal) -> list[tuple[str, Any]]:
    """Return the functions that were called, each with its arguments."""
    return [
        (request.function_id, deserialize(item.input.args, None))
        for request in modal.asked["FunctionMap"]
        for item in request.pipelined_inputs
    ]


def deployments(modal: FakeModal) -> list[tuple[str, dict[str, str]]]:
    """Return what was deployed, and not only run: the names of apps, each with its classes."""
    published = [request for request in modal.asked["AppPublish"] if request.app_state == api_pb2.APP_STATE_DEPLOYED]
    return [(request.name, dict(request.class_ids)) for request in published]


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


def test_it_makes_one_key_brings_the_model_and_deploys_the_class(modal: FakeModal, tmp_path: Path) -> None:
    profile = "gemma-4-26b-a4b-throughput"
    status, shown = warmgate_deploy(modal, "--yes", "--profile", profile, TMPDIR=str(tmp_path), **TOKEN)
    assert status == 0, shown

    (key,) = shown_keys(shown)
    assert modal.secrets == {"warmgate-keys": {"WARMGATE_API_KEYS": f"me:{key}"}}
    assert f"Your key, shown here and nowhere else: {key}\n" in shown
    assert shown.splitlines()[-1] == NEXT
    assert "secret" in modal.arguments
    assert not [argument for argument in modal.arguments if key in argument]
    assert [name for name, requests in modal.asked.items() if key in str(requests)] == ["SecretGetOrCreate"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]

    assert calls(modal) == [("fu-download_model", ((), {"profile": profile}))]
    assert deployments(modal) == [("warmgate", {"Warmgate": "cs-1"})]
    in_order = list(modal.asked)
    assert in_order.index("FunctionGetOutputs") < in_order.index("ClassCreate")
    assert {volume.deployment_name for volume in modal.asked["VolumeGetOrCreate"]} == {"model-cache"}
    switches = modal.asked["ImageGetOrCreate"][-1].image.dockerfile_commands
    assert f"ENV WARMGATE_PROFILE={profile}" in switches


def test_a_download_that_fails_ends_it_and_the_next_run_keeps_the_key(modal: FakeModal) -> None:
    succeeding = modal.outcome
    modal.outcome = api_pb2.GenericResult(
        status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE, data=serialize(CommandFailure("The disk is full."))
    )
    status, shown = warmgate_deploy(modal, "--yes", **TOKEN)
    assert status == 1
    assert "The disk is full." in shown
    assert shown.splitlines()[-1] == "warmgate: `modal run` failed; what it said is above."
    assert not deployments(modal)
    (key,) = shown_keys(shown)
    assert modal.secrets == {"warmgate-keys": {"WARMGATE_API_KEYS": f"me:{key}"}}

    modal.outcome = succeeding
    status, shown = warmgate_deploy(modal, "--yes", **TOKEN)
    assert status == 0, shown
    assert "which is there" in shown
    assert not shown_keys(shown)
    assert shown.splitlines()[-1] == NEXT
    assert modal.secrets == {"warmgate-keys": {"WARMGATE_API_KEYS": f"me:{key}"}}
    assert deployments(modal) == [("warmgate", {"Warmgate": "cs-1"})]


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
