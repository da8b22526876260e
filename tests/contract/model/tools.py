"""The tools that the scenes of the contract model call, as an OpenAI client declares them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from contract.model.acts import STEPS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Schema: TypeAlias = "dict[str, Any]"


def tool(name: str, description: str, properties: Schema, required: Sequence[str] | None = None) -> Schema:
    """Return a tool as an OpenAI client declares it."""
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties if required is None else required),
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


STRING: Final = {"type": "string"}
TOOLS: Final[Mapping[str, Schema]] = {
    "get_weather": tool(
        "get_weather",
        "Get the weather of a city.",
        {"city": STRING, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
    ),
    "set_timer": tool("set_timer", "Set a timer.", {"minutes": {"type": "integer"}, "label": STRING}),
    "configure": tool(
        "configure",
        "Change the options.",
        {"options": {"type": "object", "properties": {"retries": {"type": "integer"}}, "required": ["retries"]}},
    ),
    "write_file": tool("write_file", "Write a file.", {"path": STRING, "content": STRING}),
    "plan_trip": tool(
        "plan_trip",
        "Plan a trip.",
        {
            "days": {"type": "integer"},
            "budget": {"type": "number"},
            "stops": {"type": "array", "items": STRING},
            "options": {
                "type": "object",
                "properties": {"fast": {"type": "boolean"}, "note": STRING},
                "required": ["fast"],
            },
        },
    ),
    "lookup": tool("lookup", "Look a colour up.", {"colour": STRING}),
    **{name: tool(name, f"Do {name.replace('_', ' ')}.", {}) for name in STEPS},
    "exec_command": tool("exec_command", "Runs a command.", {"cmd": STRING, "workdir": STRING}, ["cmd"]),
    "Bash": tool("Bash", "Executes a command.", {"command": STRING, "description": STRING}, ["command"]),
}
