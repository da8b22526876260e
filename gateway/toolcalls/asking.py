"""The requests with which a model is asked again, when its call cannot be passed on or did not come.

The conversation, its tools and the template's switches stay as they are, so that the prompt so far is cached; what is
wrong is added to it. The answer is not a call but JSON under a grammar: `response_format` with `tool_choice: none`, and
no room for a thought. Templates that want such JSON in a fence get it so from llama-server, which takes it off again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.toolcalls.grammar_schema import WIDE, Bounds, grammar_schema
from gateway.toolcalls.toolbox import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.events import ToolCall
    from gateway.request import GenerationRequest, Json
    from gateway.toolcalls.toolbox import Tool, Toolbox, Violation

MOST_QUOTED = 2000
"""So many characters of a call that is no call are quoted."""


def ask_arguments_again(
    request: GenerationRequest,
    tool: Tool,
    call: ToolCall,
    violations: Sequence[Violation],
    *,
    bounds: Bounds = WIDE,
    max_tokens: int | None = None,
    temperature: float | None = None,
) -> GenerationRequest:
    """Return the request for other arguments of a call. Its answer's text is the arguments' JSON.

    Args:
        request: What the call answers.
        tool: The tool that is called.
        call: The call as it came.
        violations: Why it cannot be passed on.
        bounds: Where the grammar ends what the schema leaves open.
        max_tokens: Upper bound of the answer, or None for the request's own.
        temperature: Of the sampler, or None for the request's own.
    """
    why = "\n".join(f"- {violation}" for violation in violations)
    wanted = f"Write the arguments of {tool.name} again, as one JSON object that is right."
    told = f"This call was not carried out:\n{why}\n{wanted}"
    schema = grammar_schema(tool.parameters.schema, bounds)
    return _asking(request, _with_call(call, told), _format(tool.name, schema), max_tokens, temperature)


def ask_which_tool(
    request: GenerationRequest,
    toolbox: Toolbox,
    said: str = "",
    *,
    temperature: float | None = None,
) -> GenerationRequest:
    """Return the request for a choice among the tools, where a call was required and none came.

    Not needed if there is one tool only. Its answer's text is to be read by `read_choice`.

    Args:
        request: What was answered without a call.
        toolbox: The tools that may be called.
        said: The text of that answer, or what of it has been sent.
        temperature: Of the sampler, or None for the request's own.
    """
    names = ", ".join(toolbox.tools)
    told = f"A tool must be called now. Which one: {names}? Write its name as JSON."
    schema = {"enum": list(toolbox.tools)}
    # a name is short, but a token may be a letter; the marks of an empty thought, the fence and white space come on top
    longest = max(map(len, toolbox.tools)) + 64
    return _asking(request, _with_text(said, told), _format("tool", schema), longest, temperature)


def read_choice(toolbox: Toolbox, text: str) -> Tool | None:
    """Return the tool that was chosen in answer to `ask_which_tool`, or None."""
    try:
        name = msgspec.json.decode(text)
    except UNREADABLE:
        return None
    return toolbox.tools.get(name) if isinstance(name, str) else None


def ask_arguments(
    request: GenerationRequest,
    tool: Tool,
    said: str = "",
    *,
    bounds: Bounds = WIDE,
    max_tokens: int | None = None,
    temperature: float | None = None,
) -> GenerationRequest:
    """Return the request for the arguments of a tool that must be called. Its answer's text is their JSON.

    Args:
        request: What was answered without a call.
        tool: The tool to call.
        said: The text of that answer, or what of it has been sent.
        bounds: Where the grammar ends what the schema leaves open.
        max_tokens: Upper bound of the answer, or None for the request's own.
        temperature: Of the sampler, or None for the request's own.
    """
    told = f"The tool {tool.name} is called now. Write its arguments as one JSON object."
    schema = grammar_schema(tool.parameters.schema, bounds)
    return _asking(request, _with_text(said, told), _format(tool.name, schema), max_tokens, temperature)


def _asking(
    request: GenerationRequest,
    more: list[Json],
    response_format: Json,
    max_tokens: int | None,
    temperature: float | None,
) -> GenerationRequest:
    sampling = request.sampling if temperature is None else {**request.sampling, "temperature": temperature}
    return replace(
        request,
        messages=[*request.messages, *more],
        # the template's switch stays: turning it would change the prompt's very beginning
        thinking=replace(request.thinking, budget=0),
        max_tokens=max_tokens if max_tokens is not None else request.max_tokens,
        stop=(),
        logprobs=None,
        tool_choice=replace(request.tool_choice, mode="none"),
        response_format=response_format,
        sampling=sampling,
    )


def _format(name: str, schema: Json) -> Json:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}


def _with_call(call: ToolCall, told: str) -> list[Json]:
    """Return the call as part of the history, and what is said of it.

    Templates take arguments that are an object only, so that anything else is quoted.
    """
    if not _is_object(call.arguments):
        return _with_text(f"{call.name}({call.arguments[:MOST_QUOTED]})", told)
    id_ = call.id or "call"
    function = {"name": call.name, "arguments": call.arguments}
    return [
        {"role": "assistant", "content": "", "tool_calls": [{"id": id_, "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": id_, "content": told},
    ]


def _with_text(said: str, told: str) -> list[Json]:
    assistant: list[Json] = [{"role": "assistant", "content": said}] if said.strip() else []
    return [*assistant, {"role": "user", "content": told}]


def _is_object(text: str) -> bool:
    try:
        found: Any = msgspec.json.decode(text)
    except UNREADABLE:
        return False
    return isinstance(found, dict)
