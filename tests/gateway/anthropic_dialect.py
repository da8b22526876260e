"""The Messages dialect under test."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.beta import BetaMessage, BetaRawMessageStreamEvent
from pydantic import TypeAdapter

from gateway.dialects.anthropic_messages import Messages
from gateway.thinking import ThinkingPolicy

if TYPE_CHECKING:
    from gateway.dialects.anthropic_messages import ParsedMessages
    from gateway.request import GenerationRequest

BODIES: list[TypeAdapter[Any]] = [TypeAdapter(Message), TypeAdapter(BetaMessage)]
EVENTS: list[TypeAdapter[Any]] = [TypeAdapter(RawMessageStreamEvent), TypeAdapter(BetaRawMessageStreamEvent)]
POLICY = ThinkingPolicy(enabled=True, budget=500, answer_reserve=100)
HI: list[Any] = [{"role": "user", "content": "Hi"}]


class GlassSeal:
    """A seal that anyone can see through."""

    def seal(self, thought: str) -> str:
        return f"sealed:{thought}"

    def open(self, sealed: str) -> str | None:
        return sealed.removeprefix("sealed:") if sealed.startswith("sealed:") else None


MESSAGES = Messages(POLICY, GlassSeal())


def parse(**fields: Any) -> ParsedMessages:
    return MESSAGES.parse(json.dumps({"max_tokens": 1000, "messages": HI} | fields).encode())


def generation(**fields: Any) -> GenerationRequest:
    return parse(**fields).generation


def events_of(stream: bytes) -> list[Any]:
    """Read an event stream; each event's name is its type, and Anthropic's types know all of it."""
    found = []
    for written in stream.decode().split("\n\n")[:-1]:
        if written.startswith((":", "event: ping\n")):
            continue
        name, data = written.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        for known in EVENTS:
            _check(known, event)
        found.append(event)
    return found


def check_body(body: Any) -> None:
    """Fail unless Anthropic's types take an answer as it is, and know every field of it."""
    for known in BODIES:
        _check(known, body)


def _check(known: TypeAdapter[Any], value: Any) -> None:
    read = known.validate_json(json.dumps(value), strict=True)
    assert read.model_dump(mode="json", exclude_unset=True) == value
    _has_no_extra(read)


def _has_no_extra(read: Any) -> None:
    assert not read.model_extra
    for name in type(read).model_fields:
        inner = getattr(read, name)
        for one in inner if isinstance(inner, list) else [inner]:
            if hasattr(one, "model_extra"):
                _has_no_extra(one)


def added_up(stream: list[Any]) -> Any:
    """Return the message that a stream's events amount to."""
    message = stream[0]["message"]
    fields = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
    for event in stream[1:]:
        match event["type"]:
            case "content_block_start":
                assert event["index"] == len(message["content"])
                message["content"].append(event["content_block"])
            case "content_block_delta" if event["delta"]["type"] == "input_json_delta":
                message["content"][event["index"]]["input"] = json.loads(event["delta"]["partial_json"])
            case "content_block_delta":
                field = fields[event["delta"]["type"]]
                message["content"][event["index"]][field] += event["delta"][field]
            case "message_delta":
                message |= event["delta"] | {"usage": event["usage"]}
    return message
