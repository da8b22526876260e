"""What the model is asked when its calls are not what was asked for. Pure: request in, request out.

The conversation and the tools stay, so that the server still has the prompt's beginning in its cache. What is added is
a turn that shows the broken call and the validator's words. The answer is text under a grammar that the tool's schema
makes, which even a model of pure noise follows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.request import ToolChoice
from gateway.thinking import OFF
from gateway.toolcalls.grammar_schema import TIGHT, WIDE, grammar_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.events import ToolCall
    from gateway.request import GenerationRequest, Json
    from gateway.toolcalls.toolbox import Tool, Toolbox, Violation

MOST_QUOTED = 4000
"""So many characters of a broken call are shown to the model again."""


def arguments(
    request: GenerationRequest, tool: Tool, broken: ToolCall | None, violations: Sequence[Violation], *, last: bool
) -> GenerationRequest:
    """Return the request whose answer is a call's arguments as JSON text.

    Args:
        request: What the call belongs to.
        tool: What is called.
        broken: The call that cannot be passed on, or None if there was none.
        violations: Why not.
        last: Whether there is no further attempt: then better something short that ends.
    """
    if broken is None:
        said = f"Call the tool {tool.name} now. Answer with its arguments only, as JSON."
        turns = [_user(said)]
    else:
        words = "; ".join(map(str, violations))
        said = f"The call of {tool.name} is not valid: {words}. Answer with its right arguments only, as JSON."
        turns = [_shown(broken), _user(said)]
    return _constrained(request, turns, grammar_schema(tool.parameters.schema, TIGHT if last else WIDE), last=last)


def name(request: GenerationRequest, toolbox: Toolbox, broken: ToolCall | None) -> GenerationRequest:
    """Return the request whose answer is `{"name": ...}`, the name of one of the tools that may be called."""
    names = list(toolbox.tools)
    why = f"There is no tool {broken.name!r}. " if broken is not None else ""
    said = f"{why}Which of the tools {', '.join(names)} do you call? Answer with its name only, as JSON."
    schema = {"type": "object", "properties": {"name": {"enum": names}}, "required": ["name"]}
    return _constrained(request, [*([_shown(broken)] if broken is not None else []), _user(said)], schema, last=False)


def read_name(text: str, toolbox: Toolbox) -> str | None:
    """Return the tool that an answer to `name` names, or None."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    chosen = found.get("name") if isinstance(found, dict) else None
    return chosen if isinstance(chosen, str) and chosen in toolbox.tools else None


def _shown(broken: ToolCall) -> Json:
    """Return the model's turn with the broken call in words: as a call it might be nothing that a template takes."""
    return {"role": "assistant", "content": f"{broken.name}: {broken.arguments[:MOST_QUOTED]}"}


def _user(text: str) -> Json:
    return {"role": "user", "content": text}


def _constrained(request: GenerationRequest, turns: list[Json], schema: Any, *, last: bool) -> GenerationRequest:
    handling = request.call_handling
    sampling = {**request.sampling, "temperature": handling.temperature}
    if last and "seed" in sampling:
        sampling["seed"] = (sampling["seed"] + 1) % 2**32
    return replace(
        request,
        messages=[*request.messages, *turns],
        tool_choice=ToolChoice("none"),
        toolbox=None,
        parallel_tool_calls=None,
        thinking=OFF,
        stop=(),
        logprobs=None,
        max_tokens=handling.max_tokens,
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
        sampling=sampling,
    )
