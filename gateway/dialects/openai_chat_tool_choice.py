"""OpenAI Chat Completions: the field `tool_choice`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from gateway.dialects.json_body import invalid
from gateway.request import ToolChoice

if TYPE_CHECKING:
    from collections.abc import Collection


class NamedFunction(msgspec.Struct):
    """A function by its name."""

    name: str


class NamedTool(msgspec.Struct):
    """A tool by its function's name."""

    function: NamedFunction
    type: Literal["function"] = "function"


class AllowedTools(msgspec.Struct):
    """The only tools that may be called, and whether one must be."""

    mode: Literal["auto", "required"]
    tools: list[NamedTool]


class ChosenTools(msgspec.Struct):
    """One function that must be called, or those that may be."""

    function: NamedFunction | None = None
    allowed_tools: AllowedTools | None = None
    type: Literal["function", "allowed_tools"] = "function"


Given = Literal["none", "auto", "required"] | ChosenTools


def to_tool_choice(given: Given | None, declared: Collection[str]) -> ToolChoice:
    """Map the field to the internal request's.

    Args:
        given: The field.
        declared: The names of the request's tools.

    Raises:
        InvalidRequest: It asks for tools that are not there.
    """
    if not declared:
        if given not in (None, "none", "auto"):
            raise invalid("tool_choice", "there are no tools to choose from.")
        return ToolChoice("none")
    if not isinstance(given, ChosenTools):
        return ToolChoice(given or "auto")
    if given.type == "allowed_tools":
        return _allowed(given.allowed_tools, declared)
    if given.function is None:
        raise invalid("tool_choice.function", "Missing required parameter.")
    return ToolChoice("required", frozenset({_known(given.function.name, "tool_choice", declared)}))


def _allowed(allowed: AllowedTools | None, declared: Collection[str]) -> ToolChoice:
    where = "tool_choice.allowed_tools"
    if allowed is None:
        raise invalid(where, "Missing required parameter.")
    names = {_known(tool.function.name, f"{where}.tools[{i}]", declared) for i, tool in enumerate(allowed.tools)}
    if names:
        return ToolChoice(allowed.mode, frozenset(names))
    if allowed.mode == "required":
        raise invalid(f"{where}.tools", "there is none among them.")
    return ToolChoice("none")


def _known(name: str, where: str, declared: Collection[str]) -> str:
    if name not in declared:
        raise invalid(f"{where}.function.name", f"there is no tool {name!r}.")
    return name
