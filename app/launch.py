"""Engine, model and profile put together: what the supervisor is to start."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from app.engine import find_engine
from app.failure import CommandFailure
from app.gguf import ModelFileError
from app.model_store import check_model, default_cache_dir, default_model
from app.overrides import read_overrides
from app.profiles import ANY_GGUF, SMOLLM2, find_profile
from server_supervisor.environment import child_environment
from server_supervisor.identity import find_mismatch
from server_supervisor.plan import UnixEndpoint
from server_supervisor.supervisor import Launch
from snapshot.warm_up import warm_up

if TYPE_CHECKING:
    from pathlib import Path

    from app.profiles import Profile
    from app.settings import Settings
    from server_supervisor.plan import LaunchPlan


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
    cache_dir = settings.cache_dir or default_cache_dir(os.environ)
    profile = chosen_profile(settings)
    engine = find_engine(settings.llama_server, cache_dir)
    try:
        model = check_model(settings.model or default_model(cache_dir)).path
    except ModelFileError as error:
        raise CommandFailure(str(error)) from None
    plan = profile.plan(model, read_overrides(settings.overrides))
    endpoint = UnixEndpoint(runtime_dir / "llama.sock")
    launch = Launch(
        argv=[*engine.command, *plan.argv(endpoint)],
        env=child_environment(os.environ),
        endpoint=endpoint,
        find_mismatch=functools.partial(find_mismatch, plan),
        warm_up=warm_up,
        load_timeout_seconds=settings.load_timeout_seconds,
        wedge_seconds=settings.wedge_seconds or None,
    )
    return launch, plan, engine.origin


def chosen_profile(settings: Settings) -> Profile:
    """Return the profile that was named, or the one that fits what was.

    Raises:
        CommandFailure: There is none of that name.
    """
    if settings.profile is not None:
        return find_profile(settings.profile)
    return ANY_GGUF if settings.model else SMOLLM2
