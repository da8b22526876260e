"""`warmgate doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from app.commands.options import (  # noqa: TC001 -- typer reads the annotations
    Host,
    LlamaServer,
    Model,
    Overrides,
    Port,
    Profile,
)

MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "failed": "[bold red]✗[/]"}


def doctor(
    profile: Profile = None,
    overrides: Overrides = None,
    model: Model = None,
    llama_server: LlamaServer = None,
    host: Host = None,
    port: Port = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it for programs.")] = False,
) -> None:
    """Check everything that `serve` with the same options needs. Starts nothing."""
    import json
    from dataclasses import asdict

    from rich.markup import escape
    from rich.table import Table

    from app import console
    from app.doctor import Verdict, examine
    from app.settings import read_settings

    settings = read_settings(
        profile=profile, overrides=overrides, model=model, llama_server=llama_server, host=host, port=port
    )
    with console.progress("looking at engine, model, GPU, port, keys and disk"):
        findings = list(examine(settings))
    if as_json:
        typer.echo(json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        table = Table.grid(padding=(0, 2))
        table.add_column()
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for finding in findings:
            table.add_row(MARKS[finding.verdict], finding.check, escape(finding.message))
        console.out.print(table)
    if any(finding.verdict is Verdict.FAILED for finding in findings):
        raise typer.Exit(1)
