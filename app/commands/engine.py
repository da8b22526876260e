"""`warmgate engine`: which llama-server there is, which one is used, and how to compile one."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from app.failure import CommandFailure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from app.engine import Engine
    from app.engine_source import Report

commands = typer.Typer(help="See which llama-server is used, or compile one.", no_args_is_help=True)

LlamaServer = Annotated[Path | None, typer.Option(help="The llama-server to use instead of the first one found.")]


class Row(TypedDict):
    """One engine, as `list --json` prints it.

    `build` is None if it does not tell, `gemma4` if that cannot be told; `problem` says why it cannot be used at all.
    """

    used: bool
    found: str
    command: list[str]
    build: int | None
    backends: list[str]
    gemma4: bool | None
    problem: str | None


@commands.command("list")
def list_engines(
    llama_server: LlamaServer = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it for programs.")] = False,
) -> None:
    """Show every llama-server that is found, what it can do, and which one is used."""
    import json

    from app.engine import find_engine, find_engines

    explicit, cache_dir = _where(llama_server)
    used = find_engine(explicit, cache_dir)
    rows = [_row(engine, cache_dir, used=engine == used) for engine in find_engines(explicit, cache_dir)]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        _show(rows)


@commands.command()
def path(llama_server: LlamaServer = None) -> None:
    """Print the command that is used, and nothing else."""
    import shlex

    from app.engine import find_engine

    typer.echo(shlex.join(find_engine(*_where(llama_server)).command))


@commands.command()
def build(
    tag: Annotated[
        str | None, typer.Option(help="Which build, or which one --source is.", show_default="the one that is tested")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="A directory or an archive with llama.cpp in it.", show_default="GitHub's")
    ] = None,
    cuda_arch: Annotated[
        list[str] | None,
        typer.Option(help="For GPUs such as 89 (L4, L40S) or 90 (H100); repeatable.", show_default="this machine's"),
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Without CUDA.")] = False,
    native: Annotated[
        bool, typer.Option("--native/--portable", help="For this machine's CPU, or for others too.")
    ] = True,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="How many compilers run at a time.", show_default="one for each CPU")
    ] = None,
) -> None:
    """Compile llama-server into the cache, where `serve` finds it."""
    import os
    import time

    from rich.filesize import decimal
    from rich.markup import escape

    from app import console
    from app.engine_build import LLAMA_CPP_TAG, Recipe, build_engine, local_cuda_archs

    if cpu and cuda_arch:
        raise CommandFailure("--cpu and --cuda-arch exclude each other.")
    archs = () if cpu else tuple(cuda_arch or local_cuda_archs())
    recipe = Recipe(tag or LLAMA_CPP_TAG, archs, native)
    _, cache_dir = _where(None)
    began = time.monotonic()
    with _progress() as report:
        built = build_engine(recipe, source, cache_dir, jobs or os.cpu_count() or 1, report)
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    what = f"{recipe.name}, {decimal(built.stat().st_size)}, in {minutes} min {seconds} s"
    console.out.print(f"[bold green]ready[/] {escape(what)}: {escape(str(built))}")
    _warn_if_not_used(built, cache_dir)


def _warn_if_not_used(built: Path, cache_dir: Path) -> None:
    from app import console
    from app.engine import find_engine

    used = find_engine(None, cache_dir)
    if used.path != built:
        console.out.print(f"{used.origin} comes before it; --llama-server chooses this one.", style="dim", markup=False)


def _where(llama_server: Path | None) -> tuple[Path | None, Path]:
    """Return which engine is wanted, if any, and where our builds are."""
    import os

    from app.model_store import default_cache_dir
    from app.settings import read_settings

    settings = read_settings(llama_server=llama_server)
    return settings.llama_server, settings.cache_dir or default_cache_dir(os.environ)


def _row(engine: Engine, cache_dir: Path, *, used: bool) -> Row:
    from app.engine_probe import probe_engine

    build, backends, gemma4, problem = None, [], None, None
    try:
        info = probe_engine(engine, cache_dir)
        build, backends, gemma4 = info.build.number, list(info.backends), info.gemma4
    except CommandFailure as failure:
        problem = str(failure)
    return Row(
        used=used,
        found=engine.found,
        command=list(engine.command),
        build=build,
        backends=backends,
        gemma4=gemma4,
        problem=problem,
    )


def _show(rows: Sequence[Row]) -> None:
    from app import console

    lines = [("", "FOUND", "BUILD", "BACKENDS", "GEMMA 4", "COMMAND"), *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*(line[:-1] for line in lines), strict=True)]
    for line, row in zip(lines, [None, *rows], strict=True):
        cells = [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]
        style = "dim" if row is None else "bold" if row["used"] else "none"
        console.out.print("  ".join(cells), style=style, markup=False)
        if row and row["problem"]:
            console.out.print(f"   {row['problem']}", style="red", markup=False)


def _cells(row: Row) -> tuple[str, ...]:
    import shlex

    mark, command = "→" if row["used"] else "", shlex.join(row["command"])
    if row["problem"]:
        return mark, row["found"], "-", "-", "-", command
    build = "unknown" if row["build"] is None else f"b{row['build']}"
    gemma4 = {True: "yes", False: "no", None: "unknown"}[row["gemma4"]]
    return mark, row["found"], build, ", ".join(row["backends"]), gemma4, command


@contextlib.contextmanager
def _progress() -> Iterator[Report]:
    """Show how far a build is: a bar in a terminal, otherwise a line for every tenth."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    from app import console

    if not console.err.is_terminal:
        shown = set()

        def say(what: str, done: float | None) -> None:
            tenths = int((done or 0) * 10)
            line = f"{what} {tenths}0 %" if tenths else f"{what} ..."
            if line not in shown:
                shown.add(line)
                console.err.print(line, soft_wrap=True)

        yield say
        return
    columns = ("{task.description}", BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console.err, transient=True) as bar:
        task = bar.add_task("")

        def report(what: str, done: float | None) -> None:
            bar.update(task, description=what, total=None if done is None else 1, completed=done or 0)

        yield report
