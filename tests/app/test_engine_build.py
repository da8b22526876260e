"""`warmgate engine build`, with the real CMake and a llama.cpp of a few lines, whose llama-server is a script."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import select
import shutil
import signal
import subprocess
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app import engine_build
from app.commands.engine import build as build_command
from app.engine import GEMMA4_TEMPLATE, find_engine, find_engines
from app.engine_build import (
    LLAMA_CPP_TAG,
    Recipe,
    build_engine,
    cmake_flags,
    configure_command,
    local_cuda_archs,
)
from app.engine_probe import probe_engine
from app.engine_source import fetch_source, find_tree, unpack
from app.failure import CommandFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Warmgate

CPU = Recipe()
WAIT_MS = 10_000

needs_cmake = pytest.mark.skipif(
    not shutil.which("cmake") or not (shutil.which("ninja") or shutil.which("make")),
    reason="cmake, and ninja or make, are not installed",
)

PROJECT = """\
cmake_minimum_required(VERSION 3.14)
project("llama.cpp" NONE)
set(engine ${{CMAKE_BINARY_DIR}}/bin/llama-server)
file(MAKE_DIRECTORY ${{CMAKE_BINARY_DIR}}/bin)
foreach(part 1 2 3)
    add_custom_command(OUTPUT part${{part}} COMMAND ${{CMAKE_COMMAND}} -E touch part${{part}})
endforeach()
add_custom_target(llama-server
    COMMAND ${{CMAKE_COMMAND}} -E copy ${{CMAKE_SOURCE_DIR}}/llama-server.sh ${{engine}}
    DEPENDS part1 part2 part3)
{more}
"""
BROKEN = """\
file(WRITE ${CMAKE_BINARY_DIR}/broken.sh "echo 'main.cpp:1:1: error: expected a semicolon'; exit 1")
add_custom_target(broken COMMAND sh broken.sh)
add_dependencies(llama-server broken)
"""
SERVER = """\
#!/bin/sh
case $1 in
    --help) echo '--model FNAME      model path'; echo '--load-mode MODE      how' ;;
    --version) echo 'version: 0.6.0-dev (build 11549, commit unknown)' >&2 ;;
esac
"""


def lay_out(tree: Path, more: str = "") -> Path:
    """Write a llama.cpp that copies its llama-server instead of compiling it."""
    (tree / "models" / "templates").mkdir(parents=True, exist_ok=True)
    (tree / "models" / "templates" / GEMMA4_TEMPLATE).write_text("{{ messages }}")
    (tree / "CMakeLists.txt").write_text(PROJECT.format(more=more))
    (tree / "llama-server.sh").write_text(SERVER)
    (tree / "llama-server.sh").chmod(0o755)
    return tree


def pack(tree: Path, archive: Path, inside: str = "llama.cpp-b11549") -> Path:
    with tarfile.open(archive, "w:gz") as file:
        file.add(tree, arcname=inside)
    return archive


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return lay_out(tmp_path / "tree")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


class Progress(list[tuple[str, float | None]]):
    """What was reported."""

    def __call__(self, what: str, done: float | None) -> None:
        self.append((what, done))


def leftovers(cache: Path) -> list[str]:
    """Return what is in the cache besides finished engines and their logs."""
    engines = [path.name for path in cache.glob("engines/*") if not (path / "build.json").exists()]
    return [path.name for path in cache.iterdir() if path.name != "engines"] + [
        name for name in engines if not name.endswith(".log")
    ]


# The recipe.


def test_the_recipe_for_this_machines_cpu() -> None:
    assert cmake_flags([], native=True) == [
        "-DCMAKE_BUILD_TYPE=Release",
        "-DBUILD_SHARED_LIBS=OFF",
        "-DGGML_NATIVE=ON",
        "-DLLAMA_BUILD_TESTS=OFF",
        "-DLLAMA_BUILD_EXAMPLES=OFF",
        "-DLLAMA_BUILD_APP=OFF",
        "-DLLAMA_BUILD_UI=OFF",
        "-DLLAMA_USE_PREBUILT_UI=OFF",
        "-DLLAMA_OPENSSL=OFF",
        "-DLLAMA_CURL=OFF",
    ]


def test_the_recipe_for_an_image_with_cuda() -> None:
    flags = cmake_flags(["89-real", "90"], native=False)
    assert flags[-3:] == ["-DGGML_CUDA=ON", "-DCMAKE_CUDA_ARCHITECTURES=89-real;90", "-DGGML_CUDA_NCCL=OFF"]
    assert "-DGGML_NATIVE=OFF" in flags


def test_a_build_is_told_its_number_because_an_archive_does_not_know_it() -> None:
    assert "-DLLAMA_BUILD_NUMBER=12000" in configure_command(Recipe("b12000"), Path("/s"), Path("/b"))


def test_the_pinned_build_is_the_wheels() -> None:
    pins = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'.{LLAMA_CPP_TAG.removeprefix("b")}"' in pins


@pytest.mark.parametrize(
    ("recipe", "fragment"),
    [
        (Recipe("master"), "--tag master"),
        (Recipe("b1/../x"), "--tag"),
        (Recipe(cuda_archs=("8.9",)), "--cuda-arch 8.9"),
    ],
)
def test_what_cmake_would_stumble_over_is_refused(recipe: Recipe, fragment: str, cache: Path) -> None:
    with pytest.raises(CommandFailure, match=fragment):
        build_engine(recipe, None, cache, 1, Progress())


def test_missing_tools_are_named_in_one_sentence(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("CC", "CXX", "CUDACXX"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(engine_build, "CUDA_HOME", Path("/nowhere"))
    with pytest.raises(
        CommandFailure, match=r"needs cmake, a C compiler, a C\+\+ compiler, make or ninja, nvcc.*--cpu"
    ):
        build_engine(Recipe(cuda_archs=("89",)), None, cache, 1, Progress())


def test_this_machines_gpus_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 9.0; echo 8.9; echo 9.0\n")
    tool.chmod(0o755)
    assert local_cuda_archs() == ("89-real", "90-real")
    tool.write_text("#!/bin/sh\necho no driver; exit 9\n")
    assert local_cuda_archs() == ()


# The source.


@pytest.mark.parametrize("inside", ["", "llama.cpp-b11549", "xllamacpp-2026.10.11549/thirdparty/llama.cpp"])
def test_llama_cpp_is_found_however_deep_it_is_packed(tmp_path: Path, inside: str) -> None:
    (tmp_path / "CMakeLists.txt").write_text('project("xllamacpp" CXX)')
    tree = lay_out(tmp_path / inside)
    assert find_tree(tmp_path) == tree


def test_a_tree_without_llama_cpp_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandFailure, match=r"no llama\.cpp in"):
        find_tree(tmp_path)


def test_a_zip_is_unpacked_too_and_stays_inside(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("llama.cpp-b11549/CMakeLists.txt", 'project("llama.cpp" C CXX)')
        file.writestr("../outside", "")
    assert find_tree(unpack(archive, tmp_path / "new", Progress())) == tmp_path / "new" / "llama.cpp-b11549"
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("hostile", ["../outside", "/tmp/outside-of-warmgate", "link"])
def test_an_archive_cannot_write_elsewhere(tmp_path: Path, hostile: str) -> None:
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        member = tarfile.TarInfo(hostile)
        if hostile == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "../../outside"
        file.addfile(member, io.BytesIO())
    if hostile.startswith("/"):  # is taken for a relative name
        assert unpack(archive, tmp_path / "new", Progress()).joinpath(*Path(hostile).parts[1:]).exists()
    else:
        with pytest.raises(CommandFailure, match=r"cannot be unpacked: .*outside"):
            unpack(archive, tmp_path / "new", Progress())
    assert not (tmp_path / "outside").exists()
    assert not Path("/tmp/outside-of-warmgate").exists()


def test_a_damaged_archive_is_refused(tree: Path, tmp_path: Path) -> None:
    archive = pack(tree, tmp_path / "a.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(CommandFailure, match=r"a\.tar\.gz cannot be unpacked"):
        unpack(archive, tmp_path / "new", Progress())


@pytest.mark.parametrize(("name", "fragment"), [("nowhere", "does not exist"), ("text", "neither a directory nor")])
def test_a_source_that_is_none_is_refused(tmp_path: Path, cache: Path, name: str, fragment: str) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(CommandFailure, match=fragment):
        build_engine(CPU, tmp_path / name, cache, 1, Progress())


@pytest.fixture
def github(tmp_path: Path) -> Iterator[str]:
    """Serve `tmp_path / "github"` and return the address of a tag's archive there."""
    (tmp_path / "github").mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "github"))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{{tag}}.tar.gz"
        server.shutdown()
        thread.join()


@needs_cmake
def test_a_tag_is_fetched_and_built_once(
    tree: Path, tmp_path: Path, cache: Path, github: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_build, "SOURCE_URL", github)
    archive = pack(tree, tmp_path / "github" / "b12000.tar.gz")
    first = Progress()
    engine = build_engine(Recipe("b12000"), None, cache, 1, first)
    assert engine == cache / "engines" / "b12000-cpu" / "llama-server"
    assert [what for what, _ in first][:1] == ["downloading"]
    assert first[-1] == ("compiling", 1.0)
    archive.unlink()
    again = Progress()
    assert build_engine(Recipe("b12000"), None, cache, 1, again) == engine
    assert again == []


def test_a_tag_that_there_is_not(tmp_path: Path, github: str) -> None:
    with pytest.raises(CommandFailure, match=r"b1\.tar\.gz: 404 .*; give --source"):
        fetch_source(github.format(tag="b1"), tmp_path / "x", Progress())


def test_a_host_that_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(CommandFailure, match=r"could not be fetched from http://127\.0\.0\.1:1/: .*; give --source"):
        fetch_source("http://127.0.0.1:1/", tmp_path / "x", Progress())


# The build.


@needs_cmake
def test_an_engine_lies_in_the_cache_with_its_template_and_how_it_was_made(
    tree: Path, tmp_path: Path, cache: Path
) -> None:
    archive = pack(tree, tmp_path / "sdist.tar.gz", "xllamacpp-2026.10.11549/thirdparty/llama.cpp")
    path = build_engine(CPU, archive, cache, 2, Progress())
    assert json.loads(path.with_name("build.json").read_text()) == {
        "tag": LLAMA_CPP_TAG,
        "cmake_flags": cmake_flags([], native=True),
        "source": str(archive),
        "source_sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "sha256": hashlib.sha256(SERVER.encode()).hexdigest(),
    }
    assert find_engine(path, cache).gemma4_template == path.parent / "templates" / GEMMA4_TEMPLATE
    assert os.access(path, os.X_OK)
    assert leftovers(cache) == []


@needs_cmake
@pytest.mark.parametrize("tool", ["ninja", "make"])
def test_progress_is_read_from_either_tool(tree: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    if tool == "make":
        which = shutil.which
        monkeypatch.setattr(shutil, "which", lambda name, **kwargs: name != "ninja" and which(name, **kwargs))
    progress = Progress()
    build_engine(CPU, tree, cache, 1, progress)
    compiled = [done for what, done in progress if what == "compiling" and done is not None]
    assert compiled == sorted(compiled)
    assert 0 < compiled[0] < compiled[-1] == 1


@needs_cmake
def test_the_same_archive_is_compiled_again_only_for_another_recipe_or_a_changed_engine(
    tree: Path, tmp_path: Path, cache: Path
) -> None:
    archive = pack(tree, tmp_path / "a.tar.gz")

    def is_compiled(recipe: Recipe) -> bool:
        progress = Progress()
        build_engine(recipe, archive, cache, 1, progress)
        return ("compiling", 1.0) in progress

    assert is_compiled(CPU)
    assert not is_compiled(CPU)
    assert is_compiled(Recipe(native=False))
    (cache / "engines" / CPU.name / "llama-server").write_text("damaged")
    assert is_compiled(Recipe(native=False))


@needs_cmake
@pytest.mark.parametrize(
    ("more", "fragments"),
    [
        ('message(FATAL_ERROR "no such thing")', ["Configuring", "CMake Error", "no such thing"]),
        (BROKEN, ["Compiling", "main.cpp:1:1: error: expected a semicolon"]),
    ],
)
def test_a_build_that_fails_says_why_and_leaves_the_engine_that_was_there(
    tree: Path, cache: Path, more: str, fragments: list[str]
) -> None:
    before = cache / "engines" / CPU.name / "llama-server"
    before.parent.mkdir(parents=True)
    before.write_text("the one before")
    (before.parent / "build.json").touch()
    lay_out(tree, more)
    with pytest.raises(CommandFailure) as failed:
        build_engine(CPU, tree, cache, 1, Progress())
    assert all(fragment in str(failed.value) for fragment in fragments)
    log = cache / "engines" / f"{CPU.name}.log"
    assert str(log) in str(failed.value)
    assert fragments[-1] in log.read_text()
    assert before.read_text() == "the one before"
    assert leftovers(cache) == []


@needs_cmake
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build_leaves_nothing_behind_and_nothing_running(
    start_warmgate: Callable[..., Warmgate], tree: Path, tmp_path: Path, cache: Path, number: int, status: int
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    lay_out(tree, f"execute_process(COMMAND cat {fifo})")
    gate = start_warmgate("engine", "build", "--cpu", "--source", str(tree), WARMGATE_CACHE_DIR=str(cache))
    with fifo.open("wb") as pipe:  # opened: now it is cat that waits
        gate.process.send_signal(number)
        assert gate.wait() == status
        poll = select.poll()
        poll.register(pipe, select.POLLERR)
        assert poll.poll(WAIT_MS) == [(pipe.fileno(), select.POLLERR)]  # cat is gone
    assert "Traceback" not in gate.output
    assert leftovers(cache) == []


@pytest.mark.skipif(not shutil.which("cmake") or not shutil.which("cc"), reason="cmake or a C compiler is missing")
def test_the_real_compiler_is_used(tmp_path: Path, cache: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "CMakeLists.txt").write_text(
        'cmake_minimum_required(VERSION 3.14)\nproject("llama.cpp" C)\n'
        "set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)\n"
        "add_executable(llama-server main.c)\n"
        "target_compile_definitions(llama-server PRIVATE NUMBER=${LLAMA_BUILD_NUMBER})\n"
    )
    (tree / "main.c").write_text('#include <stdio.h>\nint main(void) { printf("%d %s", NUMBER, "compiled"); }\n')
    engine = build_engine(CPU, tree, cache, 2, Progress())
    assert subprocess.run([engine], capture_output=True, check=True).stdout == b"11549 compiled"
    assert find_engine(engine, cache).gemma4_template is None  # this tree had none


# The command.


@needs_cmake
def test_the_command_builds_what_serve_then_finds(
    start_warmgate: Callable[..., Warmgate], tree: Path, cache: Path
) -> None:
    path = f"{cache}/engines/b11549-cpu/llama-server"
    gate = start_warmgate("engine", "build", "--cpu", "--source", str(tree), WARMGATE_CACHE_DIR=str(cache))
    assert gate.wait() == 0
    assert gate.output.startswith("configuring ...\ncompiling ...\n")
    assert "\ncompiling 100 %\nready b11549-cpu, " in gate.output
    assert f": {path}\n" in gate.output
    (engine,) = (engine for engine in find_engines(None, cache) if engine.found == "cache")
    info = probe_engine(engine, cache)
    assert (str(engine.path), info.build.number, info.gemma4) == (path, 11549, True)


def test_cpu_and_gpu_exclude_each_other() -> None:
    with pytest.raises(CommandFailure, match="--cpu and --cuda-arch exclude each other"):
        build_command(cpu=True, cuda_arch=["89"])
