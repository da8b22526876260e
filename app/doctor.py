"""Everything that must be right before a start, each with what to do about it."""

from __future__ import annotations

import enum
import shutil
import subprocess
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.engine import find_engine
from app.engine_probe import check_gemma4, probe_engine
from app.failure import CommandFailure
from app.http_server import bind
from app.keys import resolve_keys
from app.launch import EMBEDDED_TEMPLATE, GEMMA4_ARCHITECTURE, cache_dir_of, chosen_profile, plan_model
from app.memory_plan import MIB, account
from app.planned_files import read_planned_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.engine import Engine
    from app.gguf import GgufHeader
    from app.memory_plan import MemoryPlan
    from app.settings import Settings
    from server_supervisor.plan import LaunchPlan

SNAPSHOT_DRIVER = 570  # the first with cuCheckpointProcess*
SMI_SECONDS = 10
LEAST_FREE_BYTES = 1 << 30
SMI = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total,memory.free", "--format=csv,noheader,nounits")


class Verdict(enum.StrEnum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        check: What was looked at, in one word.
        verdict: How it went. A warning does not keep a server from starting.
        message: What was found, and what to do about it if it is not well.
    """

    check: str
    verdict: Verdict
    message: str


@dataclass(frozen=True, slots=True)
class Gpu:
    """What nvidia-smi says of the first GPU. Memory in MiB."""

    name: str
    driver: str
    total: int
    free: int


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each thing that a start with these settings needs. Starts nothing."""
    engine, finding = _engine(settings)
    yield finding
    planned, finding = _model(settings, engine)
    yield finding
    plan, memory = None, None
    if planned is not None:
        plan, header, memory = planned
        yield _template(plan, header)
    yield _gpu(settings, plan, memory)
    yield _attempt("port", lambda: _port(settings))
    yield _attempt("keys", lambda: _keys(settings))
    yield _disk(settings)


def _attempt(check: str, examine_it: Callable[[], Finding]) -> Finding:
    try:
        return examine_it()
    except CommandFailure as failure:
        return Finding(check, Verdict.FAILED, str(failure))


def _engine(settings: Settings) -> tuple[Engine | None, Finding]:
    cache_dir = cache_dir_of(settings)
    engine = None
    try:
        engine = find_engine(settings.llama_server, cache_dir)
        info = probe_engine(engine, cache_dir)
        found = f"{info.build.name}, {', '.join(info.backends)}: {engine.origin}"
        if chosen_profile(settings).files is not None and (note := check_gemma4(engine, info)):
            return engine, Finding("engine", Verdict.WARNING, f"{note[0].upper()}{note[1:]}.")
        return engine, Finding("engine", Verdict.OK, found)
    except CommandFailure as failure:
        return engine, Finding("engine", Verdict.FAILED, str(failure))


def _model(
    settings: Settings, engine: Engine | None
) -> tuple[tuple[LaunchPlan, GgufHeader, MemoryPlan] | None, Finding]:
    try:
        plan, header = plan_model(settings, engine)
        files = read_planned_files(plan, header)
    except CommandFailure as failure:
        return None, Finding("model", Verdict.FAILED, str(failure))
    size = plan.model.stat().st_size / 1e9
    slots = f"{plan.slots} slots of {plan.ctx_per_slot:,} tokens"
    memory = account(files.shape, plan, mmproj=files.projector, drafter=files.drafter)
    found = f"{header.architecture}, {size:.1f} GB, {slots}: {plan.model}"
    return (plan, header, memory), Finding("model", Verdict.OK, found)


def _template(plan: LaunchPlan, header: GgufHeader) -> Finding:
    if plan.chat_template_file is not None:
        if plan.chat_template_file.is_file():
            return Finding("template", Verdict.OK, str(plan.chat_template_file))
        return Finding("template", Verdict.FAILED, f"{plan.chat_template_file} is not there.")
    if header.architecture == GEMMA4_ARCHITECTURE:
        return Finding("template", Verdict.WARNING, EMBEDDED_TEMPLATE)
    if header.chat_template is None:
        return Finding("template", Verdict.WARNING, "The model has none; llama-server will use ChatML.")
    return Finding("template", Verdict.OK, "the model's own")


def _gpu(settings: Settings, plan: LaunchPlan | None, memory: MemoryPlan | None) -> Finding:
    gpu = query_gpu()
    wants_one = chosen_profile(settings).files is not None
    if gpu is None:
        verdict = Verdict.WARNING if wants_one else Verdict.OK
        return Finding("GPU", verdict, "None that nvidia-smi shows; the CPU will do the work.")
    found = f"{gpu.name}, {gpu.free:,} of {gpu.total:,} MiB free, driver {gpu.driver}"
    if plan is not None and memory is not None and plan.gpu_layers != 0 and memory.gpu.total > gpu.free * MIB:
        need = memory.gpu.total // MIB
        return Finding(
            "GPU",
            Verdict.FAILED if wants_one else Verdict.WARNING,
            f"{found}, but the plan takes {need:,} MiB: free some, or lower slots or ctx_per_slot with --set.",
        )
    if int(gpu.driver.partition(".")[0]) < SNAPSHOT_DRIVER:
        return Finding(
            "GPU", Verdict.WARNING, f"{found}: GPU snapshots need driver {SNAPSHOT_DRIVER} or newer; update it."
        )
    return Finding("GPU", Verdict.OK, found)


def query_gpu() -> Gpu | None:
    """Ask nvidia-smi for the first GPU; None if there is none or it does not answer."""
    try:
        answer = subprocess.run(  # noqa: S603 -- a fixed command
            SMI, capture_output=True, text=True, timeout=SMI_SECONDS, check=True
        ).stdout
        name, driver, total, free = (part.strip() for part in answer.splitlines()[0].split(","))
        return Gpu(name, driver, int(total), int(free))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _port(settings: Settings) -> Finding:
    with closing(bind(settings.host, settings.port)) as listener:
        return Finding("port", Verdict.OK, f"{settings.host}:{listener.getsockname()[1]} is free")


def _keys(settings: Settings) -> Finding:
    keys = resolve_keys(settings)
    if keys.made is None:
        return Finding("keys", Verdict.OK, "WARMGATE_API_KEYS is set")
    return Finding("keys", Verdict.OK, "none set; on a loopback address each run makes its own")


def _disk(settings: Settings) -> Finding:
    folder = cache_dir_of(settings)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free below {folder}"
    if free < LEAST_FREE_BYTES:
        return Finding("disk", Verdict.WARNING, f"{found}: engines and models will not fit; free some.")
    return Finding("disk", Verdict.OK, found)
