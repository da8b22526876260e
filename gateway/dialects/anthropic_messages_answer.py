"""Anthropic Messages: the answer, streamed or in one piece.

After https://platform.claude.com/docs/en/api/messages/create and .../build-with-claude/streaming. A thought's
`signature` is the thought itself, sealed, so that a client can give it back without having been shown it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway import errors, events

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.dialects.base import AnswerHead
    from gateway.dialects.complete import CompleteAnswer, Item
    from gateway.thoughts.seal import ThoughtSeal

_encode: Callable[[Any], bytes] = msgspec.json.encode

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def stop_object(finish: events.Finish) -> dict[str, str | None]:
    """Render why an answer ended."""
    reason = "stop_sequence" if finish.stop is not None else STOP_REASONS[finish.reason]
    return {"stop_reason": reason, "stop_sequence": finish.stop}


def usage_object(usage: events.Usage) -> dict[str, Any]:
    """Render token counts. Anthropic's `input_tokens` are those that were not in the cache."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }


def message_object(head: AnswerHead, content: list[Any], usage: events.Usage) -> dict[str, Any]:
    """Render a message that has not ended."""
    return {
        "id": f"msg_{head.id}",
        "type": "message",
        "role": "assistant",
        "model": head.model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_object(usage),
    }


def messages_body(head: AnswerHead, answer: CompleteAnswer, seal: ThoughtSeal, *, show_thoughts: bool) -> bytes:
    """Write one `message` object."""
    blocks = [_block(item, seal, show_thoughts=show_thoughts) for item in answer.items]
    return _encode(message_object(head, blocks, answer.usage) | stop_object(answer.finish))


def _block(item: Item, seal: ThoughtSeal, *, show_thoughts: bool) -> dict[str, Any]:
    match item:
        case events.TextDelta(text):
            return {"type": "text", "text": text}
        case events.ReasoningDelta(thought):
            return _thinking_block(thought if show_thoughts else "", seal.seal(thought))
        case events.ToolCall(call_id, name, arguments):
            return _tool_use_block(call_id, name, msgspec.Raw(arguments))


def _thinking_block(thought: str, signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": thought, "signature": signature}


def _tool_use_block(call_id: str, name: str, arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{call_id}", "name": name, "input": arguments}


def event_bytes(event: dict[str, Any]) -> bytes:
    """Write one event of a stream."""
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + _encode(event) + b"\n\n"


class MessagesStreamRenderer:
    """Writes `message_start`, the blocks with their deltas, `message_delta` and `message_stop`."""

    def __init__(self, head: AnswerHead, seal: ThoughtSeal, *, show_thoughts: bool) -> None:
        self._head = head
        self._seal = seal
        self._show_thoughts = show_thoughts
        self._started = False
        self._index = 0  # of the block that is open, or will be
        self._open: type[events.TextDelta | events.ReasoningDelta] | None = None
        self._delta_opening = b""
        self._thought: list[str] = []
        self._finish = events.Finish("stop")
        self._usage = events.Usage(0, 0)

    def render(self, batch: Sequence[events.Event], choice: int = 0) -> bytes:
        """Write a batch of events. There is one choice."""
        del choice
        written: list[bytes] = []
        for event in batch:
            if not self._started:
                self._start(written, event)
            self._event(written, event)
        return b"".join(written)

    def end(self) -> bytes:
        """Write why the answer ends and what it took, and the end."""
        written: list[bytes] = []
        self._close(written)
        delta = {"type": "message_delta", "delta": stop_object(self._finish), "usage": usage_object(self._usage)}
        return b"".join(written) + event_bytes(delta) + event_bytes({"type": "message_stop"})

    def error(self, error: errors.GatewayError) -> bytes:
        """Write an error event. No end follows: it would say that the answer is complete."""
        return event_bytes(errors.anthropic_body(error))

    def _start(self, written: list[bytes], event: events.Event) -> None:
        self._started = True
        read = event if isinstance(event, events.PromptRead) else events.PromptRead(0, 0)
        usage = events.Usage(read.prompt_tokens, 0, read.cached_tokens)
        written.append(event_bytes({"type": "message_start", "message": message_object(self._head, [], usage)}))

    def _event(self, written: list[bytes], event: events.Event) -> None:
        match event:
            case events.TextDelta(text):
                self._enter(written, events.TextDelta, {"type": "text", "text": ""})
                written.append(self._delta_opening + b'"text_delta","text":' + _encode(text) + b"}}\n\n")
            case events.ReasoningDelta(text):
                self._enter(written, events.ReasoningDelta, _thinking_block("", ""))
                self._thought.append(text)
                if self._show_thoughts:
                    written.append(self._delta_opening + b'"thinking_delta","thinking":' + _encode(text) + b"}}\n\n")
            case events.ToolCall():
                self._call(written, event)
            case events.Finish():
                self._finish = event
            case events.Usage():
                self._usage = event
            case events.PromptRead():
                pass

    def _enter(
        self, written: list[bytes], kind: type[events.TextDelta | events.ReasoningDelta], block: dict[str, Any]
    ) -> None:
        """Open a block of this kind, unless one is open."""
        if self._open is kind:
            return
        self._close(written)
        self._open = kind
        self._begin(written, block)

    def _begin(self, written: list[bytes], block: dict[str, Any]) -> None:
        written.append(event_bytes({"type": "content_block_start", "index": self._index, "content_block": block}))
        self._delta_opening = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":' % self._index
        )

    def _close(self, written: list[bytes]) -> None:
        """Close the block that is open, if there is one."""
        if self._open is None:
            return
        if self._open is events.ReasoningDelta:
            sealed = self._seal.seal("".join(self._thought))
            self._thought = []
            written.append(self._delta_opening + b'"signature_delta","signature":' + _encode(sealed) + b"}}\n\n")
        self._open = None
        self._stop(written)

    def _stop(self, written: list[bytes]) -> None:
        written.append(event_bytes({"type": "content_block_stop", "index": self._index}))
        self._index += 1

    def _call(self, written: list[bytes], call: events.ToolCall) -> None:
        self._close(written)
        self._begin(written, _tool_use_block(call.id, call.name, {}))
        json = _encode(call.arguments)
        written.append(self._delta_opening + b'"input_json_delta","partial_json":' + json + b"}}\n\n")
        self._stop(written)
