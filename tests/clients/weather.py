"""The one tool of the client tests, and the scene in which the contract model calls it."""

from __future__ import annotations

from typing import Any

from contract.scenes import SCENES

SCENE = SCENES["call"]
QUESTION = f"{SCENE.trigger} What is the weather in Paris?"
TOOL: dict[str, Any] = SCENE.tools[0]
(NAME, ARGUMENTS), *_ = SCENE.calls
RESULT = "Sunny, 25 °C"
ANSWER = f"The result is: {RESULT}"
