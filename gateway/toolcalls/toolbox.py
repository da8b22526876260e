"""The tools that a request declares, and which of them may be called how."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.errors import InvalidRequest
from gateway.request import ToolChoice
from gateway.toolcalls.schema_limits import MOST_BYTES_TOGETHER, MOST_NAME_CHARACTERS, MOST_TOOLS
from gateway.toolcalls.schemas import BrokenSchema, CompiledSchema, compile_schema, dotted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.events import ToolCall
    from gateway.request import Json

UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What msgspec raises for text that is not JSON."""

NO_ARGUMENTS: Json = {"type": "object", "properties": {}}

_NAME = re.compile(rf"[a-zA-Z0-9_.-]{{1,{MOST_NAME_CHARACTERS}}}")


@dataclass(frozen=True, slots=True)
class ToolFields:
    """A tool's fields in the client's own request, for errors: `tools[0].function.name`, `tools[0].input_schema`."""

    name: str
    parameters: str


def openai_chat_fields(index: int) -> ToolFields:
    """Return the fields of a tool in a chat completion's request."""
    return ToolFields(f"tools[{index}].function.name", f"tools[{index}].function.parameters")


@dataclass(frozen=True, slots=True)
class Violation:
    """Why a call may not be passed on.

    Attributes:
        tool: The name that was called.
        path: Where in the arguments, as in `stops[2].city`; empty for the whole call.
        message: The validator's words, short.
    """

    tool: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class Tool:
    """A declared tool.

    Attributes:
        name: Its name.
        parameters: The compiled schema of its arguments.
    """

    def __init__(self, name: str, parameters: CompiledSchema) -> None:
        self.name = name
        self.parameters = parameters

    def accepts(self, arguments: Any) -> bool:
        """Return whether arguments are a JSON object and valid."""
        return isinstance(arguments, dict) and self.parameters.accepts(arguments)

    def violations(self, arguments: Any) -> list[Violation]:
        """Return why arguments are not valid; empty if they are."""
        if not isinstance(arguments, dict):
            return [Violation(self.name, "", "The arguments are not a JSON object.")]
        return [Violation(self.name, dotted(fault.path), fault.message) for fault in self.parameters.faults(arguments)]


class Toolbox:
    """What a request lets the model call.

    Attributes:
        tools: The tools that may be called, by name, in the order of their declaration.
        must_call: Whether an answer without a call is not what was asked for.
        parallel: Whether one answer may hold several calls.
    """

    def __init__(self, tools: Iterable[Tool], *, must_call: bool = False, parallel: bool = True) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self.must_call = must_call
        self.parallel = parallel

    def check(self, call: ToolCall) -> list[Violation]:
        """Return why a call may not be passed on as it is; empty if it may."""
        tool = self.tools.get(call.name)
        if tool is None:
            return [Violation(call.name, "", f"There is no such tool; there are: {', '.join(self.tools)}.")]
        try:
            arguments = msgspec.json.decode(call.arguments)
        except UNREADABLE as error:
            return [Violation(call.name, "", f"The arguments are not JSON: {error}.")]
        return tool.violations(arguments)


def compile_tools(
    tools: Sequence[Json] | None,
    choice: ToolChoice | None = None,
    *,
    parallel: bool | None = None,
    fields: Callable[[int], ToolFields] = openai_chat_fields,
) -> Toolbox:
    """Compile the declared tools' schemas.

    All are compiled, so that a broken one is refused whatever the choice; only those that may be called are kept.

    Args:
        tools: Declarations in OpenAI's shape, `{"type": "function", "function": {...}}`.
        choice: Whether they are to be called, and which.
        parallel: Whether one answer may hold several calls; None for yes.
        fields: Gives the client's names of the fields of the tool with an index.

    Raises:
        InvalidRequest: A name or a schema is not usable; `param` is its place.
    """
    choice = choice or ToolChoice()
    tools = tools or ()
    if len(tools) > MOST_TOOLS:
        raise InvalidRequest(f"There are {len(tools)} tools; the most are {MOST_TOOLS}.", param="tools")
    compiled: dict[str, Tool] = {}
    for i, tool in enumerate(tools):
        found = _compile_tool(tool["function"], fields(i))
        if found.name in compiled:
            raise _refused(fields(i).name, f"there are two tools called {found.name!r}.")
        compiled[found.name] = found
    _check_total([tool.parameters for tool in compiled.values()])
    callable_ = [
        tool
        for tool in compiled.values()
        if choice.mode != "none" and (choice.names is None or tool.name in choice.names)
    ]
    return Toolbox(callable_, must_call=choice.mode == "required", parallel=parallel is not False)


def _compile_tool(function: Json, fields: ToolFields) -> Tool:
    name = function.get("name", "")
    if not _NAME.fullmatch(name):
        raise _refused(
            fields.name,
            f"expected 1 to {MOST_NAME_CHARACTERS} letters, digits, underscores, hyphens and dots.",
        )
    schema = function.get("parameters")
    if schema is None:
        schema = NO_ARGUMENTS
    try:
        _check_object(schema)
        return Tool(name, compile_schema(schema))
    except BrokenSchema as error:
        where = f"{fields.parameters}.{error.path}" if error.path else fields.parameters
        raise InvalidRequest(
            f"Invalid schema for function {name!r} at {where!r}: {error.message}",
            code="invalid_function_parameters",
            param=where,
        ) from None


def _check_object(schema: Any) -> None:
    """Refuse a schema that no call can meet: arguments are always an object."""
    if not isinstance(schema, dict):
        raise BrokenSchema("", "expected a JSON Schema, an object.")
    kind = schema.get("type", "object")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        raise BrokenSchema("type", f"expected 'object', got {kind!r}.")


def _check_total(schemas: Iterable[CompiledSchema]) -> None:
    total = sum(schema.size for schema in schemas)
    if total > MOST_BYTES_TOGETHER:
        raise InvalidRequest(
            f"The tools' schemas take {total} bytes together; the most are {MOST_BYTES_TOGETHER}.", param="tools"
        )


def _refused(param: str, what: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid {param!r}: {what}", param=param)
