"""Brings a profile's files from the Hugging Face hub: those and no others, at one commit, checked.

huggingface_hub finds them, signs in and says where they are kept. The bytes are fetched here, because a download of
its own begins anew after each interruption (as of 1.33, https://github.com/huggingface/huggingface_hub/issues/4196).
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import importlib.util
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx
from huggingface_hub import constants, get_hf_file_metadata, get_session, hf_hub_url, hf_raise_for_status
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # a lazy module
from rich.filesize import decimal as human_size

from app.failure import CommandFailure
from app.gguf import CorruptModelError, ModelFileError
from app.model_store import MAIN, Pin, checksum, find, remember_verified, verify_once

if TYPE_CHECKING:
    from pathlib import Path

    from app.model_store import Store, StoredModel
    from app.profiles import HubFile, HubFiles

# What is being done, and how many bytes of how many are done; a total of 0 if that is not known.
Progress: TypeAlias = Callable[[str, int, int], None]

_WAITS = (1, 2, 4, 8)  # seconds before one more attempt, after some that brought nothing
_XET_LIMITS = {  # where its storage is out of reach, hf_xet's own defaults keep a pull waiting for ten minutes
    "client.retry_max_attempts": 2,
    "client.connect_timeout": timedelta(seconds=10),
    "client.read_timeout": timedelta(seconds=30),
}
_GIT_NAME = re.compile("[0-9a-f]{40}")
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, slots=True)
class _Remote:
    """A file as the hub has it.

    Attributes:
        file: What was asked for.
        url: Where it is.
        revision: The commit.
        size: In bytes.
        etag: The SHA-256 of a large file, git's name for the content of a small one.
        sha256: As pinned, or the hub's; None for a small file that nobody has pinned.
        xet: Its hash and where to ask for a token, if it is kept on Xet, from where it comes faster.
    """

    file: HubFile
    url: str
    revision: str
    size: int
    etag: str
    sha256: str | None
    xet: tuple[str, str] | None


class _CutOffError(Exception):
    """No more bytes came. `__cause__` says why."""


_Transport: TypeAlias = Callable[[_Remote, int], Iterator[bytes]]


def pull(files: HubFiles, store: Store, progress: Progress, *, update: bool = False) -> StoredModel:
    """Bring what is missing, and make sure that all of it is what it should be.

    What a profile does not pin is taken as the hub has it, once, and from then on as the lock file says. A second
    pull into the same store waits for the first. What is here and was verified before needs no network.

    Args:
        files: The profile's files.
        store: Where to keep them.
        progress: Told how it goes.
        update: Take what is on `main` now, instead of what the profile and the lock file say.

    Raises:
        CommandFailure: It could not be done; the message says why and what to do.
    """
    try:
        if update or _missing(files, store, progress):
            with _alone(store, progress):
                wanted = files.every if update else _missing(files, store, progress)
                remotes = _ask_for(wanted, store, update=update)
                _require_space(remotes, store)
                store.lock([_fetch(remote, store, progress) for remote in remotes])
        model = find(files, store)
    except ModelFileError as error:
        raise CommandFailure(str(error)) from None
    except OSError as error:
        place = error.filename or store.root
        raise CommandFailure(f"{place} cannot be written ({error.strerror or error}).") from None
    if model is None:
        raise CommandFailure(f"Files vanished from {store.root} while they were pulled; pull again.")
    return model


def _missing(files: HubFiles, store: Store, progress: Progress) -> tuple[HubFile, ...]:
    return tuple(file for file in files.every if not _is_here(file, store, progress))


def _is_here(file: HubFile, store: Store, progress: Progress) -> bool:
    """Return whether the right bytes are here."""
    path, pin = store.locate(file), store.pin(file)
    if path is None or pin is None:
        return False
    report = functools.partial(progress, f"verifying {file.name}")
    try:
        verify_once(path, pin.size, pin.sha256, store.cache_dir, report)
    except CorruptModelError:
        return False
    return True


@contextlib.contextmanager
def _alone(store: Store, progress: Progress) -> Iterator[None]:
    """Let other pulls into the same store wait."""
    place = store.lock_file.with_name(".pulling")
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another pull to end", 0, 0)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass  # this file system has no locks; if two pulls write the same file, its checksum will tell
        yield


# --- asking


def _ask_for(wanted: tuple[HubFile, ...], store: Store, *, update: bool) -> list[_Remote]:
    """Ask the hub for each file, all files of a repository at the same commit."""
    commits = {} if update else {(pin.repo, pin.asked): pin.revision for pin in store.pins()}
    remotes = []
    for file in wanted:
        asked = MAIN if update else file.revision or MAIN
        remote = _ask(file, commits.get((file.repo, asked), asked))
        commits[file.repo, asked] = remote.revision
        remotes.append(remote if update else _as_pinned(remote, store.pin(file) or file))
    return remotes


def _ask(file: HubFile, revision: str) -> _Remote:
    url = hf_hub_url(file.repo, file.name, revision=revision)
    try:
        answer = get_hf_file_metadata(url)
    except (httpx.HTTPError, OSError) as error:
        raise CommandFailure(_in_words(error, file, revision)) from None
    commit, etag, size = answer.commit_hash or "", answer.etag or "", answer.size
    is_sha256 = _SHA256.fullmatch(etag)
    if size is None or not _GIT_NAME.fullmatch(commit) or not (is_sha256 or _GIT_NAME.fullmatch(etag)):
        raise CommandFailure(f"{constants.ENDPOINT} does not answer like a Hugging Face hub; check HF_ENDPOINT.")
    xet = answer.xet_file_data
    return _Remote(
        file=file,
        url=hf_hub_url(file.repo, file.name, revision=commit),
        revision=commit,
        size=size,
        etag=etag,
        sha256=etag if is_sha256 else None,
        xet=(xet.file_hash, xet.refresh_route) if xet else None,
    )


def _as_pinned(remote: _Remote, pin: HubFile | Pin) -> _Remote:
    """Compare what the hub has with what it should have, as far as either is known."""
    known = {remote.sha256, pin.sha256} - {None}
    if len(known) > 1 or pin.size not in {None, remote.size}:
        raise CommandFailure(
            f"{pin.repo}/{pin.name} is not the file that was pinned: the hub says {remote.size:,} bytes and SHA-256 "
            f"{remote.sha256}; `--update` takes it all the same."
        )
    return dataclasses.replace(remote, sha256=remote.sha256 or pin.sha256)


def _in_words(error: Exception, file: HubFile, revision: str) -> str:
    """Return the sentence for a person who cannot have a file."""
    hub, repo = constants.ENDPOINT, file.repo
    match error:
        case OfflineModeIsEnabled():
            what = f"{repo}/{file.name} is not here, and HF_HUB_OFFLINE forbids to fetch it"
        case GatedRepoError():
            what = f"{repo} is gated: ask for access at {hub}/{repo}, then set HF_TOKEN (from {hub}/settings/tokens)"
        case RepositoryNotFoundError():
            what = f"{hub} shows no repository {repo}; if it is private, set HF_TOKEN (from {hub}/settings/tokens)"
        case RevisionNotFoundError():
            what = f"{repo} has no revision {revision}; `--update` takes what its main branch has now"
        case RemoteEntryNotFoundError():
            what = f"{repo} has no file {file.name} at revision {revision}; `--update` looks for it on its main branch"
        case HfHubHTTPError(response=httpx.Response(status_code=401 | 403 as status)):
            what = (
                f"The hub refuses {repo} ({status}); set HF_TOKEN to a token that may read it ({hub}/settings/tokens)"
            )
        case HfHubHTTPError(response=httpx.Response(status_code=status)):
            what = f"The hub answers {status} for {repo}/{file.name}; try again later"
        case _:
            what = f"The hub at {hub} cannot be reached ({error}); check the network, and HF_ENDPOINT"
    return f"{what}."


# --- fetching


def _require_space(remotes: list[_Remote], store: Store) -> None:
    needed = sum(_missing_bytes(remote, _target(remote, store)) for remote in remotes)
    place = next(path for path in (store.root, *store.root.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise CommandFailure(
            f"{human_size(needed)} are needed in {store.root}, and only {human_size(free)} are free; make room, or "
            f"choose another place with --local-dir or HF_HOME."
        )


def _missing_bytes(remote: _Remote, target: Path) -> int:
    return 0 if _size_of(target) == remote.size else remote.size - _size_of(_unfinished(target))


def _fetch(remote: _Remote, store: Store, progress: Progress) -> Pin:
    """Bring one file to its place, and return what it turned out to be."""
    target = _target(remote, store)
    sha256 = _checked(remote, target, progress) if target.exists() else None
    if sha256 is None:
        target.unlink(missing_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = _unfinished(target)
        _download(remote, unfinished, progress)
        sha256 = _checked(remote, unfinished, progress)
        if sha256 is None:
            unfinished.unlink()
            raise CommandFailure(
                f"What arrived as {remote.file.name} is not what the hub has promised (its SHA-256 is wrong), and "
                f"was deleted; pull again."
            )
        unfinished.replace(target)
    path = store.path(remote.file, remote.revision)
    if path != target:
        _link(path, target)
    remember_verified(path, sha256, store.cache_dir)
    return Pin(
        repo=remote.file.repo,
        name=remote.file.name,
        asked=remote.file.revision or MAIN,
        revision=remote.revision,
        size=remote.size,
        sha256=sha256,
    )


def _target(remote: _Remote, store: Store) -> Path:
    """Return where the bytes go: in huggingface_hub's cache they are named by their content."""
    if store.local_dir is not None:
        return store.path(remote.file, remote.revision)
    return store.repository(remote.file.repo) / "blobs" / remote.etag


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent))


def _unfinished(target: Path) -> Path:
    return target.with_name(f"{target.name}.incomplete")


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _checked(remote: _Remote, path: Path, progress: Progress) -> str | None:
    """Return the SHA-256 of a file if its bytes are those that the hub has promised."""
    sha256 = checksum(path, functools.partial(progress, f"verifying {remote.file.name}"))
    if remote.sha256 is not None:
        return sha256 if sha256 == remote.sha256 else None
    content = path.read_bytes()  # a small one: large files are not in git, and have a SHA-256
    name = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return sha256 if name == remote.etag else None


def _download(remote: _Remote, path: Path, progress: Progress) -> None:
    """Append to `path` until nothing is missing, however often it breaks off, if only each time brings something."""
    what = f"downloading {remote.file.name}"
    transports: list[_Transport] = [_over_http]
    if remote.xet is not None and not constants.HF_HUB_DISABLE_XET and importlib.util.find_spec("hf_xet"):
        transports.append(functools.partial(_over_xet, *remote.xet))
    have, in_vain = _size_of(path), 0
    progress(what, have, remote.size)
    while have < remote.size:
        before, failure = have, None
        try:
            with path.open("ab") as file:
                for block in _received(transports[-1](remote, have)):
                    file.write(block)
                    have += len(block)
                    progress(what, have, remote.size)
        except _CutOffError as error:
            failure = error.__cause__
        if have > before:
            in_vain = 0
        elif len(transports) > 1:
            transports.pop()
        elif in_vain < len(_WAITS):
            time.sleep(_WAITS[in_vain])
            in_vain += 1
        else:
            raise CommandFailure(_why_it_ended(failure, remote, have))


def _received(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Tell what goes wrong while receiving from what goes wrong while writing."""
    try:
        yield from blocks
    except Exception as error:  # hf_xet has no list of what it raises
        raise _CutOffError from error


def _over_http(remote: _Remote, offset: int) -> Iterator[bytes]:
    headers = build_hf_headers() | {"accept-encoding": "identity"}
    if offset:
        headers["range"] = f"bytes={offset}-"
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", remote.url, headers=headers, timeout=timeout) as response:
        hf_raise_for_status(response)
        known = 0 if response.status_code == httpx.codes.PARTIAL_CONTENT else offset
        for block in response.iter_bytes():
            if new := block[known:]:
                yield new
            known = max(0, known - len(block))


def _over_xet(xet_hash: str, token_url: str, remote: _Remote, offset: int) -> Iterator[bytes]:
    """Receive in parallel from where the hub keeps large files; huggingface_hub's own way there knows no offset."""
    hf_xet: Any = importlib.import_module("hf_xet")
    headers = build_hf_headers()
    # Asked for here: if there is no token to be had, hf_xet would go on asking for minutes.
    answer = get_session().get(token_url, headers=headers, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    hf_raise_for_status(answer)
    access = answer.json()
    session = hf_xet.XetSession(hf_xet.XetConfig().with_config(_XET_LIMITS))
    with session.new_download_stream_group(
        endpoint=access["casUrl"],
        token=access["accessToken"],
        token_expiry_unix_secs=access["exp"],
        token_refresh_url=token_url,
        token_refresh_headers=headers,
    ) as group:
        yield from group.download_stream(hf_xet.XetFileInfo(xet_hash, remote.size), start=offset)


def _why_it_ended(failure: BaseException | None, remote: _Remote, have: int) -> str:
    if isinstance(failure, (HfHubHTTPError, OfflineModeIsEnabled)):
        return _in_words(failure, remote.file, remote.revision)
    done = f"{human_size(have)} of {human_size(remote.size)}"
    detail = str(failure or "the connection was closed")
    return f"{remote.file.name} broke off after {done} ({detail}); pull again, and it goes on from there."
