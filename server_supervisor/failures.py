"""What a dead llama-server's last lines mean to the person who must act.

llama-server ends with return code 1 for every failure, so the log's tail is the only evidence. The texts are those
of builds b11434 to b11549; `tests/server_supervisor` provokes each one that a machine without a GPU can.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    pattern: str
    kind: str
    message: str  # may refer to the pattern's groups as {1}
    deterministic: bool = True


_SIGNS = (
    _Sign(r"error: invalid argument: (\S+)", "bad_flag", "This llama-server build does not know the flag {1}."),
    _Sign(
        r"error while handling argument \"([^\"]+)\": (.*)",
        "bad_flag",
        "llama-server refuses the value of {1}: {2}.",
    ),
    _Sign(r"cannot run (.+): (.+)", "engine_missing", "The engine {1} cannot be run: {2}."),
    _Sign(
        r"couldn't bind HTTP server socket",
        "address_in_use",
        "llama-server could not bind its socket: something else listens there.",
        deterministic=False,
    ),
    _Sign(
        r"(out of memory|failed to allocate|unable to allocate|cannot allocate memory|std::bad_alloc)",
        "out_of_memory",
        "There is not enough memory for the model and its context: lower the context, the number of slots or "
        "the KV cache's precision, or use a larger machine.",
    ),
    _Sign(
        r"unknown model architecture: '([^']+)'",
        "unsupported_model",
        "This llama-server build does not know the model architecture {1}: use a newer build.",
    ),
    _Sign(
        r"(data is not within the file bounds|model is corrupted or incomplete)",
        "model_corrupt",
        "The model file is truncated or corrupt: download it again.",
    ),
    _Sign(
        r"(invalid magic characters|failed to open GGUF file|failed to read magic)",
        "model_corrupt",
        "The model file cannot be read as GGUF.",
    ),
    _Sign(
        r"(failed to parse chat template|chat template parsing error|custom template is not supported)",
        "bad_template",
        "llama-server refuses the chat template.",
    ),
    _Sign(
        r"(failed to load model|exiting due to model loading error)",
        "load_failed",
        "llama-server could not load the model; its last lines say why.",
    ),
)


def classify_exit(returncode: int, tail: Sequence[str], *, was_ready: bool) -> Failure:
    """Say why the child ended.

    Args:
        returncode: As `subprocess` gives it: negative for a signal.
        tail: The child's last lines, oldest first.
        was_ready: Whether it had served before. What ends a server that worked is never called deterministic.
    """
    text = "\n".join(tail)
    for sign in _SIGNS:
        if found := re.search(sign.pattern, text, re.IGNORECASE):
            message = sign.message.format(found[0], *found.groups())
            return Failure(sign.kind, message, sign.deterministic and not was_ready)
    if returncode < 0:
        name = signal.Signals(-returncode).name
        return Failure("killed", f"llama-server was ended by {name}.", deterministic=False)
    last = next((line.strip() for line in reversed(tail) if line.strip()), "it printed nothing")
    return Failure("exited", f"llama-server ended with code {returncode}: {last}", deterministic=False)


def load_timeout(seconds: float) -> Failure:
    """Return the failure of a server that did not become ready in time."""
    message = f"llama-server did not become ready within {seconds:g} s: raise WARMGATE_LOAD_TIMEOUT_SECONDS?"
    return Failure("load_timeout", message, deterministic=False)


def warm_up_failed(error: Exception) -> Failure:
    """Return the failure of a server that loaded but could not answer."""
    return Failure("warm_up_failed", f"llama-server loaded but did not answer: {error}", deterministic=False)
