from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from server_supervisor.plan import Endpoint, LaunchPlan, TcpEndpoint, UnixEndpoint
from server_supervisor.xllamacpp_server import parse_args

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
    ctx_checkpoints=3,
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
        *("--cache-ram", "0"),
        *("--ctx-checkpoints", "3"),
        *("--temp", "1.0"),
        *("--top-p", "0.95"),
        *("--sse-ping-interval", "5"),
        *("--host", "127.0.0.1", "--port", "9931"),
        *("--metrics", "--no-ui", "--offline"),
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
