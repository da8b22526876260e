"""OpenAI's older Completions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from gateway import errors
from gateway.dialects.json_body import too_deep
from gateway.dialects.openai_completions_answer import CompletionStreamRenderer, completion_body
from gateway.dialects.openai_completions_request import decode, to_generation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.dialects.base import AnswerHead
    from gateway.dialects.complete import CompleteAnswer
    from gateway.request import GenerationRequest


@dataclass(slots=True)
class ParsedCompletion:
    """A checked completion request."""

    generation: GenerationRequest
    stream: bool
    choices: int
    include_usage: bool

    def stream_renderer(self, head: AnswerHead) -> CompletionStreamRenderer:
        """Return the writer of a streamed answer."""
        top = self.generation.logprobs or 0
        return CompletionStreamRenderer(head, include_usage=self.include_usage, top_logprobs=top)

    def body(self, head: AnswerHead, answers: Sequence[CompleteAnswer]) -> bytes:
        """Write the answer in one piece."""
        return completion_body(head, answers, top_logprobs=self.generation.logprobs or 0)


class Completions:
    """The dialect of `POST /v1/completions`."""

    path = "/v1/completions"
    api = "openai"
    route = "completions"
    keep_alive = b": keep-alive\n\n"

    def parse(self, body: bytes) -> ParsedCompletion:
        """Check a request body.

        Raises:
            InvalidRequest: It names the field.
        """
        try:
            request = decode(body)
            generation = to_generation(request)
        except RecursionError:
            raise too_deep() from None
        options = request.stream_options
        return ParsedCompletion(
            generation=generation,
            stream=bool(request.stream),
            choices=request.n or 1,
            include_usage=bool(options and options.include_usage),
        )

    def error_body(self, error: errors.GatewayError) -> dict[str, Any]:
        """Render an error that is sent instead of an answer."""
        body: dict[str, Any] = errors.openai_body(error)
        if error.code == errors.PromptTooLong.default_code:
            body["error"]["param"] = "prompt"  # what the one message was made of
        return body

    def stream_error(self, error: errors.GatewayError) -> bytes:
        """Write an error event. No end mark follows: it would say that the answer is complete."""
        return b"data: " + msgspec.json.encode(self.error_body(error)) + b"\n\n"
