"""Anthropic Messages, as Claude Code and Anthropic's SDKs speak it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway import errors
from gateway.dialects.anthropic_messages_answer import MessagesStreamRenderer, event_bytes, messages_body
from gateway.dialects.anthropic_messages_request import (
    REFUSAL_CODES,
    decode,
    decode_count,
    shows_thoughts,
    to_generation,
)
from gateway.dialects.json_body import too_deep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.dialects.base import AnswerHead
    from gateway.dialects.complete import CompleteAnswer
    from gateway.request import GenerationRequest
    from gateway.thinking import ThinkingPolicy
    from gateway.thoughts.seal import ThoughtSeal


@dataclass(slots=True)
class ParsedMessages:
    """A checked request."""

    generation: GenerationRequest
    model: str
    stream: bool
    seal: ThoughtSeal
    show_thoughts: bool
    choices: int = 1

    def stream_renderer(self, head: AnswerHead) -> MessagesStreamRenderer:
        """Return the writer of a streamed answer."""
        return MessagesStreamRenderer(self._named(head), self.seal, show_thoughts=self.show_thoughts)

    def body(self, head: AnswerHead, answers: Sequence[CompleteAnswer]) -> bytes:
        """Write the answer in one piece."""
        return messages_body(self._named(head), answers[0], self.seal, show_thoughts=self.show_thoughts)

    def _named(self, head: AnswerHead) -> AnswerHead:
        """Give the answer the model's name in the request, whatever is served.

        Claude Code 2.1 sends a signed thought back only if the model that it asked for says that it is the author.
        """
        return replace(head, model=self.model) if self.model else head


class Messages:
    """The dialect of `POST /v1/messages`.

    Args:
        policy: How much the model thinks where a request asks for thought and does not say how much.
        seal: Seals the thoughts of answers, and opens those that come back.
    """

    path = "/v1/messages"
    api = "anthropic"
    route = "messages"
    keep_alive = b'event: ping\ndata: {"type": "ping"}\n\n'

    def __init__(self, policy: ThinkingPolicy, seal: ThoughtSeal) -> None:
        self._policy = policy
        self._seal = seal

    def parse(self, body: bytes) -> ParsedMessages:
        """Check a request body.

        Raises:
            InvalidRequest: It names the field.
        """
        try:
            request = decode(body)
            generation = to_generation(request, self._policy, self._seal)
        except RecursionError:
            raise too_deep() from None
        return ParsedMessages(generation, request.model, bool(request.stream), self._seal, shows_thoughts(request))

    def parse_count(self, body: bytes) -> GenerationRequest:
        """Check a body whose tokens are to be counted.

        Raises:
            InvalidRequest: It names the field.
        """
        try:
            return to_generation(decode_count(body), self._policy, self._seal)
        except RecursionError:
            raise too_deep() from None

    def error_body(self, error: errors.GatewayError) -> dict[str, Any]:
        """Render an error that is sent instead of an answer."""
        body = errors.anthropic_body(error)
        if error.code in REFUSAL_CODES.values():
            body["error"]["details"] = {"error_code": error.code}
        return body

    def stream_error(self, error: errors.GatewayError) -> bytes:
        """Write an error event. No end follows: it would say that the answer is complete."""
        return event_bytes(errors.anthropic_body(error))
