"""Each way a command can fail to start ends in one clear sentence and a non-zero status."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Warmgate


def assert_one_sentence(gate: Warmgate, *fragments: str) -> None:
    """It failed, and its last line is a sentence of ours with these fragments in it."""
    assert gate.wait() != 0
    last = gate.output.strip().splitlines()[-1]
    assert last.startswith("warmgate: ")
    assert last.endswith((".", "?"))
    for fragment in fragments:
        assert fragment in last
    assert "Traceback" not in gate.output


def test_a_corrupt_model(start_warmgate: Callable[..., Warmgate], tmp_path: Path) -> None:
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(os.urandom(100_000))
    assert_one_sentence(start_warmgate("serve", "--port", "0", "--model", str(junk)), str(junk), "GGUF")


def test_a_truncated_model(start_warmgate: Callable[..., Warmgate], tmp_path: Path, model_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    with model_path.open("rb") as whole:
        cut.write_bytes(whole.read(20_000_000))
    assert_one_sentence(start_warmgate("serve", "--port", "0", "--model", str(cut)), str(cut), "truncated")


def test_a_model_that_only_the_engine_finds_broken(
    start_warmgate: Callable[..., Warmgate], tmp_path: Path, model_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    # same length, so the header's account is right; but the engine does not know this architecture
    broken.write_bytes(
        model_path.read_bytes().replace(
            b"\x05\x00\x00\x00\x00\x00\x00\x00llama", b"\x05\x00\x00\x00\x00\x00\x00\x00lluma", 1
        )
    )
    assert_one_sentence(start_warmgate("serve", "--port", "0", "--model", str(broken)), "architecture", "lluma")


def test_a_missing_model(start_warmgate: Callable[..., Warmgate]) -> None:
    assert_one_sentence(start_warmgate("serve", "--port", "0", "--model", "/nowhere/model.gguf"), "/nowhere/model.gguf")


def test_a_taken_port(start_warmgate: Callable[..., Warmgate]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert_one_sentence(start_warmgate("serve", "--port", port), port, "in use", "--port")


def test_a_missing_engine(start_warmgate: Callable[..., Warmgate]) -> None:
    gate = start_warmgate("serve", "--port", "0", "--llama-server", "/nowhere/llama-server")
    assert_one_sentence(gate, "/nowhere/llama-server", "does not exist")


def test_an_engine_that_is_none(start_warmgate: Callable[..., Warmgate], tmp_path: Path) -> None:
    engine = tmp_path / "llama-server"
    engine.write_text("#!/nowhere/interpreter\n")
    engine.chmod(0o755)
    assert_one_sentence(
        start_warmgate("serve", "--port", "0", "--llama-server", str(engine)), str(engine), "cannot be run"
    )


def test_an_engine_that_does_not_know_our_flags(start_warmgate: Callable[..., Warmgate], tmp_path: Path) -> None:
    engine = tmp_path / "llama-server"
    engine.write_text("#!/bin/sh\necho 'error: invalid argument: --fit' >&2\nexit 1\n")
    engine.chmod(0o755)
    assert_one_sentence(start_warmgate("serve", "--port", "0", "--llama-server", str(engine)), "--fit")


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["serve", "--modle", "x"], "--modle"),
        (["sevre"], "sevre"),
        (["gateway"], "--upstream"),
        (["gateway", "--upstream", "ftp://x"], "ftp://x"),
        (["serve", "--port", "hello"], "--port"),
        (["serve", "--port", "99999"], "--port"),
        (["serve", "--profile", "smollm2-135"], "smollm2-135m"),
        (["serve", "--log-level", "loud"], "--log-level"),
        (["serve", "--profile", "any-gguf"], "--model"),
        (["engine", "path", "--llama-server", "~nobody-of-this-name/x"], "--llama-server"),
        (["plan", "--model", "~nobody-of-this-name/x"], "--model"),
    ],
)
def test_a_wrong_flag_is_named(start_warmgate: Callable[..., Warmgate], arguments: list[str], fragment: str) -> None:
    assert_one_sentence(start_warmgate(*arguments), fragment)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WARMGATE_SCRAPE_SECONDS", "1"),
        ("WARMGATE_OVERRIDES", "slots=2"),
        ("WARMGATE_OTLP_ENDPOINT", "localhost:4318"),
        ("WARMGATE_CACHE_DIR", "~nobody-of-this-name/x"),
    ],
)
def test_a_wrong_setting_is_named_with_its_variable(
    start_warmgate: Callable[..., Warmgate], variable: str, value: str
) -> None:
    assert_one_sentence(start_warmgate("serve", **{variable: value}), variable)


def test_a_host_that_cannot_be_a_name(start_warmgate: Callable[..., Warmgate]) -> None:
    gate = start_warmgate("serve", "--host", "a..b", WARMGATE_API_KEYS="me:sk-test-4d1f0c")
    assert_one_sentence(gate, "a..b", "--host")


def test_too_long_a_path_for_temporary_files(start_warmgate: Callable[..., Warmgate], tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    assert_one_sentence(start_warmgate("serve", "--port", "0", TMPDIR=str(folder)), "TMPDIR")


def test_what_is_quoted_is_shown_as_it_is(start_warmgate: Callable[..., Warmgate], tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_text("root:x:0:0:root")
    assert_one_sentence(start_warmgate("plan", "--model", str(model)), "root:x:0:0:root")


def test_unreadable_keys_are_refused_without_being_shown(start_warmgate: Callable[..., Warmgate]) -> None:
    gate = start_warmgate("serve", WARMGATE_API_KEYS="a:sk-secret,a:sk-other")
    assert_one_sentence(gate, "WARMGATE_API_KEYS")
    assert "sk-" not in gate.output


def test_a_public_address_needs_a_key(start_warmgate: Callable[..., Warmgate]) -> None:
    assert_one_sentence(start_warmgate("serve", "--host", "0.0.0.0"), "0.0.0.0", "WARMGATE_API_KEYS")
