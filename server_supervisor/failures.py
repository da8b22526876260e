"""What a dead llama-server's last lines mean to the person who must act.

llama-server ends with return code 1 for nearly every failure, so the log's tail is the only evidence. The texts are
those of build b11549; `tests/server_supervisor` keeps what it printed for each one that a machine without a GPU can
provoke.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence


RESTARTED: Final = (
    "aborted",
    "address_in_use",
    "exited",
    "gpu_state_lost",
    "killed",
    "load_timeout",
    "out_of_memory",
    "warm_up_failed",
    "wedged",
)
"""The kinds after which a server is started again, whenever they come. After others it is if it had started well."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the child is not serving.

    Attributes:
        kind: One word for metrics and tests, from a closed set.
        message: One sentence that says what happened and what to do.
        deterministic: The next start would fail the same way, so there is no point in one.
    """

    kind: str
    message: str
    deterministic: bool


@dataclass(frozen=True, slots=True)
class _Sign:
    pattern: str  # of one line, or of its end or middle
    kind: str
    message: str  # may refer to the pattern's groups as {1}
    deterministic: bool = True
    while_serving: bool = False  # may also end a server that had started well


# The first that is found counts, so the specific come before the general. A refused template is echoed whole, and
# what it says must not be taken for the server's own words.
_SIGNS = (
    _Sign(r"^cannot run (.+): (.+)", "engine_missing", "The engine {1} cannot be run: {2}."),
    _Sign(
        r"^(.+): error while loading shared libraries: (.+?): ",
        "engine_missing",
        "The engine {1} cannot be run: its library {2} is missing.",
    ),
    _Sign(
        r"^(.+?): (.+): version `(.+)' not found \(required by",
        "engine_missing",
        "The engine {1} cannot be run: it was built for a newer system, {2} has no {3}.",
    ),
    _Sign(r"^error: invalid argument: (\S+)", "bad_flag", "This llama-server build does not know the flag {1}."),
    _Sign(
        r"^error while handling argument \"([^\"]+)\": (?:error: )?(.*)",
        "bad_flag",
        "llama-server refuses the value of {1}: {2}.",
    ),
    _Sign(
        r"(chat template is not supported|failed to (initialize chat|apply) template|chat template parsing error)",
        "bad_template",
        "llama-server refuses the chat template; its last lines say why.",
    ),
    _Sign(r"^error: (.+)", "bad_flag", "llama-server does not start: {1}."),
    _Sign(
        r"couldn't bind HTTP server socket",
        "address_in_use",
        "llama-server could not bind its socket: something else listens there, or there can be no socket.",
        deterministic=False,
    ),
    _Sign(
        r"(out of memory|insufficient memory|failed to allocate|unable to allocate|std::bad_alloc)",
        "out_of_memory",
        "There is not enough memory for the model and its context: lower the context, the number of slots or "
        "the KV cache's precision, or use a larger machine.",
        while_serving=True,
    ),
    _Sign(
        r"(GGML_ASSERT\(.*\) failed|CUDA error: .+)",
        "aborted",
        "llama-server gave up: {1}.",
        deterministic=False,
        while_serving=True,
    ),
    _Sign(
        r"failed to load multimodal model, '(.+)'",
        "bad_mmproj",
        "llama-server cannot use the multimodal projector {1}: is it there, whole, and this model's?",
    ),
    _Sign(
        r"unknown model architecture: '(.+)'",
        "unsupported_model",
        "This llama-server build does not know the model architecture {1}: use a newer build.",
    ),
    _Sign(
        r"unknown pre-tokenizer type: '(.+)'",
        "unsupported_model",
        "This llama-server build does not know the tokenizer {1}: use a newer build.",
    ),
    _Sign(
        r"this GGUF file is version (\d+) but",
        "unsupported_model",
        "This llama-server build does not know version {1} of GGUF: use a newer build.",
    ),
    _Sign(
        r"failed to open GGUF file '(.+)' \((.+)\)",
        "model_missing",
        "The model file {1} cannot be opened: {2}.",
    ),
    _Sign(
        r"model is corrupted or incomplete",
        "model_corrupt",
        "The model file is truncated or corrupt: download it again.",
    ),
    _Sign(
        r"gguf_init_from_\w+: (.+)",
        "model_corrupt",
        "The model file cannot be read as GGUF: {1}.",
    ),
    _Sign(
        r"(?:error loading model|llama_init_from_model): (.+)",
        "load_failed",
        "llama-server could not load the model: {1}.",
    ),
    _Sign(
        r"(failed to load model|exiting due to model loading error)",
        "load_failed",
        "llama-server could not load the model; its last lines say why.",
    ),
)

_SENT_FROM_OUTSIDE = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM})


def classify_exit(returncode: int, tail: Sequence[str], *, was_ready: bool) -> Failure:
    """Say why the child ended.

    Args:
        returncode: As `subprocess` gives it: negative for a signal.
        tail: The child's last lines, oldest first.
        was_ready: Whether it had served before. What ends a server that worked is never called deterministic, and
            what it said while it started does not matter any more.
    """
    text = "\n".join(tail)
    if -returncode in _SENT_FROM_OUTSIDE:  # then the log cannot know
        return _killed(-returncode)
    for sign in _SIGNS:
        if was_ready and not sign.while_serving:
            continue
        if found := re.search(sign.pattern, text, re.IGNORECASE | re.MULTILINE):
            message = sign.message.format(found[0], *found.groups())
            return Failure(sign.kind, message, sign.deterministic and not was_ready)
    if returncode < 0:
        return _killed(-returncode)
    last = next((line.strip() for line in reversed(tail) if line.strip()), "it printed nothing")
    return Failure("exited", f"llama-server ended with code {returncode}: {last.rstrip('.')}.", deterministic=False)


def _killed(number: int) -> Failure:
    try:
        name = signal.Signals(number).name
    except ValueError:  # most real-time signals have none
        name = f"signal {number}"
    return Failure("killed", f"llama-server was ended by {name}.", deterministic=False)


def load_timeout(seconds: float) -> Failure:
    """Return the failure of a server that did not become ready in time."""
    message = f"llama-server did not become ready within {seconds:g} s: raise WARMGATE_LOAD_TIMEOUT_SECONDS?"
    return Failure("load_timeout", message, deterministic=False)


def warm_up_failed(error: Exception) -> Failure:
    """Return the failure of a server that loaded but could not answer."""
    reason = str(error).partition("\n")[0] or type(error).__name__  # httpx has errors of two lines and of none
    message = f"llama-server loaded but did not answer: {reason.rstrip('.')}."
    return Failure("warm_up_failed", message, deterministic=False)


def came_up_wrong(mismatch: str) -> Failure:
    """Return the failure of a server that is healthy but not the one that was asked for."""
    return Failure("came_up_wrong", f"llama-server came up as something else: {mismatch}.", deterministic=True)


def wedged(evidence: str) -> Failure:
    """Return the failure of a server that has work and does not move."""
    return Failure("wedged", f"llama-server hangs: {evidence}.", deterministic=False)


def gpu_state_lost(error: Exception) -> Failure:
    """Return the failure of a server whose GPU memory was given back and cannot be restored."""
    return Failure("gpu_state_lost", f"llama-server lost what it had on the GPU: {error}", deterministic=False)
