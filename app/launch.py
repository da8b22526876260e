"""Engine, model and profile put together: what the supervisor is to start."""

from __future__ import annotations

import functools
import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from app.engine import find_engine
from app.engine_probe import check_gemma4, engine_argv, probe_engine
from app.failure import CommandFailure
from app.gguf import ModelFileError
from app.model_store import Store, StoredModel, check_model, default_cache_dir, default_model, find
from app.overrides import read_overrides
from app.profiles import ANY_GGUF, SMOLLM2, find_profile
from server_supervisor.environment import child_environment
from server_supervisor.identity import find_mismatch
from server_supervisor.plan import UnixEndpoint
from server_supervisor.supervisor import Launch
from snapshot.warm_up import warm_up

if TYPE_CHECKING:
    from pathlib import Path

    from app.engine import Engine
    from app.gguf import GgufHeader
    from app.profiles import Profile
    from app.settings import Settings
    from server_supervisor.plan import LaunchPlan

logger = logging.getLogger("warmgate")

GEMMA4_ARCHITECTURE = "gemma4"
LONGEST_SOCKET_PATH = 103  # bytes; 107 on Linux


def plan_launch(settings: Settings, runtime_dir: Path) -> tuple[Launch, LaunchPlan, str]:
    """Find everything that a start needs, before anything is started.

    Args:
        settings: Which profile, model and engine.
        runtime_dir: Where the socket shall be: short, and closed to other users.

    Returns:
        The launch, the plan in it, and where the engine came from.

    Raises:
        CommandFailure: Something is missing or cannot be used; the message says what and what to do.
    """
    cache_dir = cache_dir_of(settings)
    engine = find_engine(settings.llama_server, cache_dir)
    info = probe_engine(engine, cache_dir)
    plan, header = plan_model(settings, engine)
    if header.architecture == GEMMA4_ARCHITECTURE:
        if note := check_gemma4(engine, info):
            logger.warning("%s", note)
        if plan.chat_template_file is None:
            logger.warning("%s", EMBEDDED_TEMPLATE)
    endpoint = UnixEndpoint(runtime_dir / "llama.sock")
    if len(os.fsencode(endpoint.path)) > LONGEST_SOCKET_PATH:
        raise CommandFailure(f"{runtime_dir.parent} is too long a path for a socket: set TMPDIR to a shorter one.")
    launch = Launch(
        argv=engine_argv(engine, info, plan, endpoint),
        env=child_environment(os.environ),
        endpoint=endpoint,
        find_mismatch=functools.partial(find_mismatch, plan),
        warm_up=warm_up,
        load_timeout_seconds=settings.load_timeout_seconds,
        wedge_seconds=settings.wedge_seconds or None,
    )
    return launch, plan, engine.origin


EMBEDDED_TEMPLATE = (
    "Gemma 4 will run with the chat template in its GGUF file, which is outdated: it drops thoughts and mixes up tool "
    "results. Pull the profile's files, or name a template with --set chat_template_file=PATH."
)


def plan_model(settings: Settings, engine: Engine | None) -> tuple[LaunchPlan, GgufHeader]:
    """Return the plan for the chosen profile and its files, and the model's header.

    Args:
        settings: Which profile and model, and what of the profile is changed.
        engine: May have brought the chat template that the files lack.

    Raises:
        CommandFailure: The files are not here or cannot be used, or a setting is wrong.
    """
    profile = chosen_profile(settings)
    overrides = read_overrides(settings.overrides)
    try:
        files = find_files(settings, profile)
        header = check_model(files.weights)
    except ModelFileError as error:
        raise CommandFailure(str(error)) from None
    stored = {"mmproj": files.mmproj, "chat_template_file": files.chat_template}
    plan = profile.plan(header.path, {**stored, **overrides})
    if header.architecture == GEMMA4_ARCHITECTURE and plan.chat_template_file is None and engine is not None:
        plan = replace(plan, chat_template_file=engine.gemma4_template)
    return plan, header


def find_files(settings: Settings, profile: Profile) -> StoredModel:
    """Return the files to serve.

    Raises:
        CommandFailure: They are not here.
        ModelFileError: They cannot be used.
    """
    cache_dir = cache_dir_of(settings)
    if settings.model is not None:
        return StoredModel(settings.model, mmproj=None, chat_template=None)
    if profile is ANY_GGUF:
        raise CommandFailure(f"{profile.name} has no model of its own: name a GGUF file with --model.")
    if profile.files is None:
        return StoredModel(default_model(cache_dir), mmproj=None, chat_template=None)
    if (stored := find(profile.files, Store(cache_dir, settings.models_dir))) is not None:
        return stored
    raise CommandFailure(
        f"The files of {profile.name} are not here: run `warmgate models pull {profile.name}`, "
        "or name a GGUF file with --model."
    )


def cache_dir_of(settings: Settings) -> Path:
    """Return where engines and models are kept."""
    return settings.cache_dir or default_cache_dir(os.environ)


def chosen_profile(settings: Settings) -> Profile:
    """Return the profile that was named, or the one that fits what was.

    Raises:
        CommandFailure: There is none of that name.
    """
    if settings.profile is not None:
        return find_profile(settings.profile)
    return ANY_GGUF if settings.model else SMOLLM2
