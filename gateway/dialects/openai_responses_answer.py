"""OpenAI Responses: the `response` object and its items, the same for a stream's end and an answer in one piece.

After https://platform.openai.com/docs/api-reference/responses/object and https://www.openresponses.org. A thought is
shown as the item's `summary`, not as its `content`: Codex 0.169 shows only summaries, and both specifications have the
same events for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway import events
from gateway.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.dialects.base import AnswerHead
    from gateway.dialects.complete import CompleteAnswer
    from gateway.dialects.openai_responses_tools import ToolSet
    from gateway.errors import GatewayError
    from gateway.request import Json
    from gateway.thoughts.seal import ThoughtSeal

COMPLETED, INCOMPLETE, FAILED, IN_PROGRESS = "completed", "incomplete", "failed", "in_progress"

_encode = msgspec.json.encode


class ItemWriter:
    """Writes an answer's items."""

    def __init__(self, head: AnswerHead, tools: ToolSet, seal: ThoughtSeal | None, top_logprobs: int) -> None:
        """Prepare to write.

        Args:
            head: Makes the items' ids unique.
            tools: Knows what the client calls its functions.
            seal: Closes the thoughts for the client to keep, if it asked for that.
            top_logprobs: So many alternatives of a token are reported.
        """
        self._head = head
        self._tools = tools
        self._seal = seal
        self._top_logprobs = top_logprobs

    def item_id(self, prefix: str, index: int) -> str:
        """Return the id of a thought or a message, which is the answer's item number `index`."""
        return f"{prefix}_{self._head.id}_{index}"

    def thought(self, index: int, text: str) -> Json:
        """Write a thought that is complete."""
        item: Json = {
            "type": "reasoning",
            "id": self.item_id("rs", index),
            "summary": [{"type": "summary_text", "text": text}],
        }
        if self._seal is not None:
            item["encrypted_content"] = self._seal.seal(text)
        return item

    def message(self, index: int, parts: list[Json], status: str) -> Json:
        """Write a message."""
        return {
            "type": "message",
            "id": self.item_id("msg", index),
            "status": status,
            "role": "assistant",
            "content": parts,
        }

    def text(self, text: str, logprobs: Sequence[events.TokenLogprob]) -> Json:
        """Write the one part of a message."""
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": self.logprobs(logprobs)}

    def call(self, call: events.ToolCall) -> Json:
        """Write a call."""
        return {
            "type": "function_call",
            "id": f"fc_{call.id}",
            "call_id": f"call_{call.id}",
            **self._tools.client_name(call.name),
            "arguments": call.arguments,
            "status": COMPLETED,
        }

    def logprobs(self, logprobs: Sequence[events.TokenLogprob]) -> list[Json]:
        """Write log-probabilities."""
        top = self._top_logprobs
        return [
            _token(token) | {"top_logprobs": [_token(other) for other in token.top_logprobs[:top]]}
            for token in logprobs
        ]


def _token(token: events.Alternative) -> Json:
    spelled = token.bytes if token.bytes is not None else list(token.token.encode())
    return {"token": token.token, "logprob": token.logprob, "bytes": spelled}


class ResponseWriter:
    """Writes the `response` object in all its states. What they share is encoded once."""

    def __init__(self, head: AnswerHead, echo: Json) -> None:
        """Prepare to write.

        Args:
            head: What the answer's pieces repeat.
            echo: What the object repeats of the request.
        """
        shared = {
            "id": f"resp_{head.id}",
            "object": "response",
            "created_at": head.created,
            "completed_at": None,
            "model": head.model,
            **echo,
        }
        self._shared = _encode(shared)[:-1]

    def write(
        self, status: str, output: Sequence[Json] = (), *, usage: events.Usage | None = None, error: Json | None = None
    ) -> bytes:
        """Write the object.

        Args:
            status: `in_progress`, `completed`, `incomplete` or `failed`.
            output: The items that are complete.
            usage: What the answer took.
            error: Why it failed.
        """
        state = {
            "status": status,
            "incomplete_details": {"reason": "max_output_tokens"} if status == INCOMPLETE else None,
            "error": error,
            "output": output,
            "usage": usage and usage_object(usage),
        }
        return self._shared + b"," + _encode(state)[1:]


def usage_object(usage: events.Usage) -> Json:
    """Render token counts. What is written to the prefix cache is not told apart: it costs nothing extra."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def final_status(finish: events.Finish) -> str:
    """Return what a response that has ended is, and its last message too."""
    return INCOMPLETE if finish.reason == "length" else COMPLETED


def error_object(error: GatewayError) -> Json:
    """Render the error of a response. Codex tries again unless the code says that it was the request's fault."""
    blamed = "invalid_prompt" if isinstance(error, InvalidRequest) else "server_error"
    return {"code": error.code or blamed, "message": error.message}


def response_body(response: ResponseWriter, items: ItemWriter, answer: CompleteAnswer) -> bytes:
    """Write an answer in one piece."""
    status = final_status(answer.finish)
    last = len(answer.items) - 1
    output = [_item(items, i, item, status if i == last else COMPLETED) for i, item in enumerate(answer.items)]
    return response.write(status, output, usage=answer.usage)


def _item(items: ItemWriter, index: int, item: Any, status: str) -> Json:
    match item:
        case events.ReasoningDelta(text):
            return items.thought(index, text)
        case events.TextDelta(text, logprobs):
            return items.message(index, [items.text(text, logprobs or ())], status)
        case _:
            return items.call(item)
