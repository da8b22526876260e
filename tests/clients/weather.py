"""The one tool of the client tests."""

from __future__ import annotations

TOOL = "get_weather"
ARGUMENTS = {"city": "Paris"}
QUESTION = "What is the weather in Paris?"
RESULT = "18 degrees and dry"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": TOOL, "description": "Tell the weather in a city.", "parameters": SCHEMA}
