"""The commands. Heavy modules are imported by the command that needs them, so that `--help` comes at once."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path  # noqa: TC003 -- typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from app.failure import CommandFailure

if TYPE_CHECKING:
    from collections.abc import Coroutine

cli = typer.Typer(
    name="warmgate",
    help="A private LLM endpoint: llama-server, supervised, behind an OpenAI-compatible gateway.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Host = Annotated[str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any free one.  [default: 8000]")]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error.  [default: info]")]


@cli.command()
def serve(
    profile: Annotated[str | None, typer.Option(help="What to serve.  [default: smollm2-135m]")] = None,
    model: Annotated[Path | None, typer.Option(help="A GGUF file to serve instead of the profile's own.")] = None,
    llama_server: Annotated[Path | None, typer.Option(help="The llama-server to run.")] = None,
    host: Host = None,
    port: Port = None,
    log_level: LogLevel = None,
) -> None:
    """Run llama-server and the gateway before it, in one process."""
    from app.console import set_up_logging
    from app.serve import serve as run
    from app.settings import read_settings

    settings = read_settings(
        profile=profile, model=model, llama_server=llama_server, host=host, port=port, log_level=log_level
    )
    set_up_logging(settings.log_level)
    _run(run(settings))


@cli.command()
def gateway(
    upstream: Annotated[str, typer.Option(help="A llama-server that runs: http://HOST:PORT or unix:/PATH.")],
    host: Host = None,
    port: Port = None,
    log_level: LogLevel = None,
) -> None:
    """Run the gateway alone, before a llama-server that runs already."""
    from app.console import set_up_logging
    from app.gateway_alone import serve_gateway
    from app.settings import read_settings
    from gateway.upstream.target import Target

    settings = read_settings(host=host, port=port, log_level=log_level)
    try:
        target = Target.parse(upstream)
    except ValueError as error:
        raise CommandFailure(f"--upstream cannot be used: {error}.") from None
    set_up_logging(settings.log_level)
    _run(serve_gateway(settings, target))


def _run(work: Coroutine[object, object, None]) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(work)
        except* CommandFailure as group:  # a task group wraps what ends it
            raise group.exceptions[0] from None


def main() -> None:
    """Run the command line. What a person can act on ends in one sentence and a non-zero status."""
    try:
        status = cli(standalone_mode=False)
    except CommandFailure as failure:
        _complain(str(failure))
        sys.exit(failure.exit_code)
    except typer.TyperException as usage:
        _complain(usage.format_message().rstrip(".") + ".")
        sys.exit(usage.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:
        if logging.getLogger("warmgate").isEnabledFor(logging.DEBUG):
            raise
        _complain(f"unexpected {type(error).__name__}: {error}; --log-level debug shows where.")
        sys.exit(70)  # EX_SOFTWARE of sysexits.h
    sys.exit(status if isinstance(status, int) else 0)


def _complain(sentence: str) -> None:
    from app.console import complain

    complain(sentence)
