"""Which llama-server is found, what it says of itself, and what is made of that. Engines here are shell scripts."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app import engine_probe
from app.engine import GEMMA4_TEMPLATE, Engine, find_engine, find_engines
from app.engine_probe import check_gemma4, engine_argv, probe_engine
from app.failure import CommandFailure
from server_supervisor.llama_flags import FLAGS
from server_supervisor.plan import LaunchPlan, UnixEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Warmgate

HELP = Path(__file__).with_name("recorded") / "llama-server-b11549.help"
NEWER_THAN_GEMMA4 = "--load-mode", "--sse-ping-interval"

# As b11549 prints them, compiled outside of git, and as the source of b11549 says they are printed for a GPU.
VERSION = "version: 0.6.0-dev (build 0, commit unknown)\nbuilt with GNU 12.2.0 for Linux x86_64\n"
NO_DEVICES = "Available devices:\n  (none)\n"
H100 = "Available devices:\n  CUDA0: NVIDIA H100 80GB HBM3 (81079 MiB, 80541 MiB free)\n"
NO_GPU = "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected\n"

PLAN = LaunchPlan(model=Path("/m.gguf"), alias="m", slots=1, ctx_per_slot=4096, load_mode="none")
ENDPOINT = UnixEndpoint(Path("/run/llama.sock"))


class FakeEngine:
    """A script in a llama-server's place, which writes down what it is asked."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "llama-server"
        self._asked = folder / "asked"

    def answering(
        self, *, usage: str | None = None, version: str = VERSION, devices: str = NO_DEVICES, noise: str = ""
    ) -> Engine:
        answers = {"--help": usage or HELP.read_text(), "--version": version, "--list-devices": devices}
        for question, answer in answers.items():
            self.path.with_name(f"answer{question}").write_text(answer)
        return self.running(
            f'echo "$1" >>{self._asked}; printf %s {shlex.quote(noise)} >&2; cat {self.path.parent}/answer$1'
        )

    def running(self, script: str) -> Engine:
        self.path.write_text(f"#!/bin/sh\n{script}\n")
        self.path.chmod(0o755)
        return Engine((str(self.path),), "--llama-server", self.path)

    @property
    def asked(self) -> list[str]:
        return self._asked.read_text().split()


def help_without(*flags: str) -> str:
    """Return b11549's help as if some flags were not there, which stand alone in their entries."""
    lines = HELP.read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not any(flag in line.split("  ")[0].split() for flag in flags))


@pytest.fixture
def fake(tmp_path: Path) -> FakeEngine:
    return FakeEngine(tmp_path / "fake")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that alone is on PATH, but for the shell's own tools."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    if shutil.which("llama-server"):
        pytest.skip("this machine has a llama-server of its own in /usr/bin")
    return folder


# Where it is found.


def test_the_order_is_explicit_then_path_then_newest_build_then_wheel(
    fake: FakeEngine, cache: Path, empty_path: Path
) -> None:
    fake.answering()
    FakeEngine(empty_path).answering()
    for name, mtime in ("b2-cpu", 2000), ("b1-cpu", 1000), ("b3-cuda", 3000):
        build = FakeEngine(cache / "engines" / name)
        build.answering()
        os.utime(build.path, (mtime, mtime))
    assert [(engine.found, engine.path.parent.name) for engine in find_engines(fake.path, cache)] == [
        ("--llama-server", "fake"),
        ("PATH", "path"),
        ("cache", "b3-cuda"),
        ("cache", "b2-cpu"),
        ("cache", "b1-cpu"),
        ("wheel", "xllamacpp"),
    ]
    assert find_engine(fake.path, cache) == next(find_engines(fake.path, cache))
    assert find_engine(None, cache).path.parent == empty_path


@pytest.mark.usefixtures("empty_path")
def test_without_any_engine_the_ways_to_one_are_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(CommandFailure, match=r"PATH.*--llama-server.*engine build.*make install"):
        find_engine(None, cache)


@pytest.mark.parametrize("template", ["templates", "../../models/templates"])
def test_an_engines_own_gemma4_template_is_found_beside_it_or_in_its_source_tree(tmp_path: Path, template: str) -> None:
    engine = FakeEngine(tmp_path / "build" / "bin")
    there = (engine.path.parent / template).resolve() / GEMMA4_TEMPLATE
    assert engine.answering().gemma4_template is None
    there.parent.mkdir(parents=True)
    there.touch()
    assert engine.answering().gemma4_template == there


# What it says of itself.


def test_the_real_b11549s_answers_are_understood(fake: FakeEngine, cache: Path) -> None:
    info = probe_engine(fake.answering(), cache)
    assert info.build.number is None
    assert info.build.flags["--load-mode"] == "MODE"
    assert info.backends == ("CPU",)
    assert info.gemma4 is True  # newer flags tell


@pytest.mark.parametrize(
    ("devices", "noise", "backends"),
    [
        (H100, "", ("CUDA", "CPU")),
        (NO_DEVICES, NO_GPU, ("CUDA", "CPU")),  # it could, on another machine
        (
            H100.replace("CUDA0", "Vulkan0"),
            "load_backend: loaded CPU backend from /x/libggml-cpu.so\n",
            ("Vulkan", "CPU"),
        ),
        (NO_DEVICES, "0.00.001 I load_backend: loaded RPC backend from /x/libggml-rpc.so\n", ("RPC", "CPU")),
    ],
)
def test_backends_are_told_by_devices_and_by_what_is_said_about_them(
    fake: FakeEngine, cache: Path, devices: str, noise: str, backends: tuple[str, ...]
) -> None:
    assert probe_engine(fake.answering(devices=devices, noise=noise), cache).backends == backends


def test_a_build_that_cannot_list_devices_is_not_asked_to(fake: FakeEngine, cache: Path) -> None:
    probe_engine(fake.answering(usage=help_without("--list-devices")), cache)
    assert fake.asked == ["--help", "--version"]


def test_the_same_files_are_asked_once(fake: FakeEngine, cache: Path) -> None:
    engine = fake.answering()
    assert probe_engine(engine, cache) == probe_engine(engine, cache)
    assert fake.asked == ["--help", "--version", "--list-devices"]


@pytest.mark.parametrize("change", ["executable", "library", "memory"])
def test_it_is_asked_again_when_it_or_what_was_remembered_changes(fake: FakeEngine, cache: Path, change: str) -> None:
    engine = fake.answering()
    probe_engine(engine, cache)
    match change:
        case "executable":
            fake.answering(version="version: 9000 (abc)\n", noise=" ")
        case "library":
            engine.path.with_name("libllama.so.0").touch()
        case "memory":
            (note,) = (cache / "probed").iterdir()
            note.write_bytes(note.read_bytes()[:100])
    probe_engine(engine, cache)
    assert fake.asked.count("--version") == 2


def test_a_cache_that_cannot_be_used_only_means_to_be_asked_each_time(fake: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    engine = fake.answering()
    assert probe_engine(engine, tmp_path / "file") == probe_engine(engine, tmp_path / "file")
    assert fake.asked.count("--version") == 2


def test_it_learns_no_secrets_and_no_settings(fake: FakeEngine, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMGATE_API_KEYS", "me:sk-secret")
    monkeypatch.setenv("LLAMA_ARG_MODEL", "/other.gguf")
    seen = fake.path.with_name("seen")
    with pytest.raises(CommandFailure):
        probe_engine(fake.running(f"env >{seen}"), cache)
    assert "HOME=/nonexistent" in seen.read_text()
    assert not {"WARMGATE", "LLAMA_ARG"} & {line.partition("_")[0] for line in seen.read_text().splitlines()}
    assert "sk-secret" not in seen.read_text()


@pytest.mark.parametrize(
    ("script", "fragments"),
    [
        ("echo hello", ["no llama-server", "--help"]),
        ("echo 'error: invalid argument: --help' >&2; exit 1", ["does not know the flag --help"]),
        (
            "echo './llama-server: error while loading shared libraries: libcublas.so.13: cannot open' >&2; exit 127",
            ["cannot be run", "libcublas.so.13"],
        ),
        ("kill -9 $$", ["SIGKILL"]),
    ],
)
def test_an_engine_that_does_not_answer_is_refused(
    fake: FakeEngine, cache: Path, script: str, fragments: list[str]
) -> None:
    with pytest.raises(CommandFailure) as refused:
        probe_engine(fake.running(script), cache)
    assert all(fragment in str(refused.value) for fragment in fragments)
    assert str(refused.value).endswith(".")


def test_an_engine_that_hangs_is_given_up(fake: FakeEngine, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_probe, "ANSWER_SECONDS", 0.1)
    with pytest.raises(CommandFailure, match=r"did not answer --help within 0\.1 s"):
        probe_engine(fake.running("exec tail -f /dev/null"), cache)


def test_a_script_without_its_interpreter_cannot_be_run(fake: FakeEngine, cache: Path) -> None:
    engine = fake.running("")
    fake.path.write_text("#!/nowhere/sh\n")
    with pytest.raises(CommandFailure, match=r"cannot be run: No such file"):
        probe_engine(engine, cache)


@pytest.mark.usefixtures("empty_path")
def test_the_wheel_tells_its_build_and_every_flag_that_it_takes(cache: Path) -> None:
    info = probe_engine(find_engine(None, cache), cache)
    flags = {name: flag.metavar.partition(" ")[0] for flag in FLAGS for name in (*flag.names, *flag.off)}
    assert (info.build.number, info.build.flags, info.gemma4) == (11549, flags, True)


# What is made of it.


@pytest.mark.parametrize(
    ("number", "newer_flags", "gemma4"),
    [(8664, True, False), (8665, False, True), (11549, True, True), (1, True, True), (1, False, None)],
)
def test_gemma4_is_told_by_the_number_or_else_by_newer_flags(
    fake: FakeEngine, cache: Path, number: int, newer_flags: bool, gemma4: bool | None
) -> None:
    usage = HELP.read_text() if newer_flags else help_without("-lm,", *NEWER_THAN_GEMMA4)
    engine = fake.answering(usage=usage, version=f"version: {number} (20efe75cf)\n")
    info = probe_engine(engine, cache)
    assert info.gemma4 is gemma4
    if gemma4 is False:
        with pytest.raises(CommandFailure, match=r"fake/llama-server .* is build b8664, and Gemma 4 needs b8665"):
            check_gemma4(engine, info)
    else:
        note = check_gemma4(engine, info)
        assert note is None if gemma4 else note and "needs b8665" in note


def test_the_command_line_is_in_the_engines_own_words(fake: FakeEngine, cache: Path) -> None:
    engine = fake.answering(usage=help_without("-lm,") + "--no-mmap      do not memory-map\n")
    argv = engine_argv(engine, probe_engine(engine, cache), PLAN, ENDPOINT)
    assert argv[0] == str(fake.path)
    assert "--no-mmap" in argv
    assert "--load-mode" not in argv


def test_a_flag_that_the_engine_lacks_is_refused_before_the_start(fake: FakeEngine, cache: Path) -> None:
    engine = fake.answering(usage=help_without("--sse-ping-interval"), version="version: 9000 (20efe75cf)\n")
    with pytest.raises(CommandFailure) as refused:
        engine_argv(engine, probe_engine(engine, cache), PLAN, ENDPOINT)
    assert str(refused.value) == (
        f"The engine {fake.path} (--llama-server) is build b9000, which does not know `--sse-ping-interval 10` "
        "(new in llama.cpp b9478, #24013, June 2026): update it, compile one with `warmgate engine build`, "
        "or do with `--sse-ping-interval -1`."
    )
    silent = dataclasses.replace(PLAN, sse_ping_interval=-1)
    assert "--sse-ping-interval" not in engine_argv(engine, probe_engine(engine, cache), silent, ENDPOINT)


# The commands.

PROBLEM = "The engine {} (PATH) does not answer --help: llama-server ended with code 3: it printed nothing."


@pytest.fixture
def engines(fake: FakeEngine, cache: Path, empty_path: Path) -> dict[str, str]:
    """Lay out a broken engine on PATH and a good one in the cache, and return the environment that shows them."""
    fake.answering()
    FakeEngine(empty_path).running("exit 3")
    FakeEngine(cache / "engines" / "b11549-cuda").answering(
        version="version: 0.6.0-dev (build 11549, commit unknown)\n", devices=H100
    )
    return {"PATH": os.environ["PATH"], "WARMGATE_CACHE_DIR": str(cache)}


def test_the_list_shows_each_engine_and_which_one_is_used(
    start_warmgate: Callable[..., Warmgate], engines: dict[str, str], cache: Path, empty_path: Path
) -> None:
    gate = start_warmgate("engine", "list", **engines)
    assert gate.wait() == 0
    wheel = f"{sys.executable} -P -m server_supervisor.xllamacpp_server"
    assert gate.output.splitlines() == [
        "   FOUND  BUILD   BACKENDS   GEMMA 4  COMMAND",
        f"→  PATH   -       -          -        {empty_path}/llama-server",
        f"   {PROBLEM.format(empty_path / 'llama-server')}",
        f"   cache  b11549  CUDA, CPU  yes      {cache}/engines/b11549-cuda/llama-server",
        f"   wheel  b11549  CPU        yes      {wheel}",
    ]


def test_the_list_for_programs(
    start_warmgate: Callable[..., Warmgate], engines: dict[str, str], cache: Path, fake: FakeEngine
) -> None:
    gate = start_warmgate("engine", "list", "--json", "--llama-server", str(fake.path), **engines)
    assert gate.wait() == 0
    explicit, on_path, built, wheel = json.loads(gate.output)
    assert explicit == {
        "used": True,
        "found": "--llama-server",
        "command": [str(fake.path)],
        "build": None,
        "backends": ["CPU"],
        "gemma4": True,
        "problem": None,
    }
    assert on_path["problem"] == PROBLEM.format(on_path["command"][0])
    assert (built["command"], built["build"]) == ([str(cache / "engines" / "b11549-cuda" / "llama-server")], 11549)
    assert [row["used"] for row in (on_path, built, wheel)] == [False, False, False]


@pytest.mark.usefixtures("empty_path")
def test_the_path_is_a_command_for_scripts(
    start_warmgate: Callable[..., Warmgate], fake: FakeEngine, cache: Path
) -> None:
    fake.answering()
    gate = start_warmgate("engine", "path", "--llama-server", str(fake.path), WARMGATE_CACHE_DIR=str(cache))
    assert (gate.wait(), gate.output) == (0, f"{fake.path}\n")
    gate = start_warmgate("engine", "path", WARMGATE_CACHE_DIR=str(cache), PATH=os.environ["PATH"])
    assert gate.wait() == 0
    answer = subprocess.run([*shlex.split(gate.output), "--version"], capture_output=True, text=True, check=True)
    assert "11549" in answer.stderr
