"""`warmgate serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from app.commands.options import (  # noqa: TC001 -- typer reads the annotations
    Host,
    LlamaServer,
    LogLevel,
    Model,
    Overrides,
    Port,
    Profile,
)


def serve(
    profile: Profile = None,
    overrides: Overrides = None,
    model: Model = None,
    llama_server: LlamaServer = None,
    host: Host = None,
    port: Port = None,
    log_level: LogLevel = None,
    park_after: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Give the GPU memory back after so long without a request."),
    ] = None,
) -> None:
    """Run llama-server and the gateway before it, in one process."""
    from app.event_loop import run
    from app.logs import set_up_logging
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
        park_after_seconds=park_after,
    )
    set_up_logging(settings)
    run(serve_until_stopped(settings))
