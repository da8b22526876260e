"""`warmgate snapshot`: whether a server survives being parked, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.options import (  # noqa: TC001 -- typer reads the annotations
    LlamaServer,
    LogLevel,
    Model,
    Overrides,
    Profile,
)
from app.failure import CommandFailure

if TYPE_CHECKING:
    from app.snapshot_check import Cycle

commands = typer.Typer(help="See whether a server survives a snapshot of its GPU memory.", no_args_is_help=True)


@commands.callback()
def snapshot() -> None:
    """Keep `check` a command of a group, of which there will be more."""


@commands.command()
def check(
    profile: Profile = None,
    overrides: Overrides = None,
    model: Model = None,
    llama_server: LlamaServer = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it for programs.")] = False,
    log_level: LogLevel = "warning",
) -> None:
    """Start a server, move its GPU memory to the host and back, and compare its answers. Needs an NVIDIA GPU."""
    import json

    from app import console
    from app.event_loop import run
    from app.logs import set_up_logging
    from app.settings import read_settings
    from app.snapshot_check import check as run_cycle

    settings = read_settings(
        profile=profile, overrides=overrides, model=model, llama_server=llama_server, log_level=log_level
    )
    set_up_logging(settings)
    with console.progress("starting, parking and restoring a server"):
        cycle = run(run_cycle(settings))
    if as_json:
        typer.echo(json.dumps(cycle.report(), indent=2))
    else:
        _show(cycle)
    if cycle.differences:
        raise CommandFailure(f"The restored server is not the same: {'; '.join(cycle.differences)}.")


def _show(cycle: Cycle) -> None:
    from rich.markup import escape
    from rich.table import Table

    from app import console

    out, back = cycle.rates
    resident, parked = cycle.host_mib
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    table.add_row("load", f"{cycle.load_seconds:.2f} s", "from the weights, until ready")
    table.add_row("lock", f"{cycle.phases['lock']:.3f} s", "")
    table.add_row("checkpoint", f"{cycle.phases['checkpoint']:.2f} s", f"{out:.1f} GiB/s")
    table.add_row("restore", f"{cycle.phases['restore']:.2f} s", f"{back:.1f} GiB/s")
    table.add_row("unlock", f"{cycle.phases['unlock']:.3f} s", "")
    table.add_row("given back", f"{cycle.gpu_mib:,} MiB", "of GPU memory")
    table.add_row("on the host", f"{parked - resident:,} MiB", f"more than {resident:,} MiB while it was parked")
    table.add_row("held request", f"{cycle.held.seconds:.2f} s", f"{cycle.before.seconds:.2f} s before")
    table.add_row(
        "remembered", f"{cycle.held.cached_tokens:,}", f"tokens of its prompt, {cycle.before.cached_tokens:,} before"
    )
    console.out.print(f"[bold]{escape(cycle.model)}[/]  [dim]({escape(cycle.engine)})[/]")
    console.out.print(table)
    if not cycle.differences:
        console.out.print("[green]text, log-probabilities and cached prompt are the same before and after[/]")
