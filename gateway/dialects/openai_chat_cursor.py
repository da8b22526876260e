"""OpenAI Chat Completions: what Cursor's agent posts there. Bodies of the Responses API, or chat bodies with its tools.

Either way it wants chat chunks back. After what other gateways have seen:
https://github.com/BerriAI/litellm/pull/34029, https://github.com/icebear0828/codex-proxy/issues/507
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway.dialects.openai_responses import Responses

if TYPE_CHECKING:
    from gateway.dialects.openai_responses import ParsedResponses
    from gateway.request import Json
    from gateway.thinking import ThinkingPolicy

OTHER_LIMITS = ("max_completion_tokens", "max_tokens")
FLAT = ("function", "custom")
FUNCTION_FIELDS = ("name", "description", "parameters", "strict")


class NoSeal:
    """Stands for a seal: chat answers have no place for what is sealed."""

    def seal(self, thought: str) -> str:
        """Return nothing of it."""
        del thought
        return ""

    def open(self, sealed: str) -> str | None:
        """Return that it is not ours."""
        del sealed
        return None


def object_of(body: bytes) -> Json | None:
    """Return the object that a body holds, if it does."""
    try:
        given = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return given if isinstance(given, dict) else None


def is_responses_body(given: Json) -> bool:
    """Return whether a body is one of the Responses API."""
    return "input" in given and not given.get("messages")


def parse_responses_body(given: Json, policy: ThinkingPolicy) -> tuple[ParsedResponses, bool]:
    """Check a body of the Responses API. Returns it, and whether the usage is wanted as a chunk of its own.

    Raises:
        InvalidRequest: It names the field.
    """
    body = {name: value for name, value in given.items() if name not in ("messages", *OTHER_LIMITS)}
    if body.get("max_output_tokens") is None:
        limits = [limit for name in OTHER_LIMITS if (limit := given.get(name)) is not None]
        body["max_output_tokens"] = limits[0] if limits else None
    options = given.get("stream_options")
    include_usage = isinstance(options, dict) and options.get("include_usage") is True
    return Responses(policy, NoSeal()).parse(msgspec.json.encode(body)), include_usage


def with_nested_tools(given: Json) -> bytes | None:
    """Return a chat body whose tools have the shape that they have there, or None if they have it already.

    Custom tools are left out: the model knows nothing of their grammars.
    """
    tools = given.get("tools")
    if not isinstance(tools, list) or not any(_is_flat(tool) for tool in tools):
        return None
    nested = [_nested(tool) if _is_flat(tool) else tool for tool in tools]
    return msgspec.json.encode(given | {"tools": [tool for tool in nested if tool is not None]})


def _is_flat(tool: Any) -> bool:
    """Return whether a tool has the shape of the Responses API, its name not within."""
    return isinstance(tool, dict) and "name" in tool and tool.get("type") in FLAT and tool["type"] not in tool


def _nested(tool: Json) -> Json | None:
    if tool["type"] != "function":
        return None
    return {"type": "function", "function": {name: tool[name] for name in FUNCTION_FIELDS if name in tool}}
