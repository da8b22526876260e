"""The Messages dialect under test."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.dialects.anthropic_messages import Messages
from gateway.thinking import ThinkingPolicy

if TYPE_CHECKING:
    from gateway.dialects.anthropic_messages import ParsedMessages
    from gateway.request import GenerationRequest

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
