"""OpenAI Chat Completions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway import errors
from gateway.dialects.openai_chat_answer import ChatBodyRenderer, ChatStreamRenderer
from gateway.dialects.openai_chat_request import decode, to_generation

if TYPE_CHECKING:
    from gateway.dialects.base import AnswerHead
    from gateway.request import GenerationRequest


@dataclass(slots=True)
class ParsedChat:
    """A checked chat completion request."""

    generation: GenerationRequest
    stream: bool
    include_usage: bool

    def stream_renderer(self, head: AnswerHead) -> ChatStreamRenderer:
        """Return the writer of a streamed answer."""
        return ChatStreamRenderer(head, include_usage=self.include_usage, top_logprobs=self.generation.logprobs or 0)

    def body_renderer(self, head: AnswerHead) -> ChatBodyRenderer:
        """Return the writer of an answer in one piece."""
        return ChatBodyRenderer(head, top_logprobs=self.generation.logprobs or 0)


class ChatCompletions:
    """The dialect of `POST /v1/chat/completions`."""

    path = "/v1/chat/completions"
    route = "chat_completions"

    def parse(self, body: bytes) -> ParsedChat:
        """Check a request body.

        Raises:
            InvalidRequest: It names the field.
        """
        try:
            request = decode(body)
            generation = to_generation(request)
        except RecursionError:
            raise errors.InvalidRequest("The request body is nested too deeply.") from None
        options = request.stream_options
        return ParsedChat(
            generation=generation,
            stream=bool(request.stream),
            include_usage=bool(options and options.include_usage),
        )

    def error_body(self, error: errors.GatewayError) -> dict[str, Any]:
        """Render an error that is sent instead of an answer."""
        return errors.openai_body(error)
