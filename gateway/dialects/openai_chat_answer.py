"""OpenAI Chat Completions: the answer, streamed or in one piece.

After https://platform.openai.com/docs/api-reference/chat/object and .../chat-streaming. `reasoning_content` is not
OpenAI's; it is what DeepSeek, vLLM and llama.cpp call the thought, and what clients read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway import errors, events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.dialects.base import AnswerHead

_encode = msgspec.json.encode

DONE = b"data: [DONE]\n\n"


def logprobs_object(logprobs: Sequence[events.TokenLogprob], top: int) -> dict[str, Any]:
    """Render log-probabilities, with up to `top` alternatives for each token."""
    kept = [msgspec.structs.replace(token, top_logprobs=token.top_logprobs[:top]) for token in logprobs]
    return {"content": kept, "refusal": None}


def usage_object(usage: events.Usage) -> dict[str, Any]:
    """Render token counts."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


class ChatStreamRenderer:
    """Writes `chat.completion.chunk` events. What all chunks of an answer share is encoded once."""

    def __init__(self, head: AnswerHead, *, include_usage: bool, top_logprobs: int = 0) -> None:
        self._include_usage = include_usage
        self._top_logprobs = top_logprobs
        self._usage: events.Usage | None = None
        shared = {
            "id": f"chatcmpl-{head.id}",
            "object": "chat.completion.chunk",
            "created": head.created,
            "model": head.model,
            "system_fingerprint": head.fingerprint,
        }
        self._opening = b"data: " + _encode(shared)[:-1]
        # OpenAI announces the usage that is to come with a null in every other chunk
        self._closing = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._delta_opening = self._opening + b',"choices":[{"index":0,"delta":'
        self._delta_closing = b',"logprobs":null,"finish_reason":null}]' + self._closing
        self._text_opening = self._delta_opening + b'{"content":'
        self._text_closing = b"}" + self._delta_closing
        self._started = False

    def render(self, batch: Sequence[events.Event]) -> bytes:
        """Write a batch of events."""
        written = [] if self._started else [self._chunk({"role": "assistant", "content": ""})]
        self._started = True
        written += [self._event(event) for event in batch]
        return b"".join(written)

    def end(self) -> bytes:
        """Write the usage, if it was asked for, and the end mark."""
        if not self._include_usage or self._usage is None:
            return DONE
        usage = _encode(usage_object(self._usage))
        return self._opening + b',"choices":[],"usage":' + usage + b"}\n\n" + DONE

    def error(self, error: errors.GatewayError) -> bytes:
        """Write an error event. No end mark follows: it would say that the answer is complete."""
        return b"data: " + _encode(errors.openai_body(error)) + b"\n\n"

    def _event(self, event: events.Event) -> bytes:
        match event:
            case events.TextDelta(text, None):
                return self._text_opening + _encode(text) + self._text_closing
            case events.TextDelta(text, logprobs):
                return self._chunk({"content": text}, logprobs=logprobs_object(logprobs or (), self._top_logprobs))
            case events.ReasoningDelta(text):
                return self._chunk({"reasoning_content": text})
            case events.ToolCallDelta():
                return self._chunk({"tool_calls": [_tool_call_delta(event)]})
            case events.Finish(reason):
                return self._chunk({}, finish_reason=reason)
            case events.Usage():
                self._usage = event
                return b""

    def _chunk(
        self, delta: dict[str, Any], *, logprobs: dict[str, Any] | None = None, finish_reason: str | None = None
    ) -> bytes:
        rest = {"logprobs": logprobs, "finish_reason": finish_reason}
        return self._delta_opening + _encode(delta) + b"," + _encode(rest)[1:] + b"]" + self._closing


def _tool_call_delta(event: events.ToolCallDelta) -> dict[str, Any]:
    function: dict[str, Any] = {"arguments": event.arguments}
    if event.name is None:
        return {"index": event.index, "function": function}
    function = {"name": event.name, **function}
    return {"index": event.index, "id": event.id, "type": "function", "function": function}


class ChatBodyRenderer:
    """Collects an answer into one `chat.completion` object."""

    def __init__(self, head: AnswerHead, *, top_logprobs: int = 0) -> None:
        self._head = head
        self._top_logprobs = top_logprobs
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._logprobs: list[events.TokenLogprob] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._finish_reason = "stop"
        self._usage = events.Usage(0, 0)

    def add(self, batch: Sequence[events.Event]) -> None:
        """Collect a batch of events."""
        for event in batch:
            match event:
                case events.TextDelta(text, logprobs):
                    self._text.append(text)
                    self._logprobs += logprobs or []
                case events.ReasoningDelta(text):
                    self._reasoning.append(text)
                case events.ToolCallDelta():
                    self._add_call(event)
                case events.Finish(reason):
                    self._finish_reason = reason
                case events.Usage():
                    self._usage = event

    def body(self) -> bytes:
        """Write the answer."""
        choice = {
            "index": 0,
            "message": self._message(),
            "logprobs": logprobs_object(self._logprobs, self._top_logprobs) if self._logprobs else None,
            "finish_reason": self._finish_reason,
        }
        return _encode(
            {
                "id": f"chatcmpl-{self._head.id}",
                "object": "chat.completion",
                "created": self._head.created,
                "model": self._head.model,
                "system_fingerprint": self._head.fingerprint,
                "choices": [choice],
                "usage": usage_object(self._usage),
            }
        )

    def _message(self) -> dict[str, Any]:
        text = "".join(self._text)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if self._calls and not text else text,
            "refusal": None,
        }
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if self._calls:
            message["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        return message

    def _add_call(self, event: events.ToolCallDelta) -> None:
        call = self._calls.setdefault(
            event.index, {"id": None, "type": "function", "function": {"name": "", "arguments": ""}}
        )
        call["id"] = call["id"] or event.id
        call["function"]["name"] += event.name or ""
        call["function"]["arguments"] += event.arguments
