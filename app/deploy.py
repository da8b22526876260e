"""A deployment on Modal, step by step: is everything there, what will there be, what does it cost, then do it.

Modal's own client does the work, as a process: it is not imported.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.engine_build import LLAMA_CPP_TAG
from app.failure import CommandFailure
from app.keys import MADE_KEY_PREFIX
from app.profiles import find_profile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.deployment import Deployment

SCRIPT = Path(__file__).parents[1] / "modal_app.py"
APP = "warmgate"
SECRET = "warmgate-keys"  # noqa: S105 -- its name
CORES = 4
CLIENT_SECONDS = 60.0

# Dollars an hour: Modal's list prices of 2026 (https://modal.com/pricing). `modal billing rates` has today's.
GPU_PRICES = {"T4": 0.59, "L4": 0.80, "A10G": 1.10, "L40S": 1.95, "H100": 3.95}
CORE_PRICE = 0.0473
GIB_PRICE = 0.008


@dataclass(frozen=True, slots=True)
class Account:
    """What Modal knows already.

    Attributes:
        has_secret: Whether the keys are there.
    """

    has_secret: bool


def examine(deployment: Deployment) -> Account:
    """Make sure of all that a deployment needs, and that can be looked at before.

    Raises:
        CommandFailure: Something is missing; the message says what to do.
    """
    if find_profile(deployment.profile).files is None:
        raise CommandFailure(f"{deployment.profile} has no files on the hub: choose another with --profile.")
    if not SCRIPT.is_file():
        raise CommandFailure("modal_app.py is not here: run this from a clone of the repository.")
    if importlib.util.find_spec("modal") is None:
        raise CommandFailure("Modal's client is not installed: `make install` brings it.")
    try:
        _ask("token", "info")
    except CommandFailure as failure:
        raise CommandFailure(f"Modal does not know who you are: run `modal setup`. ({failure})") from None
    known = json.loads(_ask("secret", "list", "--json"))
    return Account(has_secret=any(SECRET in secret.values() for secret in known))


def describe(deployment: Deployment, account: Account) -> Iterator[tuple[str, str]]:
    """Yield what there will be and what it costs, each with its name."""
    files = find_profile(deployment.profile).files
    size = sum(file.size or 0 for file in files.every) if files else 0
    least, most = deployment.min_containers, deployment.max_containers
    yield "app", f"{APP}, by {'the queue of a Function' if deployment.door == 'function' else 'a Server'}"
    yield "containers", f"{least} to {most} with one {deployment.gpu}, {CORES} cores, {deployment.memory_mib} MiB"
    yield "model", f"{deployment.profile}, {size / 1e9:.0f} GB and more in the Volume model-cache"
    yield "engine", f"llama-server {LLAMA_CPP_TAG}, in the {deployment.engine}; compiled once, which takes a while"
    yield "snapshot", deployment.snapshot
    yield "keys", f"the Secret {SECRET}, which {'is there' if account.has_secret else 'is made now, with one key'}"
    price = hourly_price(deployment)
    if price is None:
        yield "costs", f"not known for a {deployment.gpu}: `modal billing rates`"
        return
    yield "idle", f"${price * least:.2f} an hour"
    yield "busy", f"${price:.2f} an hour for each container, ${price * most:.2f} for all {most}"
    tail = price * deployment.scaledown_seconds / 3600
    yield "tail", f"${tail:.2f} for the {deployment.scaledown_seconds} s that each waits for another request"


def hourly_price(deployment: Deployment) -> float | None:
    """Return what one container costs, in dollars an hour and where regions cost no more; None if we do not know."""
    gpu = GPU_PRICES.get(deployment.gpu)
    return None if gpu is None else gpu + CORES * CORE_PRICE + deployment.memory_mib / 1024 * GIB_PRICE


def make_key() -> str:
    """Make a key, and the Secret that holds it. Returns the key.

    Raises:
        CommandFailure: Modal refused.
    """
    key = MADE_KEY_PREFIX + secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "keys.env")  # and not an argument, which every user of this machine could read
        path.touch(mode=0o600)
        path.write_text(f"WARMGATE_API_KEYS=me:{key}\n")
        _ask("secret", "create", SECRET, "--from-dotenv", str(path))
    return key


def bring_model(deployment: Deployment) -> None:
    """Have a container fetch the model into its Volume.

    Raises:
        CommandFailure: It could not; Modal's client has said why.
    """
    _watch("run", f"{SCRIPT}::download_model", deployment=deployment)


def deploy(deployment: Deployment) -> None:
    """Deploy.

    Raises:
        CommandFailure: It could not; Modal's client has said why.
    """
    if deployment.engine == "volume":
        _watch("run", f"{SCRIPT}::build_llama_server", deployment=deployment)
    _watch("deploy", str(SCRIPT), deployment=deployment)


def _ask(*arguments: str) -> str:
    """Return what Modal's client prints."""
    try:
        done = subprocess.run(  # noqa: S603 -- our own interpreter, and there is no shell
            _client(*arguments), capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise CommandFailure(f"modal {arguments[0]} has not answered for {CLIENT_SECONDS:.0f} s.") from None
    if done.returncode != 0:
        words = (done.stderr + done.stdout).split()
        raise CommandFailure(f"`modal {' '.join(arguments[:2])}` failed: {' '.join(words)[:300]}")
    return done.stdout


def _watch(*arguments: str, deployment: Deployment) -> None:
    """Run Modal's client before the user's eyes."""
    environment = os.environ | deployment.environment()
    done = subprocess.run(_client(*arguments), env=environment, check=False)  # noqa: S603 -- the same
    if done.returncode != 0:
        raise CommandFailure(f"`modal {arguments[0]}` failed; what it said is above.")


def _client(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "modal", *arguments]
