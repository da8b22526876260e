"""OpenAI Chat Completions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from gateway import errors
from gateway.dialects.json_body import too_deep
from gateway.dialects.openai_chat_answer import ChatStreamRenderer, chat_body
from gateway.dialects.openai_chat_cursor import (
    is_responses_body,
    object_of,
    parse_responses_body,
    with_nested_tools,
)
from gateway.dialects.openai_chat_request import decode, to_generation
from gateway.dialects.openai_chat_thinking import hides_thought
from gateway.thinking import ThinkingPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.dialects.base import AnswerHead
    from gateway.dialects.complete import CompleteAnswer
    from gateway.request import GenerationRequest


@dataclass(slots=True)
class ParsedChat:
    """A checked chat completion request."""

    generation: GenerationRequest
    stream: bool
    choices: int
    include_usage: bool
    show_thought: bool = True

    def stream_renderer(self, head: AnswerHead) -> ChatStreamRenderer:
        """Return the writer of a streamed answer."""
        return ChatStreamRenderer(
            head,
            include_usage=self.include_usage,
            top_logprobs=self.generation.logprobs or 0,
            show_thought=self.show_thought,
            choices=self.choices,
        )

    def body(self, head: AnswerHead, answers: Sequence[CompleteAnswer]) -> bytes:
        """Write the answer in one piece."""
        return chat_body(head, answers, top_logprobs=self.generation.logprobs or 0, show_thought=self.show_thought)


class ChatCompletions:
    """The dialect of `POST /v1/chat/completions`."""

    path = "/v1/chat/completions"
    api = "openai"
    route = "chat_completions"
    keep_alive = b": keep-alive\n\n"

    def __init__(self, policy: ThinkingPolicy = ThinkingPolicy()) -> None:  # noqa: B008 -- it is frozen
        self._policy = policy

    def parse(self, body: bytes) -> ParsedChat:
        """Check a request body.

        Raises:
            InvalidRequest: It names the field.
        """
        try:
            return self._parse_either(body)
        except RecursionError:
            raise too_deep() from None

    def _parse_either(self, body: bytes) -> ParsedChat:
        try:
            return self._parse(body)
        except errors.InvalidRequest:
            if parsed := self._parse_cursors(body):
                return parsed
            raise

    def _parse(self, body: bytes) -> ParsedChat:
        request = decode(body)
        generation = to_generation(request, self._policy)
        show_thought = not hides_thought(request)
        options = request.stream_options
        return ParsedChat(
            generation=generation,
            stream=bool(request.stream),
            choices=request.n or 1,
            include_usage=bool(options and options.include_usage),
            show_thought=show_thought,
        )

    def _parse_cursors(self, body: bytes) -> ParsedChat | None:
        """Look at a body that was refused as what Cursor's agent may have meant."""
        given = object_of(body)
        if given is None:
            return None
        if is_responses_body(given):
            meant, include_usage = parse_responses_body(given, self._policy)
            return ParsedChat(meant.generation, meant.stream, meant.choices, include_usage)
        mended = with_nested_tools(given)
        return self._parse(mended) if mended is not None else None

    def error_body(self, error: errors.GatewayError) -> dict[str, Any]:
        """Render an error that is sent instead of an answer."""
        return errors.openai_body(error)

    def stream_error(self, error: errors.GatewayError) -> bytes:
        """Write an error event. No end mark follows: it would say that the answer is complete."""
        return b"data: " + msgspec.json.encode(errors.openai_body(error)) + b"\n\n"
