from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from server_supervisor.build import OLDER, Build, UnknownFlag, read_flags, read_number, spell
from server_supervisor.plan import Endpoint, LaunchPlan, TcpEndpoint, UnixEndpoint
from server_supervisor.xllamacpp_server import parse_args

HELP = Path(__file__).parents[1] / "app" / "recorded" / "llama-server-b11549.help"

UNIX = UnixEndpoint(Path("/run/warmgate/llama.sock"))
TCP = TcpEndpoint("127.0.0.1", 9931)

MINIMAL = LaunchPlan(model=Path("/models/m.gguf"), alias="m", slots=1, ctx_per_slot=4096)
FULL = LaunchPlan(
    model=Path("/models/gemma.gguf"),
    alias="gemma-4-26b",
    slots=4,
    ctx_per_slot=8192,
    mmproj=Path("/models/mmproj.gguf"),
    chat_template_file=Path("/models/template.jinja"),
    reasoning_format="deepseek",
    threads=8,
    gpu_layers=999,
    flash_attn="on",
    cache_type_k="q8_0",
    cache_type_v="q8_0",
    batch_size=2048,
    ubatch_size=512,
    load_mode="none",
    fit="off",
    cache_ram_mib=0,
    kv_unified=True,
    cache_idle_slots=False,
    ctx_checkpoints=3,
    spec_type="draft-mtp",
    spec_draft_model=Path("/models/drafter.gguf"),
    spec_draft_n_max=2,
    temperature=1.0,
    top_p=0.95,
    sse_ping_interval=5,
)


def test_a_minimal_plan_leaves_everything_else_to_llama_servers_own_defaults() -> None:
    assert MINIMAL.argv(UNIX) == [
        *("--model", "/models/m.gguf"),
        *("--alias", "m"),
        *("--parallel", "1"),
        *("--ctx-size", "4096"),
        *("--sse-ping-interval", "10"),
        *("--host", "/run/warmgate/llama.sock"),
        *("--metrics", "--no-ui", "--offline"),
    ]


def test_a_full_plan_says_everything_and_gives_the_slots_context_as_one_sum() -> None:
    assert FULL.argv(TCP) == [
        *("--model", "/models/gemma.gguf"),
        *("--alias", "gemma-4-26b"),
        *("--parallel", "4"),
        *("--ctx-size", "32768"),
        *("--mmproj", "/models/mmproj.gguf"),
        *("--chat-template-file", "/models/template.jinja"),
        *("--reasoning-format", "deepseek"),
        *("--threads", "8"),
        *("--n-gpu-layers", "999"),
        *("--flash-attn", "on"),
        *("--cache-type-k", "q8_0"),
        *("--cache-type-v", "q8_0"),
        *("--batch-size", "2048"),
        *("--ubatch-size", "512"),
        *("--load-mode", "none"),
        *("--fit", "off"),
        *("--kv-unified-per-slot", "8192"),
        *("--cache-ram", "0"),
        *("--ctx-checkpoints", "3"),
        *("--spec-type", "draft-mtp"),
        *("--spec-draft-model", "/models/drafter.gguf"),
        *("--spec-draft-n-max", "2"),
        *("--temp", "1.0"),
        *("--top-p", "0.95"),
        *("--sse-ping-interval", "5"),
        *("--host", "127.0.0.1", "--port", "9931"),
        *("--metrics", "--no-ui", "--offline", "--kv-unified", "--no-cache-idle-slots"),
    ]


def test_the_full_plan_above_leaves_no_field_out() -> None:
    unset = [field.name for field in dataclasses.fields(FULL) if getattr(FULL, field.name) == field.default]
    assert unset == []


def test_zero_is_a_value_and_not_an_absence() -> None:
    plan = dataclasses.replace(MINIMAL, gpu_layers=0, temperature=0.0, ctx_checkpoints=0)
    assert {"--n-gpu-layers", "--temp", "--ctx-checkpoints"} <= set(plan.argv(UNIX))


@pytest.mark.parametrize("endpoint", [UNIX, TCP])
def test_the_engine_from_the_wheel_knows_every_flag_of_a_full_plan(endpoint: Endpoint, tmp_path: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages }}")
    assert parse_args(dataclasses.replace(FULL, chat_template_file=template).argv(endpoint))


def test_clients_of_a_unix_socket_are_told_its_path() -> None:
    assert UNIX.url == "unix:/run/warmgate/llama.sock"


def test_clients_of_a_port_are_told_a_url() -> None:
    assert TCP.url == "http://127.0.0.1:9931"


# One plan, told to builds of different ages.


def build(number: int, *, without: str, switches: str, like: Build) -> Build:
    """Return a build that knows other flags than `like`: it lacks some, and has switches that `like` lacks."""
    flags = {flag: takes for flag, takes in like.flags.items() if flag not in without.split()}
    return Build(number, flags | dict.fromkeys(switches.split(), ""))


B11549 = Build(11549, read_flags(HELP.read_text()))
SPRING_2026 = build(
    8800,
    without="--load-mode --no-ui --sse-ping-interval",
    switches="--mlock --mmap --no-mmap --direct-io",
    like=B11549,
)
SPRING_2025 = build(
    5000,
    without="--fit --cache-ram --no-cache-idle-slots --ctx-checkpoints --swa-checkpoints --offline --mmap --direct-io",
    switches="--flash-attn",
    like=SPRING_2026,
)
OLD_FULL = dataclasses.replace(FULL, sse_ping_interval=-1)


def test_todays_build_is_told_a_plan_as_it_is() -> None:
    assert FULL.argv(TCP, B11549) == FULL.argv(TCP)


def test_a_build_before_the_renames_is_told_the_same_in_its_own_words() -> None:
    assert OLD_FULL.argv(UNIX, SPRING_2026) == [
        *("--model", "/models/gemma.gguf"),
        *("--alias", "gemma-4-26b"),
        *("--parallel", "4"),
        *("--ctx-size", "32768"),
        *("--mmproj", "/models/mmproj.gguf"),
        *("--chat-template-file", "/models/template.jinja"),
        *("--reasoning-format", "deepseek"),
        *("--threads", "8"),
        *("--n-gpu-layers", "999"),
        *("--flash-attn", "on"),
        *("--cache-type-k", "q8_0"),
        *("--cache-type-v", "q8_0"),
        *("--batch-size", "2048"),
        *("--ubatch-size", "512"),
        "--no-mmap",
        *("--fit", "off"),
        *("--kv-unified-per-slot", "8192"),
        *("--cache-ram", "0"),
        *("--ctx-checkpoints", "3"),
        *("--spec-type", "draft-mtp"),
        *("--spec-draft-model", "/models/drafter.gguf"),
        *("--spec-draft-n-max", "2"),
        *("--temp", "1.0"),
        *("--top-p", "0.95"),
        *("--host", "/run/warmgate/llama.sock"),
        *("--metrics", "--no-webui", "--offline", "--kv-unified", "--no-cache-idle-slots"),
    ]


def test_a_build_without_a_feature_is_not_told_to_do_without_it() -> None:
    assert OLD_FULL.argv(UNIX, SPRING_2025) == [
        *("--model", "/models/gemma.gguf"),
        *("--alias", "gemma-4-26b"),
        *("--parallel", "4"),
        *("--ctx-size", "32768"),
        *("--mmproj", "/models/mmproj.gguf"),
        *("--chat-template-file", "/models/template.jinja"),
        *("--reasoning-format", "deepseek"),
        *("--threads", "8"),
        *("--n-gpu-layers", "999"),
        "--flash-attn",
        *("--cache-type-k", "q8_0"),
        *("--cache-type-v", "q8_0"),
        *("--batch-size", "2048"),
        *("--ubatch-size", "512"),
        "--no-mmap",
        *("--kv-unified-per-slot", "8192"),
        *("--spec-type", "draft-mtp"),
        *("--spec-draft-model", "/models/drafter.gguf"),
        *("--spec-draft-n-max", "2"),
        *("--temp", "1.0"),
        *("--top-p", "0.95"),
        *("--host", "/run/warmgate/llama.sock"),
        *("--metrics", "--no-webui", "--kv-unified"),
    ]


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("auto", []),
        ("none", ["--no-mmap"]),
        ("mmap", ["--mmap"]),
        ("mlock", ["--no-mmap", "--mlock"]),
        ("mmap+mlock", ["--mlock"]),
        ("dio", ["--direct-io"]),
    ],
)
def test_each_load_mode_has_its_old_switches(mode: str, words: list[str]) -> None:
    assert spell("--load-mode", mode, SPRING_2026) == words
    assert spell("--load-mode", mode, B11549) == ["--load-mode", mode]


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--flash-attn", "off", []),
        ("--flash-attn", "auto", []),
        ("--load-mode", "mmap", []),  # what it does by itself
        ("--no-ui", None, ["--no-webui"]),
    ],
)
def test_what_an_old_build_does_by_itself_is_not_said(flag: str, value: str | None, words: list[str]) -> None:
    assert spell(flag, value, SPRING_2025) == words


def test_checkpoints_are_limited_under_their_first_name() -> None:
    autumn_2025 = build(6200, without="--ctx-checkpoints", switches="", like=B11549)
    assert spell("--ctx-checkpoints", "3", autumn_2025) == ["--swa-checkpoints", "3"]


@pytest.mark.parametrize(
    ("change", "words", "instead"),
    [
        ({"fit": "on"}, "--fit on", ["--fit off"]),
        ({"load_mode": "dio"}, "--load-mode dio", ["--load-mode auto", "--load-mode mmap"]),
        ({"sse_ping_interval": 10}, "--sse-ping-interval 10", ["--sse-ping-interval -1"]),
    ],
)
def test_what_an_old_build_cannot_be_told_is_named_with_what_it_can_do(
    change: dict[str, object], words: str, instead: list[str]
) -> None:
    plan = dataclasses.replace(OLD_FULL, **change)  # type: ignore[arg-type]
    with pytest.raises(UnknownFlag) as raised:
        plan.argv(UNIX, SPRING_2025)
    assert (raised.value.words, raised.value.instead) == (words, instead)
    assert "#" in raised.value.since  # an upstream pull request


@pytest.mark.parametrize("flag", ["--reasoning-format", "--metrics"])
def test_an_unknown_flag_is_named_before_anything_is_started(flag: str) -> None:
    with pytest.raises(UnknownFlag, match=f"^{flag}"):
        OLD_FULL.argv(UNIX, build(5000, without=flag, switches="", like=SPRING_2025))


def test_a_flag_that_changed_its_kind_is_unknown() -> None:
    with pytest.raises(UnknownFlag, match="--threads 8"):
        FULL.argv(UNIX, build(12000, without="", switches="--threads", like=B11549))


def test_the_table_of_older_spellings_is_about_flags_that_a_plan_uses() -> None:
    assert OLDER.keys() <= set(FULL.argv(UNIX))


def test_the_table_of_older_spellings_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "engines.md").read_text()
    assert [flag for flag, older in OLDER.items() if f"`{flag}" not in page or older.since not in page] == []


# What a build says of itself.


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("version: 0.4.1-dev (build 10991, commit 930e2fa59)\nbuilt with GNU 12.2.0 for Linux x86_64\n", 10991),
        ("ggml_cuda_init: found 1 ROCm devices:\nversion: 8763 (ff5ef8278)\nbuilt with GNU 15.2.1\n", 8763),
        ("version: 11549 (xllamacpp 2026.10.11549)\n", 11549),
        ("version: 0.6.0-dev (build 0, commit unknown)\n", None),  # compiled outside of git
        ("version: 0 (unknown)\n", None),
        ("version: 0.2.0-dev (build 1, commit 8a1c34e)\n", None),  # from a shallow clone
        ("nonsense", None),
    ],
)
def test_the_build_number_is_read_in_all_its_forms(version: str, number: int | None) -> None:
    assert read_number(version) == number


def test_the_help_tells_each_spelling_and_what_it_takes() -> None:
    known = {flag: B11549.flags[flag] for flag in ("-lm", "--load-mode", "-kvo", "--no-kv-offload", "--parallel")}
    assert known == {"-lm": "MODE", "--load-mode": "MODE", "-kvo": "", "--no-kv-offload": "", "--parallel": "N"}
    assert len(B11549.flags) == 407


def test_flags_that_the_help_lists_as_removed_are_unknown() -> None:
    assert "--draft-max" not in B11549.flags
    assert "--spec-draft-n-max" in B11549.flags
