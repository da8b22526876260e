"""OpenAI Responses: the stream's events.

After https://platform.openai.com/docs/api-reference/responses-streaming and https://www.openresponses.org.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from gateway import events
from gateway.dialects.openai_responses_answer import COMPLETED, FAILED, IN_PROGRESS, error_object, final_status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.dialects.openai_responses_answer import ItemWriter, ResponseWriter
    from gateway.errors import GatewayError
    from gateway.request import Json

DONE = b"data: [DONE]\n\n"
"""Open Responses wants it as the last word of every stream. OpenAI does not send it, and its clients know it."""


class EventWriter:
    """Numbers events and writes them."""

    def __init__(self) -> None:
        self._number = 0
        self._written: list[bytes] = []

    def add(self, kind: str, **fields: Any) -> None:
        """Write the next event."""
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        self._written.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(event)))

    def take(self) -> bytes:
        """Return what has been written since the last time."""
        written = b"".join(self._written)
        self._written.clear()
        return written


class _OpenItem(Protocol):
    """An item that grows."""

    def add(self, delta: Any) -> None:
        """Write a piece of it."""

    def close(self, status: str) -> Json:
        """Write that it is complete, and return it."""


class _Thought:
    """A thought, as the single part of a reasoning item's summary."""

    def __init__(self, writer: EventWriter, items: ItemWriter, index: int) -> None:
        self._writer = writer
        self._items = items
        self._index = index
        self._where = {"item_id": items.item_id("rs", index), "output_index": index, "summary_index": 0}
        self._pieces: list[str] = []
        item = {"type": "reasoning", "id": items.item_id("rs", index), "summary": []}
        writer.add("response.output_item.added", output_index=index, item=item)
        writer.add("response.reasoning_summary_part.added", **self._where, part={"type": "summary_text", "text": ""})

    def add(self, delta: events.ReasoningDelta) -> None:
        self._pieces.append(delta.text)
        self._writer.add("response.reasoning_summary_text.delta", **self._where, delta=delta.text)

    def close(self, status: str) -> Json:
        del status  # a reasoning item has none
        text = "".join(self._pieces)
        item = self._items.thought(self._index, text)
        self._writer.add("response.reasoning_summary_text.done", **self._where, text=text)
        self._writer.add("response.reasoning_summary_part.done", **self._where, part=item["summary"][0])
        self._writer.add("response.output_item.done", output_index=self._index, item=item)
        return item


class _Message:
    """A message with its single part of text."""

    def __init__(self, writer: EventWriter, items: ItemWriter, index: int) -> None:
        self._writer = writer
        self._items = items
        self._index = index
        self._where = {"item_id": items.item_id("msg", index), "output_index": index, "content_index": 0}
        self._pieces: list[str] = []
        self._logprobs: list[events.TokenLogprob] = []
        writer.add("response.output_item.added", output_index=index, item=items.message(index, [], IN_PROGRESS))
        writer.add("response.content_part.added", **self._where, part=items.text("", ()))

    def add(self, delta: events.TextDelta) -> None:
        self._pieces.append(delta.text)
        logprobs = delta.logprobs or ()
        self._logprobs += logprobs
        written = self._items.logprobs(logprobs)
        self._writer.add("response.output_text.delta", **self._where, delta=delta.text, logprobs=written)

    def close(self, status: str) -> Json:
        part = self._items.text("".join(self._pieces), self._logprobs)
        item = self._items.message(self._index, [part], status)
        self._writer.add("response.output_text.done", **self._where, text=part["text"], logprobs=part["logprobs"])
        self._writer.add("response.content_part.done", **self._where, part=part)
        self._writer.add("response.output_item.done", output_index=self._index, item=item)
        return item


class ResponseStreamRenderer:
    """Writes one streamed answer."""

    def __init__(self, response: ResponseWriter, items: ItemWriter) -> None:
        self._response = response
        self._items = items
        self._writer = EventWriter()
        self._started = False
        self._output: list[Json] = []
        self._open: _OpenItem | None = None
        self._finish = events.Finish("stop")
        self._usage: events.Usage | None = None

    def render(self, batch: Sequence[events.Event], choice: int = 0) -> bytes:
        """Write a batch of events."""
        del choice  # there is one
        self._start()
        for event in batch:
            self._event(event)
        return self._writer.take()

    def end(self) -> bytes:
        """Write the complete response."""
        self._start()
        status = final_status(self._finish)
        self._close(status)
        self._add_response(f"response.{status}", status, usage=self._usage)
        return self._writer.take() + DONE

    def error(self, error: GatewayError) -> bytes:
        """Write that the response has failed. What was begun stays open: nobody is to take it for complete."""
        self._start()
        self._add_response("response.failed", FAILED, usage=self._usage, error=error_object(error))
        return self._writer.take()

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        self._add_response("response.created", IN_PROGRESS)
        self._add_response("response.in_progress", IN_PROGRESS)

    def _event(self, event: events.Event) -> None:
        match event:
            case events.TextDelta():
                self._piece(_Message, event)
            case events.ReasoningDelta():
                self._piece(_Thought, event)
            case events.ToolCall():
                self._close(COMPLETED)
                self._call(event)
            case events.Finish():
                self._finish = event
            case events.Usage():
                self._usage = event
            case events.PromptRead():
                pass

    def _piece(self, kind: Callable[[EventWriter, ItemWriter, int], _OpenItem], event: events.Event) -> None:
        if type(self._open) is not kind:
            self._close(COMPLETED)
            self._open = kind(self._writer, self._items, len(self._output))
        assert self._open is not None  # noqa: S101 -- it has just been opened
        self._open.add(event)

    def _close(self, status: str) -> None:
        if self._open is not None:
            self._output.append(self._open.close(status))
            self._open = None

    def _call(self, call: events.ToolCall) -> None:
        item = self._items.call(call)
        index = len(self._output)
        where = {"item_id": item["id"], "output_index": index}
        begun = {**item, "arguments": "", "status": IN_PROGRESS}
        self._writer.add("response.output_item.added", output_index=index, item=begun)
        self._writer.add("response.function_call_arguments.delta", **where, delta=call.arguments)
        self._writer.add("response.function_call_arguments.done", **where, name=item["name"], arguments=call.arguments)
        self._writer.add("response.output_item.done", output_index=index, item=item)
        self._output.append(item)

    def _add_response(
        self, kind: str, status: str, *, usage: events.Usage | None = None, error: Json | None = None
    ) -> None:
        response = self._response.write(status, self._output, usage=usage, error=error)
        self._writer.add(kind, response=msgspec.Raw(response))
