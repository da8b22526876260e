"""`warmgate serve`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 -- typer reads the annotations
from typing import Annotated

import typer

from app.commands.options import Host, LogLevel, Overrides, Port, Profile  # noqa: TC001 -- the same


def serve(
    profile: Profile = None,
    overrides: Overrides = None,
    model: Annotated[Path | None, typer.Option(help="A GGUF file to serve instead of the profile's own.")] = None,
    llama_server: Annotated[Path | None, typer.Option(help="The llama-server to run.")] = None,
    host: Host = None,
    port: Port = None,
    log_level: LogLevel = None,
) -> None:
    """Run llama-server and the gateway before it, in one process."""
    from app.console import set_up_logging
    from app.event_loop import run
    from app.serve import serve as serve_until_stopped
    from app.settings import read_settings

    settings = read_settings(
        profile=profile,
        overrides=overrides,
        model=model,
        llama_server=llama_server,
        host=host,
        port=port,
        log_level=log_level,
    )
    set_up_logging(settings.log_level)
    run(serve_until_stopped(settings))
