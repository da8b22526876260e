"""Anthropic Messages: the request body.

Field by field after https://platform.claude.com/docs/en/api/messages/create and what Claude Code 2.1 sends, as of
November 2026. Each top-level field is honoured, ignored because ignoring it keeps its promise (`IGNORED`), or refused
by name. Within messages and tools unknown fields are ignored, `cache_control` among them: the prefix cache works
without it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from gateway.dialects import fields
from gateway.dialects.answer_schema import checked_schema
from gateway.dialects.anthropic_messages_conversation import to_chat_messages
from gateway.dialects.anthropic_messages_wire import Message, TextBlock  # noqa: TC001 -- msgspec reads annotations
from gateway.dialects.json_body import decode_body, invalid
from gateway.dialects.openai_chat_thinking import ThinkingFields, asked_of_thinking
from gateway.errors import InvalidRequest
from gateway.request import GenerationRequest, Json, ToolChoice
from gateway.thinking import Thinking, ThinkingPolicy, plan_thinking
from gateway.toolcalls.toolbox import ToolFields, compile_tools

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.thoughts.seal import ThoughtSeal

IGNORED = {
    "anthropic_beta": "what is honoured needs no announcement",
    "anthropic_version": "there is one version",
    "betas": "what is honoured needs no announcement",
    "billing_policy": "nothing is billed",
    "cache_control": "the prefix cache works without it",
    "compaction": "conversations are not shortened here; one that is too long is an error",
    "context_management": "nothing is cleared; thoughts older than the last question are not read anyway",
    "diagnostics": "nothing is diagnosed",
    "fallback_credit_token": "nothing is billed",
    "fallbacks": "there is one model",
    "inference_geo": "there is one place",
    "metadata": "nothing is stored",
    "service_tier": "there is one tier",
    "speed": "there is one speed",
    "user_profile_id": "nobody is told",
    "workspace_id": "there is one workspace",
}
"""Top-level fields that are accepted and have no effect, with the reason."""

UNSUPPORTED = {
    "container": "This endpoint runs no code.",
    "mcp_servers": "This endpoint calls no MCP servers; give their tools as tools.",
    "thread": "Nothing is stored here; send the whole conversation.",
}
"""Top-level fields of Anthropic's that would change the answer and that we cannot honour, with what to say unless null
or an empty list."""

REFUSAL_CODES = {"thread": "thread_unsupported_request"}
"""Anthropic's own `error_code` of such a refusal, which its clients look for: the tool runner of its SDK asks for a
thread by itself (anthropic 2.13), and goes on without one if it reads this."""


class Tool(msgspec.Struct):
    """A tool of the client's; or, with a `type` other than `custom`, one of Anthropic's, which is left out."""

    name: fields.FunctionName | None = None
    type: str | None = None
    description: str | None = None
    input_schema: Json | None = None
    strict: bool | None = None


class _ToolChoice(msgspec.Struct, tag_field="type"):
    """Whether tools are to be called."""

    disable_parallel_tool_use: bool | None = None


class AutoChoice(_ToolChoice, tag="auto"):
    pass


class AnyChoice(_ToolChoice, tag="any"):
    pass


class NoneChoice(_ToolChoice, tag="none"):
    pass


class NamedChoice(_ToolChoice, tag="tool", kw_only=True):
    name: str


class OutputFormat(msgspec.Struct):
    schema: Json
    type: Literal["json_schema"] = "json_schema"


class OutputConfig(msgspec.Struct, forbid_unknown_fields=True):
    effort: Any = None  # checked with the other fields about thinking
    format: OutputFormat | None = None
    task_budget: Any = None  # advice for a model that was trained to heed it


class MessagesRequest(ThinkingFields, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/messages`."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_tokens: fields.Tokens
    model: str = ""
    system: str | list[TextBlock] | None = None
    stream: bool | None = None
    stop_sequences: Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(max_length=64)] | None = None
    temperature: fields.Probability | None = None
    top_p: fields.Probability | None = None
    top_k: fields.TopK | None = None
    tools: Annotated[list[Tool], Meta(max_length=1024)] | None = None
    tool_choice: AutoChoice | AnyChoice | NoneChoice | NamedChoice | None = None
    output_config: OutputConfig | None = None  # its effort is about thinking
    output_format: OutputFormat | None = None  # the older name of output_config.format
    # accepted and ignored: see IGNORED
    anthropic_beta: Any = None
    anthropic_version: Any = None
    betas: Any = None
    billing_policy: Any = None
    cache_control: Any = None
    compaction: Any = None
    context_management: Any = None
    diagnostics: Any = None
    fallback_credit_token: Any = None
    fallbacks: Any = None
    inference_geo: Any = None
    metadata: Any = None
    service_tier: Any = None
    speed: Any = None
    user_profile_id: Any = None
    workspace_id: Any = None
    # refused unless they ask for nothing: see UNSUPPORTED
    container: fields.Nothing = None
    mcp_servers: Any = None
    thread: fields.Nothing = None


class CountTokensRequest(MessagesRequest, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/messages/count_tokens`."""

    max_tokens: fields.Tokens | None = None  # type: ignore[assignment]  # not wanted here, and harmless


T = TypeVar("T", bound=MessagesRequest)

_decode = msgspec.json.Decoder(MessagesRequest).decode
_decode_count = msgspec.json.Decoder(CountTokensRequest).decode


def decode(body: bytes) -> MessagesRequest:
    """Check a body's fields.

    Raises:
        InvalidRequest: It is not JSON, or a field has the wrong type or value, or is unknown; `param` names it.
    """
    return _supported(decode_body(_decode, body))


def decode_count(body: bytes) -> CountTokensRequest:
    """Check the fields of a body whose tokens are to be counted.

    Raises:
        InvalidRequest: As `decode`.
    """
    return _supported(decode_body(_decode_count, body))


def _supported(request: T) -> T:
    for name, what in UNSUPPORTED.items():
        if getattr(request, name) not in (None, []):
            raise InvalidRequest(f"Invalid {name!r}: {what}", param=name, code=REFUSAL_CODES.get(name))
    return request


def to_generation(body: MessagesRequest, policy: ThinkingPolicy, seal: ThoughtSeal) -> GenerationRequest:
    """Map a checked body to the internal request.

    Raises:
        InvalidRequest: Fields contradict each other, or ask for what the model cannot take.
    """
    tools = _tools(body)
    choice = _tool_choice(body, {tool["function"]["name"] for tool in tools})
    parallel = False if body.tool_choice and body.tool_choice.disable_parallel_tool_use else None
    messages, images = to_chat_messages(body.system, body.messages, seal)
    response_format = _response_format(body)
    if messages[-1]["role"] == "assistant":
        _check_goes_on(choice, response_format)
    return GenerationRequest(
        messages=messages,
        images=tuple(images),
        thinking=_thinking(body, policy),
        max_tokens=body.max_tokens,
        stop=tuple(body.stop_sequences or ()),
        tools=tools or None,
        tool_choice=choice,
        toolbox=compile_tools(tools, choice, parallel=parallel, fields=_tool_fields(body)),
        parallel_tool_calls=parallel if tools else None,
        response_format=response_format,
        sampling=fields.chosen_sampling(body),
    )


def shows_thoughts(body: MessagesRequest) -> bool:
    """Return whether the answer holds the thought itself, and not only its seal.

    `updates` hides it, too: it shows only notes about progress in thinking blocks, and Gemma 4 writes none.

    Raises:
        InvalidRequest: `thinking.display` is none of Anthropic's.
    """
    display = body.thinking.get("display") if isinstance(body.thinking, dict) else None
    if display not in (None, "summarized", "omitted", "updates"):
        raise invalid("thinking.display", "expected summarized, omitted or updates.")
    return display in (None, "summarized")


def _thinking(body: MessagesRequest, policy: ThinkingPolicy) -> Thinking:
    """Return the plan. A request that does not ask for thought gets none: its client reads the first block as text."""
    asked = asked_of_thinking(body)
    if body.output_config is not None:
        asked["output_config"] = {"effort": body.output_config.effort}
    return plan_thinking(asked, dataclasses.replace(policy, enabled=False), max_tokens=body.max_tokens)


def _check_goes_on(choice: ToolChoice, response_format: Json | None) -> None:
    """Refuse to go on with a message where the answer has a form: that form is the whole answer's.

    llama-server would say "Failed to initialize samplers" with Gemma 4's template (b11549).
    """
    form = "tool_choice" if choice.mode == "required" else "output_config.format" if response_format else None
    if form:
        raise invalid("messages", f"a last message of the model's cannot be gone on with where there is a {form}.")


def _response_format(body: MessagesRequest) -> Json | None:
    wanted, where = body.output_config.format if body.output_config else None, "output_config.format"
    if wanted is None:
        wanted, where = body.output_format, "output_format"
    if wanted is None:
        return None
    schema = checked_schema(wanted.schema, f"{where}.schema")
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": schema, "strict": True}}


def _tools(body: MessagesRequest) -> list[Json]:
    return [_function(tool, f"tools[{i}]") for i, tool in enumerate(body.tools or ()) if tool.type in (None, "custom")]


def _tool_fields(body: MessagesRequest) -> Callable[[int], ToolFields]:
    """Return the names of a custom tool's fields, by its number among the custom ones."""
    places = [i for i, tool in enumerate(body.tools or ()) if tool.type in (None, "custom")]
    return lambda index: ToolFields(f"tools[{places[index]}].name", f"tools[{places[index]}].input_schema")


def _function(tool: Tool, where: str) -> Json:
    if tool.name is None or tool.input_schema is None:
        raise invalid(f"{where}.{'name' if tool.name is None else 'input_schema'}", "a custom tool needs it.")
    optional = {"description": tool.description, "strict": tool.strict}
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "parameters": tool.input_schema,
            **{name: value for name, value in optional.items() if value is not None},
        },
    }


def _tool_choice(body: MessagesRequest, names: set[str]) -> ToolChoice:
    choice = body.tool_choice
    if isinstance(choice, NamedChoice):
        if choice.name not in names:
            raise invalid("tool_choice.name", f"there is no tool {choice.name!r} of the client's own.")
        return ToolChoice("required", frozenset({choice.name}))
    if isinstance(choice, AnyChoice):
        if not names:
            raise invalid("tool_choice", "there are no tools to choose from.")
        return ToolChoice("required")
    return ToolChoice("none" if not names or isinstance(choice, NoneChoice) else "auto")
