"""The scenes of the contract model as data: what a test asks for, and what the model then does.

The model itself is in `model/`. Decoding must be greedy (`"temperature": 0`), but for the flaky scenes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contract.model.acts import ACTS, OTHER_SCENES, SECRETS, trigger
from contract.model.tools import TOOLS, tool

MODEL: Final = Path(__file__).with_name("model") / "contract.gguf"
SERVED: Final = ("--model", str(MODEL), "--set", "threads=1")
"""How `warmgate serve` is told of it. For so small a model a second thread waits more than it computes."""

ANSWERS_AT_RANDOM: Final = ("flaky", "flaky-call")

__all__ = ["ANSWERS_AT_RANDOM", "MODEL", "SCENES", "SECRETS", "SERVED", "Scene", "tool", "tools"]

# Where the model ends without a call of its own, but needs tools to be declared all the same.
_TOOLS: Final = {
    "unterminated": ("set_timer",),
    "unknown-tool": ("get_weather",),
    "call-in-thought": ("get_weather",),
    "call-as-text": ("get_weather",),
    "call-as-json": ("get_weather",),
    "talks-about-calls": ("get_weather",),
    "remember": ("lookup",),
    "chain": ("step_one", "step_two", "step_three", "step_four", "step_five"),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """What the model does when it reads a scene's trigger.

    Attributes:
        name: Its name.
        trigger: What the user must say; anything may stand before and after it.
        tools: The tools to declare, as an OpenAI client does.
        thought: What it thinks when thinking is on; empty for nothing.
        text: What it says, as it comes out of the model. llama-server may show less.
        calls: What it calls, by name and arguments, as it comes out of the model.
        text_without_thinking: What it says when thinking is off.
    """

    name: str
    trigger: str
    tools: tuple[dict[str, Any], ...]
    thought: str
    text: str
    calls: tuple[tuple[str, Any], ...]
    text_without_thinking: str

    @property
    def messages(self) -> list[dict[str, Any]]:
        """A conversation that starts the scene."""
        return [{"role": "user", "content": self.trigger}]


def tools(*names: str) -> tuple[dict[str, Any], ...]:
    """Return declarations of tools that the model knows."""
    return tuple(TOOLS[name] for name in names)


def _scene(name: str) -> Scene:
    if name in OTHER_SCENES:
        words = trigger(name) + (" Remember the colour teal." if name == "remember" else "")
        return Scene(name, words, tools(*_TOOLS.get(name, ())), "", "", (), "")
    act = ACTS[name]
    called = [call.name for call in act.calls if call.name in TOOLS]
    return Scene(
        name=name,
        trigger=trigger(name),
        tools=tools(*dict.fromkeys([*called, *_TOOLS.get(name, ())])),
        thought=act.thought,
        text=act.raw or act.text,
        calls=tuple((call.name, call.arguments) for call in act.calls),
        text_without_thinking=act.off or act.raw or act.text,
    )


SCENES: Final = {name: _scene(name) for name in (*ACTS, *OTHER_SCENES)}
