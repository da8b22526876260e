"""Where llama.cpp's source comes from: GitHub, an archive, a directory, and where in those it is."""

from __future__ import annotations

import re
import tarfile
import zipfile
import zlib
from typing import TYPE_CHECKING

from app.failure import CommandFailure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeAlias

    Report: TypeAlias = Callable[[str, float | None], None]
    """Told what is being done, and how much of it is done, from 0 to 1, if that can be told."""

_PROJECT = re.compile(rb'^\s*project\(\s*"?llama\.cpp\b', re.MULTILINE)
_DEEPEST = 3  # SDIST/thirdparty/llama.cpp
_DOWNLOAD_SECONDS = 30.0  # without a byte


def check_source(source: Path) -> Path:
    """Return the path of a directory or an archive, once it is one.

    Raises:
        CommandFailure: It is none.
    """
    source = source.expanduser()
    if not source.exists():
        raise CommandFailure(f"--source {source} does not exist.")
    if source.is_file() and not (tarfile.is_tarfile(source) or zipfile.is_zipfile(source)):
        raise CommandFailure(f"--source {source} is neither a directory nor a .tar.gz or .zip archive.")
    return source


def fetch_source(url: str, path: Path, report: Report) -> Path:
    """Download an archive to `path`.

    Raises:
        CommandFailure: It cannot be had.
    """
    import httpx  # noqa: PLC0415 -- only here, and listing engines should come at once

    try:
        with (
            httpx.stream("GET", url, follow_redirects=True, timeout=_DOWNLOAD_SECONDS) as response,
            path.open("wb") as file,
        ):
            response.raise_for_status()
            total = int(response.headers.get("content-length", 0))
            for chunk in response.iter_bytes():
                file.write(chunk)
                report("downloading", response.num_bytes_downloaded / total if total else None)
    except httpx.HTTPStatusError as error:
        reason = f"{error.response.status_code} {error.response.reason_phrase}".strip()
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
    else:
        return path
    raise CommandFailure(
        f"llama.cpp could not be fetched from {url}: {reason}; give --source with a directory or an archive of it."
    )


def unpack(archive: Path, folder: Path, report: Report) -> Path:
    """Unpack an archive into a new folder, and nothing outside of it.

    Raises:
        CommandFailure: It is damaged, or wants to write elsewhere.
    """
    if not hasattr(tarfile, "data_filter"):  # before 3.11.4
        raise CommandFailure(
            "This Python cannot unpack archives safely: use 3.11.4 or newer, or give --source a directory."
        )
    report("unpacking", None)
    folder.mkdir()
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as pack:
                pack.extractall(folder)  # noqa: S202 -- it drops leading slashes and ".." by itself
        else:
            with tarfile.open(archive) as pack:
                pack.extractall(folder, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise CommandFailure(f"The archive {archive} cannot be unpacked: {error}.") from None
    return folder


def find_tree(root: Path) -> Path:
    """Return llama.cpp's own directory in a source tree that may hold it deeper, as Python packages do.

    Raises:
        CommandFailure: It is not there.
    """
    for depth in range(_DEEPEST + 1):
        for file in sorted(root.glob("*/" * depth + "CMakeLists.txt")):
            if _PROJECT.search(file.read_bytes()):
                return file.parent
    raise CommandFailure(f'There is no llama.cpp in {root}: no CMakeLists.txt in it says project("llama.cpp").')
