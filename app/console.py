"""What a person sees: progress while it lasts, then how to make a first request."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("warmgate")

err = Console(stderr=True, highlight=False, emoji=False)
"""Quiet where only the log is written to standard error, as JSON; what would be shown is then logged."""

out = Console(highlight=False, emoji=False, soft_wrap=True)


@contextlib.contextmanager
def progress(what: str) -> Iterator[None]:
    """Show that something takes its time: a spinner in a terminal, a plain line otherwise."""
    if err.quiet:
        logger.info("%s ...", what)
        yield
    elif err.is_terminal:
        with err.status(escape(what)):
            yield
    else:
        err.print(escape(f"{what} ..."), soft_wrap=True)
        yield


def complain(sentence: str) -> None:
    """Print the one sentence that a failed command ends with."""
    if err.quiet:
        logger.error("%s", sentence)
    else:
        err.print(f"[bold red]warmgate:[/] {escape(sentence)}", soft_wrap=True)


def announce(base_url: str, model: str, engine: str, made_key: str | None) -> None:
    """Say that requests are answered, and how to make one. A made key is shown here and nowhere else."""
    if err.quiet:
        logger.info("ready %s at %s/v1 (%s)", model, base_url, engine)
    else:
        out.print(f"[bold green]ready[/] {escape(model)} at [bold]{base_url}/v1[/]  [dim]({escape(engine)})[/]")
    if made_key is None:
        return
    out.print(f"\nKey for this run (set WARMGATE_API_KEYS to choose your own): [bold]{made_key}[/]")
    out.print(_SNIPPETS.format(url=base_url, key=made_key, model=model), markup=False)


_SNIPPETS = """
curl -N {url}/v1/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\
  -d '{{"stream": true, "messages": [{{"role": "user", "content": "Write one sentence about the sea."}}]}}'

from openai import OpenAI  # pip install openai

client = OpenAI(base_url="{url}/v1", api_key="{key}")
question = {{"role": "user", "content": "Write one sentence about the sea."}}
for chunk in client.chat.completions.create(model="{model}", messages=[question], stream=True):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
"""
