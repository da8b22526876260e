"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Profile = Annotated[
    str | None, typer.Option(help="What to serve.", show_default="smollm2-135m, or any-gguf with --model")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change one value of the profile, such as ctx_per_slot=8192."),
]
Model = Annotated[Path | None, typer.Option(help="A GGUF file to use instead of the profile's own.")]
LlamaServer = Annotated[Path | None, typer.Option(help="The llama-server to run.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any free one.", show_default="8000")]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error.", show_default="info")]
