"""A scripted model behind the real gateway: it thinks, calls a tool that it knows, and repeats what the tool said.

With all its tools Claude Code's prompt has 27,000 tokens, and ends with 6,000 characters of its own; the contract model
loses its scene behind them. What this one sends is llama-server's wire format, so that everything between it and a
client is the real thing.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyio.from_thread import start_blocking_portal
from fake_upstream import (
    DONE,
    ENDING,
    ROLE,
    FakeUpstream,
    answer,
    call_begins,
    call_goes_on,
    finish,
    text,
    thought,
    usage,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fake_upstream import Call

CONTEXT_TOKENS = 65_536
THOUGHT = "The marker is in a file, so I look into that file."
PREFIX = "The tool says: "
CALLS = {
    "Bash": {"command": "cat marker.txt", "description": "Read the marker"},
    "multi_agent_v1__close_agent": {"target": "nobody"},  # close_agent in Codex's namespace, as the model reads it
}
COUNT_PATH = "/v1/chat/completions/input_tokens"


@dataclass(frozen=True)
class FakeModel:
    """The model.

    Attributes:
        socket_path: Where its server listens.
        upstream: Its server, which keeps the requests.
    """

    socket_path: Path
    upstream: FakeUpstream

    @property
    def conversations(self) -> list[list[dict[str, Any]]]:
        """The messages of every request so far, as they came out of the gateway."""
        return [call.body["messages"] for call in self.upstream.calls]

    async def act(self, call: Call) -> None:
        """Answer one request: with the tool's result if that came last, with a call if not."""
        last = call.body["messages"][-1]
        if last["role"] == "tool":
            await answer(ROLE, text(PREFIX), text(_text_of(last["content"])), *ENDING)(call)
            return
        declared = {tool["function"]["name"] for tool in call.body["tools"]}
        name = next(name for name in CALLS if name in declared)
        begins = call_begins(0, secrets.token_hex(8), name)
        goes_on = call_goes_on(0, json.dumps(CALLS[name]))
        await answer(ROLE, thought(THOUGHT), begins, goes_on, finish("tool_calls"), usage(), DONE)(call)


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[FakeModel]:
    """Serve the model, in a thread of its own, on a socket in `directory`."""
    upstream = FakeUpstream(directory / "llama.sock", control={"/props": (200, _props()), COUNT_PATH: (200, _count())})
    model = FakeModel(directory / "llama.sock", upstream)
    upstream.default = model.act
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(upstream.listening()):
        yield model


def _props() -> dict[str, Any]:
    settings = {"n_ctx": CONTEXT_TOKENS, "params": {"seed": 4294967295}}
    return {"total_slots": 1, "default_generation_settings": settings, "build_info": "b11549-fake"}


def _count() -> dict[str, Any]:
    return {"input_tokens": 10_000}


def _text_of(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
