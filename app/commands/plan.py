"""`warmgate plan`: how much memory a profile takes, and which cards it fits on."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 -- typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.options import Overrides, Profile  # noqa: TC001 -- the same

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from app.cards import Card, Contexts
    from app.drafter import Drafter
    from app.memory_plan import GpuMemory, HostMemory, MemoryPlan
    from app.model_shape import ModelShape
    from app.settings import Settings
    from server_supervisor.plan import LaunchPlan


def plan(
    profile: Profile = None,
    overrides: Overrides = None,
    model: Annotated[Path | None, typer.Option(help="A GGUF file to account for instead of the profile's own.")] = None,
    mmproj: Annotated[Path | None, typer.Option(help="The image projector that is loaded with it.")] = None,
    card: Annotated[str, typer.Option(help="The card to fill: L4, A10, L40S, A100-40GB, A100-80GB or H100.")] = "L40S",
    as_json: Annotated[bool, typer.Option("--json", help="Print it for programs.")] = False,
) -> None:
    """Show how much GPU memory and RAM a profile takes, and on which cards it fits. Starts nothing."""
    import json

    from app import console
    from app.cards import find_card, largest_contexts
    from app.launch import plan_model
    from app.memory_plan import account
    from app.planned_files import read_planned_files
    from app.settings import read_settings

    settings = read_settings(profile=profile, overrides=overrides, model=model)
    if mmproj is not None:
        settings = settings.model_copy(update={"overrides": (*settings.overrides, f"mmproj={mmproj}")})
    chosen_card = find_card(card)
    launch, header = plan_model(settings, engine=None)
    files = read_planned_files(launch, header)
    shape = files.shape
    memory = account(shape, launch, mmproj=files.projector, drafter=files.drafter)
    contexts = largest_contexts(chosen_card, shape, launch, mmproj=files.projector, drafter=files.drafter)
    not_counted = list(_not_counted(settings, launch, files.drafter))
    for sentence in not_counted:
        console.err.print(sentence, soft_wrap=True, markup=False)
    if as_json:
        report = _report(launch, shape, memory, chosen_card, contexts)
        typer.echo(json.dumps(report | {"not_counted": not_counted}, indent=2))
    else:
        _show(launch, shape, memory, chosen_card, contexts)


def _not_counted(settings: Settings, launch: LaunchPlan, drafter: Drafter | None) -> Iterator[str]:
    """Yield a sentence for each thing that llama-server takes memory for and that is missing in the account."""
    from app.drafter import own_drafts
    from app.launch import chosen_profile

    files = chosen_profile(settings).files
    if launch.mmproj is None and files is not None and files.mmproj is not None:
        yield "The profile's image projector is not here and not counted; --mmproj PATH names one."
    if sentence := drafter.not_counted if drafter else own_drafts(launch.spec_type):
        yield sentence


def _report(
    launch: LaunchPlan, shape: ModelShape, memory: MemoryPlan, card: Card, contexts: Contexts
) -> dict[str, Any]:
    """Return what `--json` prints: see docs/plan.md."""
    from app.cards import CARDS

    return {
        "model": str(launch.model),
        "architecture": shape.architecture,
        "n_ctx_train": shape.n_ctx_train,
        "slots": launch.slots,
        "ctx_per_slot": launch.ctx_per_slot,
        "n_cells": memory.n_cells,
        "n_cells_swa": memory.n_cells_swa,
        "gpu_start_mib": _mib(memory.gpu.start),
        "gpu_total_mib": _mib(memory.gpu.total),
        "gpu": _parts(memory.gpu),
        "host_start_mib": _mib(memory.host.start),
        "host_total_mib": _mib(memory.host.total),
        "host": _parts(memory.host),
        "checkpoint_mib": _mib(memory.checkpoint_bytes),
        "parked_mib": _mib(memory.parked_bytes),
        "cards": [
            {
                "card": each.name,
                "total_mib": _mib(each.total_bytes),
                "usable_mib": _mib(each.usable_bytes),
                "left_mib": _mib(each.usable_bytes - memory.gpu.total),
                "fits": memory.gpu.total <= each.usable_bytes,
            }
            for each in CARDS.values()
        ],
        "largest_ctx_per_slot": {"card": card.name, "slots": {str(slots): ctx for slots, ctx in contexts.items()}},
    }


def _parts(memory: GpuMemory | HostMemory) -> dict[str, float]:
    from dataclasses import asdict

    return {f"{name}_mib": _mib(size) for name, size in asdict(memory).items()}


def _mib(size: int) -> float:
    return round(size / (1024 * 1024), 1)


def _show(launch: LaunchPlan, shape: ModelShape, memory: MemoryPlan, card: Card, contexts: Contexts) -> None:
    """Print what fits in a terminal of 80 by 24; to a file or a pipe the same without colours."""
    from rich.markup import escape
    from rich.table import Table

    from app import console

    cache = f"{launch.cache_type_k or 'f16'}/{launch.cache_type_v or 'f16'}"
    title = f"{shape.architecture}, {launch.slots} slots of {launch.ctx_per_slot:,} tokens, cache {cache}"
    left = card.usable_bytes - memory.gpu.total
    verdict = f"{_gib(left)} stay free" if left >= 0 else f"{_gib(-left)} are missing"
    console.out.print(f"[bold]{escape(launch.alias)}[/]  {escape(title)}")
    console.out.print(
        f"{_gib(memory.gpu.total)} of GPU memory, and up to {_gib(memory.host.total)} of RAM; on {card.name} {verdict}."
    )
    for left_table, right_table in (
        (_gpu_table(memory), _ram_table(memory)),
        (_card_table(memory), _context_table(card, contexts)),
    ):
        pair = Table.grid(padding=(0, 6))
        pair.add_row(left_table, right_table)
        console.out.print()
        console.out.print(pair)


def _gpu_table(memory: MemoryPlan) -> Table:
    gpu = memory.gpu
    table = _table("GPU", "MiB")
    _add_sizes(
        table,
        {
            "weights": gpu.weights,
            "KV cache": gpu.kv_cache,
            "KV cache of SWA layers": gpu.kv_cache_swa,
            "compute buffer": gpu.compute,
            "image projector": gpu.mmproj_weights,
            "its buffer": gpu.mmproj_compute,
            "drafter": gpu.draft_weights,
            "its KV cache": gpu.draft_kv_cache,
            "drafter's buffer": gpu.draft_compute,
            "CUDA": gpu.context,
        },
    )
    table.add_row("after start", _figure(gpu.start), style="bold")
    table.add_row("under load, more", _figure(gpu.working))
    table.add_row("in all", _figure(gpu.total), style="bold")
    return table


def _ram_table(memory: MemoryPlan) -> Table:
    host = memory.host
    table = _table("RAM", "MiB")
    _add_sizes(
        table,
        {
            "process": host.process,
            "weights": host.weights,
            "KV cache": host.kv_cache,
            "inputs and logits": host.compute + host.output,
            "drafter": host.draft,
        },
    )
    table.add_row("after start", _figure(host.start), style="bold")
    _add_sizes(table, {"context checkpoints": host.checkpoints, "prompt cache": host.prompt_cache})
    table.add_row("in all, at most", _figure(host.total), style="bold")
    table.add_row("a snapshot parks, more", _figure(memory.parked_bytes))
    return table


def _card_table(memory: MemoryPlan) -> Table:
    from app.cards import CARDS

    table = _table("Card", "usable MiB", "left")
    for card in CARDS.values():
        left = card.usable_bytes - memory.gpu.total
        style, verdict = ("green", _figure(left)) if left >= 0 else ("red", "does not fit")
        table.add_row(card.name, _figure(card.usable_bytes), f"[{style}]{verdict}[/]")
    return table


def _context_table(card: Card, contexts: Contexts) -> Table:
    table = _table(f"Slots on {card.name}", "largest context each")
    for slots, ctx in contexts.items():
        table.add_row(str(slots), "none" if ctx is None else f"{ctx:,}")
    return table


def _table(first: str, *others: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold underline")
    table.add_column(first)
    for other in others:
        table.add_column(other, justify="right")
    return table


def _add_sizes(table: Table, sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        if size:
            table.add_row(name, _figure(size))


def _figure(size: int) -> str:
    return f"{_mib(size):,.0f}"


def _gib(size: int) -> str:
    return f"{_mib(size) / 1024:.1f} GiB"
