"""The command line: which commands there are, and how each of them ends."""

from __future__ import annotations

import logging
import sys
from typing import NoReturn

import typer

from app.commands.deploy import deploy
from app.commands.doctor import doctor
from app.commands.engine import commands as engine_commands
from app.commands.gateway import gateway
from app.commands.models import commands as models_commands
from app.commands.plan import plan
from app.commands.serve import serve
from app.commands.snapshot import commands as snapshot_commands
from app.failure import CommandFailure

SOFTWARE_ERROR = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # what a shell reports after SIGINT

cli = typer.Typer(
    name="warmgate",
    help="A private LLM endpoint: llama-server, supervised, behind an OpenAI-compatible gateway.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cli.command()(serve)
cli.command()(gateway)
cli.command()(doctor)
cli.command()(deploy)
cli.command()(plan)
cli.add_typer(engine_commands, name="engine")
cli.add_typer(models_commands, name="models")
cli.add_typer(snapshot_commands, name="snapshot")


def main() -> None:
    """Run the command line. What a person can act on ends in one sentence and a non-zero status."""
    try:
        status = cli(standalone_mode=False)
    except CommandFailure as failure:
        _end(str(failure), failure.exit_code)
    except typer.TyperException as usage:
        if type(usage).__name__ == "NoArgsIsHelpError":  # it has no public name; its message is the whole help
            typer.echo(usage.format_message(), err=True)
            sys.exit(usage.exit_code)
        _end(usage.format_message().rstrip(".") + ".", usage.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    except Exception as error:
        if logging.getLogger("warmgate").isEnabledFor(logging.DEBUG):
            raise
        _end(f"unexpected {type(error).__name__}: {error}; --log-level debug shows where.", SOFTWARE_ERROR)
    sys.exit(status if isinstance(status, int) else 0)


def _end(sentence: str, status: int) -> NoReturn:
    from app.console import complain

    complain(sentence)
    sys.exit(status)


if __name__ == "__main__":
    main()
