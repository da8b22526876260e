"""`recorded/` holds what llama-server b11549, its twin from the wheel or the dynamic loader printed before the end."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import httpx
import pytest

from server_supervisor import failures
from server_supervisor.child_log import KEPT_LINES
from server_supervisor.failures import Failure, classify_exit, load_timeout, warm_up_failed

RECORDED = Path(__file__).with_name("recorded")

ENGINE = "./llama-server"
BAD_TEMPLATE = Failure("bad_template", "llama-server refuses the chat template; its last lines say why.", True)
NO_SOCKET = Failure(
    "address_in_use",
    "llama-server could not bind its socket: something else listens there, or there can be no socket.",
    False,
)
NO_MEMORY = Failure(
    "out_of_memory",
    "There is not enough memory for the model and its context: lower the context, the number of slots or "
    "the KV cache's precision, or use a larger machine.",
    True,
)


def recorded(name: str) -> list[str]:
    return (RECORDED / f"{name}.txt").read_text().splitlines()


def refused(flag: str, reason: str) -> Failure:
    return Failure("bad_flag", f"llama-server refuses the value of {flag}: {reason}.", True)


def unknown_flag(flag: str) -> Failure:
    return Failure("bad_flag", f"This llama-server build does not know the flag {flag}.", True)


def cannot_run(reason: str) -> Failure:
    return Failure("engine_missing", f"The engine {ENGINE} cannot be run: {reason}.", True)


def not_gguf(reason: str) -> Failure:
    return Failure("model_corrupt", f"The model file cannot be read as GGUF: {reason}.", True)


def unsupported(what: str) -> Failure:
    return Failure("unsupported_model", f"This llama-server build does not know {what}: use a newer build.", True)


def bad_mmproj(path: str) -> Failure:
    message = f"llama-server cannot use the multimodal projector {path}: is it there, whole, and this model's?"
    return Failure("bad_mmproj", message, True)


def load_failed(reason: str) -> Failure:
    return Failure("load_failed", f"llama-server could not load the model: {reason}.", True)


WHAT_EACH_MEANS = {
    # the command line
    "unknown-flag": unknown_flag("--no-mmap"),
    "bad-value": refused("--flash-attn", "unknown value for --flash-attn: 'maybe'"),
    "bad-number": refused("--threads", "stoi"),
    "no-value": refused("--threads", "expected value for argument"),
    "missing-template": refused("--chat-template-file", "failed to open file 'missing.jinja'"),
    "wheel-unknown-flag": unknown_flag("--no-mmap"),
    "wheel-bad-value": refused("--threads", "invalid value 'many': expected an integer"),
    "wheel-without-model": Failure(
        "bad_flag", "llama-server does not start: --model is required: xllamacpp has no router mode.", True
    ),
    # the chat template
    "bad-template": BAD_TEMPLATE,
    "refused-template": BAD_TEMPLATE,
    "bad-template-inside": BAD_TEMPLATE,
    # the socket
    "socket-taken": NO_SOCKET,
    "port-taken": NO_SOCKET,
    # the model file
    "missing-model": Failure(
        "model_missing", "The model file missing.gguf cannot be opened: No such file or directory.", True
    ),
    "empty": not_gguf("failed to read magic"),
    "junk": not_gguf("invalid magic characters: 'hell', expected 'GGUF'"),
    "truncated-header": not_gguf("failed to read key-value pairs"),
    "truncated": Failure("model_corrupt", "The model file is truncated or corrupt: download it again.", True),
    "newer-gguf": unsupported("version 99 of GGUF"),
    "unknown-architecture": unsupported("the model architecture gemmx"),
    "unknown-tokenizer": unsupported("the tokenizer zzzllm"),
    "missing-key": load_failed("error loading model hyperparameters: key not found in model: llama.block_count"),
    "missing-tensor": load_failed("check_tensor_dims: tensor 'blk.3.attn_q.weight' not found"),
    "bad-mmproj": bad_mmproj("junk.gguf"),
    "missing-mmproj": bad_mmproj("missing.gguf"),
    # the machine
    "out-of-memory": NO_MEMORY,
    "quantized-v": load_failed("quantized V cache requires flash_attn to be enabled"),
    "missing-library": cannot_run("its library libgone.so is missing"),
    "newer-libc": cannot_run("it was built for a newer system, /lib/x86_64-linux-gnu/libc.so.6 has no GLIBC_2.99"),
}


@pytest.mark.parametrize("name", WHAT_EACH_MEANS)
def test_what_it_printed_says_why_it_did_not_start(name: str) -> None:
    assert classify_exit(1, recorded(name), was_ready=False) == WHAT_EACH_MEANS[name]


def test_every_record_is_explained() -> None:
    assert {path.stem for path in RECORDED.glob("*.txt")} == {*WHAT_EACH_MEANS, "assertion"}


def test_an_engine_that_is_not_there_is_named() -> None:
    tail = ["cannot run ./llama-server: No such file or directory"]  # from our own launcher
    assert classify_exit(1, tail, was_ready=False) == cannot_run("No such file or directory")


def test_too_little_gpu_memory_is_too_little_memory() -> None:
    # b11549's source, ggml-cuda.cu and llama-model.cpp
    tail = [
        "0.09.121.001 E alloc_buffer: allocating 15360.00 MiB on device 0: cudaMalloc failed: out of memory",
        "0.09.121.003 E llama_model_load: error loading model: unable to allocate CUDA0 buffer",
        "0.09.140.511 E srv  llama_server: exiting due to model loading error",
    ]
    assert classify_exit(1, tail, was_ready=False) == NO_MEMORY


@pytest.mark.parametrize("was_ready", [True, False])
def test_a_failed_assertion_is_quoted_and_may_go_better_next_time(was_ready: bool) -> None:
    failure = classify_exit(-signal.SIGABRT, recorded("assertion"), was_ready=was_ready)
    message = 'llama-server gave up: GGML_ASSERT(false && "unknown trigger type") failed.'
    assert failure == Failure("aborted", message, deterministic=False)


def test_a_gpu_error_is_quoted_and_may_go_better_next_time() -> None:
    # b11549's source, ggml_cuda_error in ggml-cuda.cu
    tail = [
        "1.12.121.001 E CUDA error: an illegal memory access was encountered",
        "1.12.121.001 E   current device: 0, in function ggml_backend_cuda_synchronize at ggml-cuda.cu:2907",
        "1.12.121.002 E   cudaStreamSynchronize(cuda_ctx->stream())",
        "ggml-cuda.cu:103: CUDA error",
    ]
    message = "llama-server gave up: CUDA error: an illegal memory access was encountered."
    assert classify_exit(-signal.SIGABRT, tail, was_ready=True) == Failure("aborted", message, deterministic=False)


@pytest.mark.parametrize("name", WHAT_EACH_MEANS)
def test_no_end_of_a_server_that_had_worked_is_final(name: str) -> None:
    assert not classify_exit(1, recorded(name), was_ready=True).deterministic


def test_what_was_printed_during_the_start_does_not_explain_a_later_end() -> None:
    tail = [*recorded("bad-mmproj"), "listening", "last words"]
    failure = classify_exit(1, tail, was_ready=True)
    assert failure == Failure("exited", "llama-server ended with code 1: last words.", deterministic=False)


@pytest.mark.parametrize("was_ready", [True, False])
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_from_outside_needs_no_other_explanation(sent: signal.Signals, was_ready: bool) -> None:
    failure = classify_exit(-sent, recorded("out-of-memory"), was_ready=was_ready)
    assert failure == Failure("killed", f"llama-server was ended by {sent.name}.", deterministic=False)


def test_a_crash_without_words_is_named_by_its_signal() -> None:
    failure = classify_exit(-signal.SIGSEGV, ["0.00.529.419 I srv  llama_server: model loaded"], was_ready=True)
    assert failure == Failure("killed", "llama-server was ended by SIGSEGV.", deterministic=False)


def test_a_signal_without_a_name_has_a_number() -> None:
    failure = classify_exit(-40, [], was_ready=True)
    assert failure == Failure("killed", "llama-server was ended by signal 40.", deterministic=False)


def test_an_unknown_reason_is_the_last_line_and_worth_another_try() -> None:
    failure = classify_exit(7, ["first", "  something new  ", "", "   "], was_ready=False)
    assert failure == Failure("exited", "llama-server ended with code 7: something new.", deterministic=False)


def test_silence_is_said_to_be_silence() -> None:
    failure = classify_exit(0, [], was_ready=True)
    assert failure == Failure("exited", "llama-server ended with code 0: it printed nothing.", deterministic=False)


def test_what_a_refused_template_says_is_not_taken_for_the_servers_words() -> None:
    template = ["{# out of memory #}", "{# error: invalid argument: --flag #}", "couldn't bind HTTP server socket"]
    tail = recorded("bad-template") + template
    assert classify_exit(1, tail, was_ready=False) == BAD_TEMPLATE


def test_a_template_that_fills_the_whole_log_is_still_known_by_the_line_after_it() -> None:
    head, *after = recorded("bad-template")
    tail = [head, *["{# a long template #}"] * KEPT_LINES, *after][-KEPT_LINES:]
    assert classify_exit(1, tail, was_ready=False) == BAD_TEMPLATE


def test_braces_in_the_log_are_not_formatting() -> None:
    failure = classify_exit(1, ["error: invalid argument: --{0}{x}"], was_ready=False)
    assert failure == unknown_flag("--{0}{x}")


def test_a_load_timeout_names_the_setting_that_raises_it() -> None:
    message = "llama-server did not become ready within 600 s: raise WARMGATE_LOAD_TIMEOUT_SECONDS?"
    assert load_timeout(600.0) == Failure("load_timeout", message, deterministic=False)


def test_a_failed_warm_up_says_what_failed() -> None:
    message = "llama-server loaded but did not answer: Server disconnected."
    failure = warm_up_failed(httpx.RemoteProtocolError("Server disconnected."))
    assert failure == Failure("warm_up_failed", message, deterministic=False)


def test_a_refused_warm_up_is_told_in_one_line() -> None:
    response = httpx.Response(500, request=httpx.Request("POST", "http://llama-server/v1/chat/completions"))
    with pytest.raises(httpx.HTTPStatusError) as refusal:
        response.raise_for_status()
    assert warm_up_failed(refusal.value).message == (
        "llama-server loaded but did not answer: Server error '500 Internal Server Error' "
        "for url 'http://llama-server/v1/chat/completions'."
    )


def test_a_failed_warm_up_without_words_is_named_by_its_kind() -> None:
    assert warm_up_failed(httpx.ReadTimeout("")).message == "llama-server loaded but did not answer: ReadTimeout."


def test_the_documentation_names_every_kind() -> None:
    page = (Path(__file__).parents[2] / "docs" / "supervision.md").read_text()
    source = Path(failures.__file__).read_text()
    kinds = {sign.kind for sign in failures._SIGNS} | set(re.findall(r'Failure\("(\w+)"', source))
    assert {kind for kind in kinds if f"`{kind}`" not in page} == set()


def test_what_is_restarted_whenever_it_comes_is_what_the_next_start_may_do_better() -> None:
    source = Path(failures.__file__).read_text()
    kinds = {sign.kind for sign in failures._SIGNS if not sign.deterministic}
    kinds |= set(re.findall(r'Failure\("(\w+)".*deterministic=False\)', source))
    kinds |= {"load_timeout", "warm_up_failed"}  # theirs stand on lines of their own
    assert kinds | {"out_of_memory"} == set(failures.RESTARTED)  # that may be short for a moment only
