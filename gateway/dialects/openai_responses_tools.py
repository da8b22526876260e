"""OpenAI Responses: tools, and the names that the model knows them by.

A namespace is several functions under one name. The model sees them as `NAMESPACE__FUNCTION`, which is how Codex itself
flattens them; the client gets name and namespace back apart, because Codex 0.169 runs a call only so: of
`multi_agent_v1__close_agent`, and of `close_agent` alone, it says "unsupported call".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.dialects.json_body import invalid
from gateway.dialects.openai_responses_request import AllowedToolsChoice, FunctionChoice, FunctionTool, NamespaceTool
from gateway.request import ToolChoice
from gateway.toolcalls.toolbox import ToolFields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.dialects.openai_responses_request import HostedTool, ResponsesRequest
    from gateway.request import Json

    AnyTool = FunctionTool | NamespaceTool | HostedTool

DELIMITER = "__"


class ToolSet:
    """A request's functions. Tools of other kinds are left out.

    Attributes:
        functions: What the model may call, under names that are unique.
        fields: The client's names of their fields, for errors.
    """

    def __init__(self, tools: Sequence[AnyTool]) -> None:
        self.functions: list[FunctionTool] = []
        self.fields: list[ToolFields] = []
        self._spaced: dict[str, tuple[str, str]] = {}  # a name that the model knows -> the client's namespace and name
        self._taken = {tool.name for tool in tools if isinstance(tool, FunctionTool)}
        for i, tool in enumerate(tools):
            match tool:
                case FunctionTool():
                    self._add(tool, f"tools[{i}]")
                case NamespaceTool():
                    self._add_namespace(tool, f"tools[{i}]")
        self._flat = {spaced: name for name, spaced in self._spaced.items()}

    def known_as(self, name: str, namespace: str | None) -> str:
        """Return what the model calls a function; one that is not there any more had a name like it."""
        if namespace is None:
            return name
        return self._flat.get((namespace, name)) or _flatten(namespace, name)

    def client_name(self, name: str) -> dict[str, str]:
        """Return what the client calls a function, as fields of a call."""
        if name not in self._spaced:
            return {"name": name}
        namespace, inner = self._spaced[name]
        return {"name": inner, "namespace": namespace}

    def __contains__(self, name: str) -> bool:
        return name in self._taken

    def _add(self, tool: FunctionTool, where: str) -> None:
        self.functions.append(tool)
        self.fields.append(ToolFields(f"{where}.name", f"{where}.parameters"))

    def _add_namespace(self, namespace: NamespaceTool, where: str) -> None:
        introduction = f"{namespace.description}\n\n" if namespace.description else ""
        for i, tool in enumerate(namespace.tools):
            if not isinstance(tool, FunctionTool):
                continue
            name = self._unique(_flatten(namespace.name, tool.name))
            self._taken.add(name)
            self._spaced[name] = (namespace.name, tool.name)
            # what holds for all of them is said once
            description = introduction + (tool.description or "") or None
            introduction = ""
            self._add(FunctionTool(name, description, tool.parameters, tool.strict), f"{where}.tools[{i}]")

    def _unique(self, name: str) -> str:
        number, unique = 1, name
        while unique in self._taken:
            number += 1
            unique = f"{name}_{number}"
        return unique


def _flatten(namespace: str, name: str) -> str:
    return namespace.rstrip("_") + DELIMITER + name.lstrip("_")


def chat_tools(tools: ToolSet) -> list[Json] | None:
    """Return the functions as llama-server's chat endpoint takes them, or None if there are none."""
    return [{"type": "function", "function": _function(tool)} for tool in tools.functions] or None


def _function(tool: FunctionTool) -> dict[str, Any]:
    fields = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
    return {name: value for name, value in fields.items() if value is not None}


def tool_choice(body: ResponsesRequest, tools: ToolSet) -> ToolChoice:
    """Return the choice among the tools.

    Raises:
        InvalidRequest: It names none of them.
    """
    choice = body.tool_choice
    if not tools.functions:
        if choice not in (None, "none", "auto"):
            raise invalid("tool_choice", "there are no functions to choose from.")
        return ToolChoice("none")
    match choice:
        case FunctionChoice():
            return ToolChoice("required", frozenset({_chosen(choice.name, choice.namespace, "tool_choice", tools)}))
        case AllowedToolsChoice():
            return _allowed(choice, tools)
        case _:
            return ToolChoice(choice or "auto")


def _allowed(choice: AllowedToolsChoice, tools: ToolSet) -> ToolChoice:
    names = {
        _chosen(tool.get("name"), tool.get("namespace"), f"tool_choice.tools[{i}]", tools)
        for i, tool in enumerate(choice.tools)
        if tool.get("type") == "function"
    }
    if names:
        return ToolChoice(choice.mode, frozenset(names))
    if choice.mode == "required":
        raise invalid("tool_choice.tools", "there is no function among them.")
    return ToolChoice("none")


def _chosen(name: Any, namespace: Any, where: str, tools: ToolSet) -> str:
    known = tools.known_as(name, namespace) if isinstance(name, str) and isinstance(namespace, str | None) else ""
    if known not in tools:
        raise invalid(f"{where}.name", f"there is no function {name!r}.")
    return known
