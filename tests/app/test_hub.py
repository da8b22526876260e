"""Models pulled by the real huggingface_hub and hf_xet, from a hub on this machine."""

from __future__ import annotations

import hashlib
import random
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest
from fake_hub import ANOTHER_TOKEN, TOKEN, FakeHub, know_no_other_hub
from huggingface_hub import constants, hf_hub_download, scan_cache_dir

from app import hub as app_hub
from app.failure import CommandFailure
from app.hub import pull
from app.model_store import Store, StoredModel, find, is_verified
from app.profiles import HubFile, HubFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REPO = "maker/tiny-GGUF"
TEMPLATES = "maker/tiny"
RANDOM = random.Random(1)
WEIGHTS = b"GGUF weights " + RANDOM.randbytes(300_000)
MMPROJ = b"GGUF mmproj " + RANDOM.randbytes(40_000)
TEMPLATE = b"{{ messages }}\n"
MODEL = {"tiny.gguf": WEIGHTS, "mmproj.gguf": MMPROJ, "other.gguf": b"GGUF that nobody wants", "README.md": b"# tiny\n"}
UNPINNED = HubFiles(
    weights=HubFile(repo=REPO, name="tiny.gguf"),
    mmproj=HubFile(repo=REPO, name="mmproj.gguf"),
    chat_template=HubFile(repo=TEMPLATES, name="chat_template.jinja"),
)
ONLY_WEIGHTS = HubFiles(weights=UNPINNED.weights)
TOTAL = len(WEIGHTS) + len(MMPROJ) + len(TEMPLATE)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def quiet(what: str, done: int, total: int) -> None:
    pass


class Telling:
    """A progress callback that remembers what it was told, the last of each."""

    def __init__(self) -> None:
        self.told: dict[str, tuple[int, int]] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        self.told[what] = (done, total)


class DiskUsage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Return a hub with one model, and let huggingface_hub know no other, and no other cache."""
    with FakeHub() as fake:
        fake.commit(REPO, MODEL)
        fake.commit(TEMPLATES, {"chat_template.jinja": TEMPLATE})
        know_no_other_hub(fake, tmp_path / "hf", monkeypatch)
        monkeypatch.setattr(app_hub, "_WAITS", ())
        yield fake


@pytest.fixture(params=["shared cache", "local dir"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", tmp_path / "models" if request.param == "local dir" else None)


@pytest.fixture
def cached(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def assert_complete(model: StoredModel | None) -> None:
    assert model is not None
    assert model.weights.read_bytes() == WEIGHTS
    assert model.mmproj is not None
    assert model.mmproj.read_bytes() == MMPROJ
    assert model.chat_template is not None
    assert model.chat_template.read_bytes() == TEMPLATE


def files_in(folder: Path) -> set[str]:
    """Return the names of what looks like a file of a model, whole or not, wherever it is."""
    return {path.name for path in folder.rglob("*") if path.suffix in {".gguf", ".jinja", ".incomplete"}}


# --- a whole pull


@pytest.mark.usefixtures("hub")
def test_a_model_is_pulled_and_found(store: Store) -> None:
    assert find(UNPINNED, store) is None
    model = pull(UNPINNED, store, quiet)
    assert_complete(model)
    assert find(UNPINNED, store) == model
    assert is_verified(model.weights, len(WEIGHTS), sha256(WEIGHTS), store.cache_dir)


def test_only_what_is_needed_is_fetched(hub: FakeHub, store: Store, tmp_path: Path) -> None:
    pull(UNPINNED, store, quiet)
    assert files_in(tmp_path) == {"tiny.gguf", "mmproj.gguf", "chat_template.jinja"}
    assert [request.path for request in hub.bodies()] == [f"/cdn/{sha256(WEIGHTS)}", f"/cdn/{sha256(MMPROJ)}"]


def test_progress_is_told_for_each_file(hub: FakeHub, store: Store) -> None:
    telling = Telling()
    pull(UNPINNED, store, telling)
    assert telling.told == {
        f"{doing} {name}": (len(content), len(content))
        for name, content in (("tiny.gguf", WEIGHTS), ("mmproj.gguf", MMPROJ), ("chat_template.jinja", TEMPLATE))
        for doing in ("downloading", "verifying")
    }
    assert len(hub.bodies()) == 2


def test_other_tools_find_what_was_pulled_and_it_finds_what_they_pulled(hub: FakeHub, cached: Store) -> None:
    model = pull(ONLY_WEIGHTS, cached, quiet)
    revision = hub.repositories[REPO].main
    assert hf_hub_download(REPO, "tiny.gguf", revision=revision, local_files_only=True) == str(model.weights)
    info = scan_cache_dir(cached.root)
    assert info.warnings == []
    assert info.size_on_disk == len(WEIGHTS)

    theirs = hf_hub_download(REPO, "mmproj.gguf", revision=revision)
    bodies = len(hub.bodies())
    assert str(pull(UNPINNED, cached, quiet).mmproj) == theirs
    assert len(hub.bodies()) == bodies


def test_a_local_dir_has_versioned_paths(hub: FakeHub, tmp_path: Path) -> None:
    model = pull(UNPINNED, Store(tmp_path / "cache", tmp_path / "volume"), quiet)
    assert model.weights == tmp_path / "volume" / REPO / hub.repositories[REPO].main / "tiny.gguf"
    assert not model.weights.is_symlink()
    assert (tmp_path / "volume" / "models.lock.json").is_file()
    # another machine with the same volume
    assert find(UNPINNED, Store(tmp_path / "other cache", tmp_path / "volume")) == model


def test_what_is_here_needs_no_hub(hub: FakeHub, store: Store) -> None:
    model = pull(UNPINNED, store, quiet)
    hub.close()
    assert find(UNPINNED, store) == model
    assert pull(UNPINNED, store, quiet) == model


def test_what_is_missing_of_a_model_is_brought(hub: FakeHub, store: Store) -> None:
    model = pull(UNPINNED, store, quiet)
    assert model.mmproj is not None
    model.mmproj.resolve().unlink()
    assert find(UNPINNED, store) is None
    assert_complete(pull(UNPINNED, store, quiet))
    assert [request.path for request in hub.bodies()[2:]] == [f"/cdn/{sha256(MMPROJ)}"]


def test_the_same_content_in_another_revision_needs_neither_time_nor_space(
    hub: FakeHub, cached: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(ONLY_WEIGHTS, cached, quiet)
    revision = hub.commit(REPO, MODEL | {"README.md": b"# new\n"})
    set_free(0, monkeypatch)
    assert revision in str(pull(ONLY_WEIGHTS, cached, quiet, update=True).weights)
    assert len(hub.bodies()) == 1


def test_a_bigger_wish_is_met_from_the_locked_commit(hub: FakeHub, store: Store) -> None:
    pull(ONLY_WEIGHTS, store, quiet)
    hub.commit(REPO, MODEL | {"mmproj.gguf": b"GGUF for other weights"})
    assert_complete(pull(UNPINNED, store, quiet))


# --- interruptions


def ranges(hub: FakeHub) -> list[str | None]:
    return [request.range for request in hub.bodies()]


def test_a_cut_connection_is_resumed(hub: FakeHub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.cuts = [100_000, 0, 50_000]
    monkeypatch.setattr(app_hub, "_WAITS", (0,))
    assert pull(ONLY_WEIGHTS, store, quiet).weights.read_bytes() == WEIGHTS
    assert ranges(hub) == [None, "bytes=100000-", "bytes=100000-", "bytes=150000-"]


def test_an_interrupted_pull_goes_on_where_it_was(hub: FakeHub, store: Store) -> None:
    def interrupt(what: str, done: int, _: int) -> None:
        if what.startswith("downloading") and done >= 100_000:
            raise KeyboardInterrupt

    hub.cuts = [100_000]
    with pytest.raises(KeyboardInterrupt):
        pull(ONLY_WEIGHTS, store, interrupt)
    assert find(ONLY_WEIGHTS, store) is None
    telling = Telling()
    assert pull(ONLY_WEIGHTS, store, telling).weights.read_bytes() == WEIGHTS
    assert ranges(hub) == [None, "bytes=100000-"]


def test_a_server_without_ranges_costs_bytes_and_no_more(hub: FakeHub, store: Store) -> None:
    hub.cuts, hub.knows_ranges = [100_000], False
    assert pull(ONLY_WEIGHTS, store, quiet).weights.read_bytes() == WEIGHTS


def test_a_hub_that_goes_away_is_told_with_what_there_is(hub: FakeHub, store: Store, tmp_path: Path) -> None:
    hub.cuts = [100_000, 0]
    with pytest.raises(CommandFailure) as caught:
        pull(ONLY_WEIGHTS, store, quiet)
    assert str(caught.value).startswith("tiny.gguf broke off after 100.0 kB of 300.0 kB (")
    assert str(caught.value).endswith("; pull again, and it goes on from there.")
    (left,) = tmp_path.rglob("*.incomplete")
    assert left.read_bytes() == WEIGHTS[:100_000]
    assert find(ONLY_WEIGHTS, store) is None


# --- wrong bytes


def test_wrong_bytes_are_not_kept(hub: FakeHub, store: Store, tmp_path: Path) -> None:
    hub.sent_instead[sha256(WEIGHTS)] = WEIGHTS[:-1] + b"!"
    with pytest.raises(CommandFailure) as caught:
        pull(ONLY_WEIGHTS, store, quiet)
    assert str(caught.value) == (
        "What arrived as tiny.gguf is not what the hub has promised (its SHA-256 is wrong), and was deleted; "
        "pull again."
    )
    assert files_in(tmp_path) == set()
    assert find(ONLY_WEIGHTS, store) is None
    hub.sent_instead.clear()
    assert pull(ONLY_WEIGHTS, store, quiet).weights.read_bytes() == WEIGHTS


@pytest.mark.parametrize("more", [b"", b"more"], ids=["too few", "too many"])
def test_a_wrong_number_of_bytes_is_not_kept(hub: FakeHub, store: Store, tmp_path: Path, more: bytes) -> None:
    hub.sent_instead[sha256(WEIGHTS)] = WEIGHTS + more if more else WEIGHTS[:1000]
    with pytest.raises(CommandFailure, match="pull again"):
        pull(ONLY_WEIGHTS, store, quiet)
    assert find(ONLY_WEIGHTS, store) is None
    assert "tiny.gguf" not in files_in(tmp_path)


def test_a_small_file_is_checked_by_its_name_in_git(
    hub: FakeHub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fake_hub.git_name", lambda _: "0" * 40)
    with pytest.raises(CommandFailure, match=r"What arrived as chat_template\.jinja is not what the hub has promised"):
        pull(UNPINNED, store, quiet)
    assert hub.requests
    assert "chat_template.jinja" not in files_in(store.root)


def test_a_file_that_rotted_is_brought_anew(hub: FakeHub, store: Store) -> None:
    model = pull(UNPINNED, store, quiet)
    model.weights.write_bytes(WEIGHTS[:-1] + b"!")
    assert_complete(pull(UNPINNED, store, quiet))
    assert len(hub.bodies()) == 3


# --- what is known before


def pinned(hub: FakeHub, **changes: str) -> HubFiles:
    known = {"revision": hub.repositories[REPO].main, "sha256": sha256(WEIGHTS)} | changes
    return HubFiles(weights=replace(UNPINNED.weights, size=len(WEIGHTS), **known))


def test_a_pinned_file_is_found_without_a_lock_file(hub: FakeHub, store: Store) -> None:
    model = pull(pinned(hub), store, quiet)
    store.lock_file.unlink()
    assert find(pinned(hub), store) == model


def test_a_pinned_commit_is_pulled_wherever_main_is(hub: FakeHub, store: Store) -> None:
    files = pinned(hub)
    hub.commit(REPO, {"tiny.gguf": b"GGUF of later"})
    assert pull(files, store, quiet).weights.read_bytes() == WEIGHTS


def test_a_hub_that_has_other_bytes_than_were_pinned_is_refused_before_any_come(hub: FakeHub, store: Store) -> None:
    files = pinned(hub, sha256="0" * 64)
    with pytest.raises(CommandFailure) as caught:
        pull(files, store, quiet)
    assert str(caught.value) == (
        f"{REPO}/tiny.gguf is not the file that was pinned: the hub says {len(WEIGHTS):,} bytes and SHA-256 "
        f"{sha256(WEIGHTS)}; `--update` takes it all the same."
    )
    assert hub.bodies() == []
    assert pull(files, store, quiet, update=True).weights.read_bytes() == WEIGHTS
    assert find(files, store) is not None


def test_what_was_taken_once_is_locked(hub: FakeHub, store: Store) -> None:
    pull(UNPINNED, store, quiet)
    first = hub.repositories[REPO].main
    hub.commit(REPO, {"tiny.gguf": b"GGUF of later", "mmproj.gguf": b"GGUF of later, too"})
    assert_complete(find(UNPINNED, store))
    shutil.rmtree(store.root / REPO if store.local_dir else store.repository(REPO))
    assert find(UNPINNED, store) is None
    assert_complete(pull(UNPINNED, store, quiet))
    assert {pin.revision for pin in store.pins() if pin.repo == REPO} == {first}


def test_an_update_moves_the_lock_and_keeps_the_old_files(hub: FakeHub, store: Store) -> None:
    old = pull(UNPINNED, store, quiet)
    hub.commit(REPO, {"tiny.gguf": b"GGUF of later", "mmproj.gguf": b"GGUF of later, too"})
    new = pull(UNPINNED, store, quiet, update=True)
    assert new.weights.read_bytes() == b"GGUF of later"
    assert find(UNPINNED, store) == new
    assert old.weights.read_bytes() == WEIGHTS


def test_an_update_that_fails_leaves_the_model_that_was_there(hub: FakeHub, store: Store) -> None:
    model = pull(UNPINNED, store, quiet)
    hub.commit(REPO, {"tiny.gguf": b"GGUF of later"})
    with pytest.raises(CommandFailure, match=r"no file mmproj\.gguf"):
        pull(UNPINNED, store, quiet, update=True)
    assert find(UNPINNED, store) == model


def test_a_pin_that_moves_makes_the_lock_void(hub: FakeHub, store: Store) -> None:
    old = pinned(hub)
    pull(old, store, quiet, update=True)
    later = b"GGUF of later"
    new = HubFiles(weights=replace(UNPINNED.weights, revision=hub.commit(REPO, {"tiny.gguf": later})))
    assert find(new, store) is None
    assert pull(new, store, quiet).weights.read_bytes() == later
    assert find(old, store) is not None


@pytest.mark.usefixtures("hub")
def test_a_damaged_lock_file_is_not_taken_for_none(store: Store) -> None:
    pull(UNPINNED, store, quiet)
    store.lock_file.write_text('{"files": [{')
    with pytest.raises(CommandFailure) as caught:
        pull(UNPINNED, store, quiet)
    assert str(caught.value).startswith(f"{store.lock_file} cannot be read (")
    assert str(caught.value).endswith("; restore it, or delete it to trust the hub anew.")
    with pytest.raises(CommandFailure, match="cannot be read"):
        find(UNPINNED, store)


# --- refusals


def test_a_gated_repository_says_how_to_be_let_in(hub: FakeHub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[TEMPLATES].gated = True
    for token in (None, ANOTHER_TOKEN):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(CommandFailure) as caught:
            pull(UNPINNED, store, quiet)
        assert str(caught.value) == (
            f"{TEMPLATES} is gated: ask for access at {hub.url}/{TEMPLATES}, "
            f"then set HF_TOKEN (from {hub.url}/settings/tokens)."
        )
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert_complete(pull(UNPINNED, store, quiet))


def test_the_token_goes_to_the_hub_and_no_further(hub: FakeHub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    pull(UNPINNED, store, quiet)
    assert {request.authorization for request in hub.bodies()} == {None}
    asked = [request for request in hub.requests if request not in hub.bodies()]
    assert {request.authorization for request in asked} == {f"Bearer {TOKEN}"}


def test_a_wrong_token_is_named(hub: FakeHub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(CommandFailure) as caught:
        pull(UNPINNED, store, quiet)
    assert str(caught.value) == (
        f"The hub refuses {REPO} (401); set HF_TOKEN to a token that may read it ({hub.url}/settings/tokens)."
    )


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (
            HubFile(repo="maker/none", name="x.gguf"),
            "{hub} shows no repository maker/none; if it is private, set HF_TOKEN (from {hub}/settings/tokens).",
        ),
        (
            HubFile(repo=REPO, name="none.gguf"),
            f"{REPO} has no file none.gguf at revision main; `--update` looks for it on its main branch.",
        ),
        (
            HubFile(repo=REPO, name="tiny.gguf", revision="0" * 40),
            f"{REPO} has no revision {'0' * 40}; `--update` takes what its main branch has now.",
        ),
    ],
    ids=["repository", "file", "revision"],
)
def test_what_the_hub_does_not_have_is_named(hub: FakeHub, store: Store, file: HubFile, sentence: str) -> None:
    with pytest.raises(CommandFailure) as caught:
        pull(HubFiles(weights=file), store, quiet)
    assert str(caught.value) == sentence.format(hub=hub.url)


def test_a_hub_that_cannot_be_reached(hub: FakeHub, store: Store) -> None:
    hub.close()
    with pytest.raises(CommandFailure) as caught:
        pull(UNPINNED, store, quiet)
    assert str(caught.value).startswith(f"The hub at {hub.url} cannot be reached (")
    assert str(caught.value).endswith("; check the network, and HF_ENDPOINT.")


def test_a_hub_that_fails(hub: FakeHub, store: Store) -> None:
    hub.broken = True
    with pytest.raises(CommandFailure) as caught:
        pull(UNPINNED, store, quiet)
    assert str(caught.value) == f"The hub answers 500 for {REPO}/tiny.gguf; try again later."


def test_an_endpoint_that_is_no_hub(hub: FakeHub, store: Store) -> None:
    hub.is_a_hub = False
    with pytest.raises(CommandFailure) as caught:
        pull(UNPINNED, store, quiet)
    assert str(caught.value) == f"{hub.url} does not answer like a Hugging Face hub; check HF_ENDPOINT."


def test_offline_means_offline(hub: FakeHub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CommandFailure) as caught:
        pull(UNPINNED, store, quiet)
    assert str(caught.value) == f"{REPO}/tiny.gguf is not here, and HF_HUB_OFFLINE forbids to fetch it."
    assert hub.requests == []


# --- the disk


def set_free(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(10**12, 0, free))


def test_space_is_checked_before_anything_comes(hub: FakeHub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    set_free(TOTAL - 1, monkeypatch)
    with pytest.raises(CommandFailure) as caught:
        pull(UNPINNED, store, quiet)
    assert str(caught.value) == (
        f"340.0 kB are needed in {store.root}, and only 340.0 kB are free; make room, or choose another place "
        f"with --local-dir or HF_HOME."
    )
    assert hub.bodies() == []
    set_free(TOTAL, monkeypatch)
    assert_complete(pull(UNPINNED, store, quiet))


def test_what_came_before_an_interruption_needs_no_space(
    hub: FakeHub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.cuts = [100_000, 0]
    with pytest.raises(CommandFailure, match="broke off"):
        pull(ONLY_WEIGHTS, store, quiet)
    set_free(len(WEIGHTS) - 100_000, monkeypatch)
    assert pull(ONLY_WEIGHTS, store, quiet).weights.read_bytes() == WEIGHTS


@pytest.mark.usefixtures("hub")
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    with pytest.raises(CommandFailure) as caught:
        pull(UNPINNED, Store(tmp_path / "cache", in_the_way / "models"), quiet)
    assert str(caught.value) == f"{in_the_way / 'models'} cannot be written (Not a directory)."


def test_a_whole_model_needs_no_writing(hub: FakeHub, tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", tmp_path / "volume")
    model = pull(UNPINNED, store, quiet)
    hub.close()
    # where a pull would write first
    (tmp_path / "volume" / ".pulling").unlink()
    (tmp_path / "volume" / ".pulling").mkdir()
    assert pull(UNPINNED, store, quiet) == model


# --- two at once


def test_two_pulls_at_once_fetch_everything_once(hub: FakeHub, store: Store) -> None:
    hub.cuts, hub.stalls = [1000], True
    waiting = threading.Event()

    def second(what: str, _: int, __: int) -> None:
        if what == "waiting for another pull to end":
            waiting.set()

    with ThreadPoolExecutor() as pool:
        first = pool.submit(pull, UNPINNED, store, quiet)
        assert hub.stalled.wait(30)
        other = pool.submit(pull, UNPINNED, store, second)
        assert waiting.wait(30)
        hub.go_on.set()
        assert first.result(30) == other.result(30)
    assert_complete(find(UNPINNED, store))
    assert ranges(hub) == [None, "bytes=1000-", None]


# --- Xet


@pytest.fixture
def on_xet(hub: FakeHub, tmp_path: Path) -> FakeHub:
    """Return the hub with its weights on a real Xet storage in a directory."""
    hub.put_on_xet(WEIGHTS, tmp_path / "cas")
    return hub


def test_what_is_on_xet_comes_from_there(on_xet: FakeHub, store: Store) -> None:
    assert_complete(pull(UNPINNED, store, quiet))
    assert [request.path for request in on_xet.bodies()] == [f"/cdn/{sha256(MMPROJ)}"]


def test_a_pull_from_xet_goes_on_where_another_was(
    on_xet: FakeHub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_xet.cuts = [100_000, 0]
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with pytest.raises(CommandFailure, match="broke off"):
        pull(ONLY_WEIGHTS, store, quiet)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    seen: list[int] = []

    def watch(what: str, done: int, _: int) -> None:
        if what.startswith("downloading"):
            seen.append(done)

    assert pull(ONLY_WEIGHTS, store, watch).weights.read_bytes() == WEIGHTS
    assert seen[0] == 100_000
    assert len(on_xet.bodies()) == 2


def no_token(hub: FakeHub, _: Path) -> None:
    hub.cas_url = None


def no_storage(_: FakeHub, folder: Path) -> None:
    shutil.rmtree(folder / "cas")


@pytest.mark.parametrize("lose", [no_token, no_storage])
def test_xet_gives_way_to_http(
    on_xet: FakeHub, store: Store, tmp_path: Path, lose: Callable[[FakeHub, Path], None]
) -> None:
    lose(on_xet, tmp_path)
    assert pull(ONLY_WEIGHTS, store, quiet).weights.read_bytes() == WEIGHTS
    assert ranges(on_xet) == [None]
