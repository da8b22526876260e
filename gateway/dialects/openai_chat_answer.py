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
    from gateway.dialects.complete import CompleteAnswer

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
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def total_usage(usages: Sequence[events.Usage]) -> events.Usage:
    """Return what all choices took together. They share one prompt, which counts once, as it does with OpenAI."""
    return events.Usage(
        prompt_tokens=usages[0].prompt_tokens,
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        cached_tokens=usages[0].cached_tokens,
        reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
    )


class ChatStreamRenderer:
    """Writes `chat.completion.chunk` events. What all chunks of an answer share is encoded once."""

    def __init__(
        self,
        head: AnswerHead,
        *,
        include_usage: bool,
        top_logprobs: int = 0,
        show_thought: bool = True,
        choices: int = 1,
    ) -> None:
        self._include_usage = include_usage
        self._show_thought = show_thought
        self._usages: list[events.Usage] = []
        shared = {
            "id": f"chatcmpl-{head.id}",
            "object": "chat.completion.chunk",
            "created": head.created,
            "model": head.model,
            "system_fingerprint": head.fingerprint,
        }
        self._opening = b"data: " + _encode(shared)[:-1]
        # OpenAI announces the usage that is to come with a null in every other chunk
        closing = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._choices = [_ChoiceRenderer(i, self._opening, closing, top_logprobs) for i in range(choices)]
        self._started = False

    def render(self, batch: Sequence[events.Event], choice: int = 0) -> bytes:
        """Write a batch of events.

        Before the first one, all choices begin, in their order: openai-python's stream helper fails at one that begins
        before those that stand before it.
        """
        begun = b"" if self._started else b"".join(one.begin() for one in self._choices)
        self._started = True
        self._usages += [event for event in batch if isinstance(event, events.Usage)]
        if not self._show_thought:
            batch = [event for event in batch if not isinstance(event, events.ReasoningDelta)]
        return begun + self._choices[choice].render(batch)

    def end(self) -> bytes:
        """Write the usage, if it was asked for, and the end mark."""
        if not self._include_usage or not self._usages:
            return DONE
        usage = _encode(usage_object(total_usage(self._usages)))
        return self._opening + b',"choices":[],"usage":' + usage + b"}\n\n" + DONE

    def error(self, error: errors.GatewayError) -> bytes:
        """Write an error event. No end mark follows: it would say that the answer is complete."""
        return b"data: " + _encode(errors.openai_body(error)) + b"\n\n"


class _ChoiceRenderer:
    """Writes the chunks of one choice."""

    def __init__(self, index: int, opening: bytes, closing: bytes, top_logprobs: int) -> None:
        self._top_logprobs = top_logprobs
        self._closing = closing
        self._delta_opening = opening + b',"choices":[{"index":%d,"delta":' % index
        self._delta_closing = b',"logprobs":null,"finish_reason":null}]' + closing
        self._text_opening = self._delta_opening + b'{"content":'
        self._text_closing = b"}" + self._delta_closing
        self._calls = 0

    def begin(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def render(self, batch: Sequence[events.Event]) -> bytes:
        return b"".join([self._event(event) for event in batch])

    def _event(self, event: events.Event) -> bytes:
        match event:
            case events.TextDelta(text, None):
                return self._text_opening + _encode(text) + self._text_closing
            case events.TextDelta(text, logprobs):
                return self._chunk({"content": text}, logprobs=logprobs_object(logprobs or (), self._top_logprobs))
            case events.ReasoningDelta(text):
                return self._chunk({"reasoning_content": text})
            case events.ToolCall():
                call = {"index": self._calls, **tool_call_object(event)}
                self._calls += 1
                return self._chunk({"tool_calls": [call]})
            case events.Finish(reason):
                return self._chunk({}, finish_reason=reason)
            case events.PromptRead() | events.Usage():
                return b""

    def _chunk(
        self, delta: dict[str, Any], *, logprobs: dict[str, Any] | None = None, finish_reason: str | None = None
    ) -> bytes:
        rest = {"logprobs": logprobs, "finish_reason": finish_reason}
        return self._delta_opening + _encode(delta) + b"," + _encode(rest)[1:] + b"]" + self._closing


def tool_call_object(call: events.ToolCall) -> dict[str, Any]:
    """Render a tool call."""
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{call.id}", "type": "function", "function": function}


def chat_body(
    head: AnswerHead, answers: Sequence[CompleteAnswer], *, top_logprobs: int = 0, show_thought: bool = True
) -> bytes:
    """Write one `chat.completion` object."""
    return _encode(
        {
            "id": f"chatcmpl-{head.id}",
            "object": "chat.completion",
            "created": head.created,
            "model": head.model,
            "system_fingerprint": head.fingerprint,
            "choices": [
                _choice(i, answer, top_logprobs, show_thought=show_thought) for i, answer in enumerate(answers)
            ],
            "usage": usage_object(total_usage([answer.usage for answer in answers])),
        }
    )


def _choice(index: int, answer: CompleteAnswer, top_logprobs: int, *, show_thought: bool) -> dict[str, Any]:
    calls = [tool_call_object(call) for call in answer.calls]
    text = answer.text
    message: dict[str, Any] = {"role": "assistant", "content": None if calls and not text else text, "refusal": None}
    if show_thought and (reasoning := answer.reasoning):
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = calls
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs_object(answer.logprobs, top_logprobs) if answer.logprobs else None,
        "finish_reason": answer.finish.reason,
    }
