"""`warmgate deploy`."""

from __future__ import annotations

from typing import Annotated

import typer


def deploy(
    profile: Annotated[str | None, typer.Option(help="What to serve there.", show_default="gemma-4-26b-a4b")] = None,
    show: Annotated[bool, typer.Option("--show", help="Check and show everything, and end.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Serve from Modal: check what is needed, show what it creates and costs, then deploy."""
    from rich.table import Table

    from app import console
    from app import deploy as steps
    from app.deployment import read_deployment

    deployment = read_deployment(profile)
    with console.progress("asking Modal"):
        account = steps.examine(deployment)
    table = Table.grid(padding=(0, 2))
    for name, what in steps.describe(deployment, account):
        table.add_row(name, what)
    console.out.print(table)
    if show or not (yes or typer.confirm("Deploy?")):
        return
    key = None if account.has_secret else steps.make_key()
    if key is not None:
        console.out.print(f"\nYour key, shown here and nowhere else: [bold]{key}[/]\n")
    steps.bring_model(deployment)
    steps.deploy(deployment)
    # without the key, which would stay in the shell's history
    console.out.print(f"\nNow ask it something; you will be asked for the key: modal run {steps.SCRIPT.name}")
