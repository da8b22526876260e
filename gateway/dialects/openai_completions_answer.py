"""OpenAI's older Completions: the answer, streamed or in one piece.

After https://platform.openai.com/docs/api-reference/completions/object; a chunk of a stream has the same shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway import errors, events
from gateway.dialects.openai_chat_answer import DONE, total_usage, usage_object

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.dialects.base import AnswerHead
    from gateway.dialects.complete import CompleteAnswer

_encode = msgspec.json.encode


def logprobs_object(logprobs: Sequence[events.TokenLogprob], top: int, offset: int = 0) -> dict[str, Any]:
    """Render log-probabilities.

    Args:
        logprobs: Of the tokens of one piece of text.
        top: How many alternatives to show for each.
        offset: Where the piece begins in its choice's text, in characters.
    """
    offsets = []
    for token in logprobs:
        offsets.append(offset)
        offset += len(token.token)
    alternatives = [{one.token: one.logprob for one in token.top_logprobs[:top]} for token in logprobs]
    return {
        "tokens": [token.token for token in logprobs],
        "token_logprobs": [token.logprob for token in logprobs],
        "top_logprobs": alternatives if top else None,
        "text_offset": offsets,
    }


class CompletionStreamRenderer:
    """Writes `text_completion` chunks."""

    def __init__(self, head: AnswerHead, *, include_usage: bool, top_logprobs: int = 0) -> None:
        self._include_usage = include_usage
        self._top_logprobs = top_logprobs
        self._usages: list[events.Usage] = []
        self._opening = b"data: " + _encode(_shared(head))[:-1]
        # OpenAI announces the usage that is to come with a null in every other chunk
        self._closing = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._offsets: dict[int, int] = {}

    def render(self, batch: Sequence[events.Event], choice: int = 0) -> bytes:
        """Write a batch of events."""
        return b"".join(self._event(event, choice) for event in batch)

    def end(self) -> bytes:
        """Write the usage, if it was asked for, and the end mark."""
        if not self._include_usage or not self._usages:
            return DONE
        usage = _encode(usage_object(total_usage(self._usages)))
        return self._opening + b',"choices":[],"usage":' + usage + b"}\n\n" + DONE

    def error(self, error: errors.GatewayError) -> bytes:
        """Write an error event. No end mark follows: it would say that the answer is complete."""
        return b"data: " + _encode(errors.openai_body(error)) + b"\n\n"

    def _event(self, event: events.Event, choice: int) -> bytes:
        match event:
            case events.TextDelta(text, logprobs):
                offset = self._offsets.get(choice, 0)
                self._offsets[choice] = offset + len(text)
                shown = logprobs_object(logprobs, self._top_logprobs, offset) if logprobs else None
                return self._chunk(_choice(choice, text, shown))
            case events.Finish(reason):
                return self._chunk(_choice(choice, "", None, _finish_reason(reason)))
            case events.Usage():
                self._usages.append(event)
        return b""  # there are neither thoughts nor calls

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        return self._opening + b',"choices":[' + _encode(choice) + b"]" + self._closing


def completion_body(head: AnswerHead, answers: Sequence[CompleteAnswer], *, top_logprobs: int = 0) -> bytes:
    """Write one `text_completion` object."""
    choices = [
        _choice(
            index,
            answer.text,
            logprobs_object(answer.logprobs, top_logprobs) if answer.logprobs else None,
            _finish_reason(answer.finish.reason),
        )
        for index, answer in enumerate(answers)
    ]
    usage = usage_object(total_usage([answer.usage for answer in answers]))
    return _encode({**_shared(head), "choices": choices, "usage": usage})


def _shared(head: AnswerHead) -> dict[str, Any]:
    return {
        "id": f"cmpl-{head.id}",
        "object": "text_completion",
        "created": head.created,
        "model": head.model,
        "system_fingerprint": head.fingerprint,
    }


def _choice(index: int, text: str, logprobs: dict[str, Any] | None, finish_reason: str | None = None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish_reason}


def _finish_reason(reason: str) -> str:
    return "length" if reason == "length" else "stop"  # the others are those of chats
