"""`warmgate gateway`."""

from __future__ import annotations

from typing import Annotated

import typer

from app.commands.options import Host, LogLevel, Port  # noqa: TC001 -- typer reads the annotations
from app.failure import CommandFailure


def gateway(
    upstream: Annotated[str, typer.Option(help="A llama-server that runs: http://HOST:PORT or unix:/PATH.")],
    host: Host = None,
    port: Port = None,
    log_level: LogLevel = None,
) -> None:
    """Run the gateway alone, before a llama-server that runs already."""
    from app.event_loop import run
    from app.gateway_alone import serve_gateway
    from app.logs import set_up_logging
    from app.settings import read_settings
    from gateway.upstream.target import Target

    settings = read_settings(host=host, port=port, log_level=log_level)
    try:
        target = Target.parse(upstream)
    except ValueError as error:
        raise CommandFailure(f"--upstream cannot be used: {error}.") from None
    set_up_logging(settings)
    run(serve_gateway(settings, target))
