"""Responses under test: a seal that can be read, and every object held against the Open Responses specification."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openresponses_types.types as spec

from gateway.dialects.base import AnswerHead
from gateway.dialects.openai_responses import Responses
from gateway.thinking import ThinkingPolicy

if TYPE_CHECKING:
    from pydantic import BaseModel

    from gateway.dialects.openai_responses import ParsedResponses

HEAD = AnswerHead(id="abc", created=1795368872, model="gemma", fingerprint="b11549")

EVENTS: dict[str, type[BaseModel]] = {
    next(iter(kind.model_fields["type"].annotation)).value: kind
    for name, kind in vars(spec).items()
    if name.endswith("StreamingEvent")
}
"""The specification's event types by name."""


class ReadableSeal:
    """Seals by reversing."""

    def seal(self, thought: str) -> str:
        return f"sealed:{thought[::-1]}"

    def open(self, sealed: str) -> str | None:
        return sealed.removeprefix("sealed:")[::-1] if sealed.startswith("sealed:") else None


DIALECT = Responses(ThinkingPolicy(), ReadableSeal())


def parsed(**fields: Any) -> ParsedResponses:
    return DIALECT.parse(json.dumps({"input": "Hi", **fields}).encode())


def checked_response(response: Any) -> Any:
    """Hold a `response` object against the specification, and return it."""
    spec.ResponseResource.model_validate(_comparable(response))
    return response


def checked_events(body: bytes) -> list[Any]:
    """Read a stream, hold every event against the specification, and return them; the end mark as it is."""
    return [_checked_event(block) for block in body.split(b"\n\n")[:-1] if not block.startswith(b":")]


def _checked_event(block: bytes) -> Any:
    if block == b"data: [DONE]":
        return "[DONE]"
    name, _, data = block.partition(b"\n")
    event = json.loads(data.removeprefix(b"data: "))
    assert name == b"event: " + event["type"].encode()
    seen = event | {"response": _comparable(event["response"])} if "response" in event else event
    EVENTS[event["type"]].model_validate(seen)
    return event


def _comparable(response: Any) -> Any:
    """Return a response without its text's schema: the generated types insist on null there, OpenAI on the schema."""
    wanted = response["text"]["format"]
    if wanted["type"] != "json_schema":
        return response
    plain = {"description": None, "strict": False, **wanted, "schema": None}
    return response | {"text": {"format": plain}}
