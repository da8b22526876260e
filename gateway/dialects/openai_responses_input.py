"""OpenAI Responses: the conversation's items -> chat messages.

What a model wrote in one turn is several items here, thought, text and calls, and one message there. Gemma 4 wants the
thought that led to a call back with that call, so they must not be torn apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway.dialects import openai_responses_request as wire
from gateway.dialects.content import Content
from gateway.dialects.json_body import invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.dialects.openai_responses_tools import ToolSet
    from gateway.errors import InvalidRequest
    from gateway.request import ImageSource, Json
    from gateway.thoughts.seal import ThoughtSeal

BREAK = "\n\n"
"""Between texts that were items of their own."""

TEXT_PARTS = ("input_text", "output_text", "text")


class Conversation:
    """Collects items.

    Attributes:
        messages: As llama-server's chat endpoint takes them, but for what clients break in the history of tool calls.
            Complete after `end`.
        images: Those within them.
    """

    def __init__(self, tools: ToolSet, seal: ThoughtSeal) -> None:
        self.messages: list[Json] = []
        self.images: list[ImageSource] = []
        self._tools = tools
        self._seal = seal
        self._turn = _Turn()

    def add_instructions(self, text: str) -> None:
        """Add what comes before everything."""
        self._add_system(text)

    def add_user_text(self, text: str) -> None:
        """Add a question that is nothing but text."""
        self.messages.append({"role": "user", "content": text})

    def add(self, items: Sequence[wire.Item]) -> None:
        """Add the request's items.

        Raises:
            InvalidRequest: One of them is nothing that the model can be shown.
        """
        for i, item in enumerate(items):
            self._add(item, f"input[{i}]")

    def end(self) -> None:
        """Close the last turn."""
        if turn := self._turn.build():
            self.messages.append(turn)
        self._turn = _Turn()

    def _add(self, item: wire.Item, where: str) -> None:
        match item:
            case wire.MessageItem(role="assistant"):
                self._turn.texts.append(_text(item.content, where))
            case wire.MessageItem():
                self._add_message(item, where)
            case wire.ReasoningItem():
                self._turn.thoughts.append(self._thought(item))
            case wire.FunctionCallItem():
                name = self._tools.known_as(item.name, item.namespace)
                self._turn.add_call(item.call_id, name, item.arguments)
            case wire.CustomToolCallItem():
                arguments = msgspec.json.encode({"input": item.input}).decode()
                self._turn.add_call(item.call_id, item.name, arguments)
            case wire.FunctionCallOutputItem() | wire.CustomToolCallOutputItem():
                self._add_output(item.call_id, item.output, f"{where}.output")
            case wire.ItemReference():
                raise invalid(where, "nothing is stored here that an item_reference could mean; send the item itself.")
            case _:
                pass  # see wire.SkippedItem

    def _add_message(self, item: wire.MessageItem, where: str) -> None:
        self.end()
        if item.role != "user":
            self._add_system(_text(item.content, where))
            return
        content = _content(item.content, where)
        self.images += content.images
        self.messages.append({"role": "user", "content": content.build()})

    def _add_system(self, text: str) -> None:
        """Add to the system message that is being written, if one is: chat templates expect a single one in front.

        `developer` is OpenAI's newer word for the same thing; chat templates know only the old one.
        """
        if self.messages and self.messages[-1]["role"] == "system":
            self.messages[-1]["content"] += BREAK + text
        else:
            self.messages.append({"role": "system", "content": text})

    def _add_output(self, call_id: str | None, output: Any, where: str) -> None:
        self.end()
        content = _output(output, where)
        self.images += content.images
        self.messages.append({"role": "tool", "content": content.build(), "tool_call_id": call_id})

    def _thought(self, item: wire.ReasoningItem) -> str:
        """Return the thought: sealed, or as the client shows it; what was sealed elsewhere is lost."""
        opened = self._seal.open(item.encrypted_content) if item.encrypted_content else None
        return opened or BREAK.join(part.text for part in item.content or item.summary or () if part.text)


class _Turn:
    """What the model wrote in one go."""

    def __init__(self) -> None:
        self.thoughts: list[str] = []
        self.texts: list[str] = []
        self._calls: list[Json] = []

    def add_call(self, call_id: str | None, name: str, arguments: str | Json | None) -> None:
        function = {"name": name, "arguments": arguments}
        self._calls.append({"id": call_id, "type": "function", "function": function})

    def build(self) -> Json | None:
        """Return the message. A thought that led to nothing is none."""
        if not self.texts and not self._calls:
            return None
        built: Json = {"role": "assistant", "content": _joined(self.texts)}
        if thought := _joined(self.thoughts):
            built["reasoning_content"] = thought
        if self._calls:
            built["tool_calls"] = self._calls
        return built


def _joined(texts: Sequence[str]) -> str:
    return BREAK.join(text for text in texts if text)


def _content(given: str | list[wire.ContentPart], where: str) -> Content:
    content = Content()
    if isinstance(given, str):
        content.add_text(given)
        return content
    for i, part in enumerate(given):
        match part:
            case wire.InputTextPart(text) | wire.OutputTextPart(text) | wire.PlainTextPart(text):
                content.add_text(text)
            case wire.RefusedPart(refusal):
                content.add_text(refusal)
            case wire.InputImagePart():
                here = f"{where}.content[{i}]"
                content.add_image(_image_url(part.image_url, here), f"{here}.image_url")
            case wire.InputFilePart():
                raise _no_file(f"{where}.content[{i}]")
    return content


def _text(given: str | list[wire.ContentPart], where: str) -> str:
    content = _content(given, where).build()
    if not isinstance(content, str):
        raise invalid(f"{where}.content", "only the user's messages may hold images.")
    return content


def _image_url(url: Any, where: str) -> str:
    if not isinstance(url, str):
        raise invalid(f"{where}.image_url", "it is missing; files are not stored here, so file_id means nothing.")
    return url


def _no_file(where: str) -> InvalidRequest:
    return invalid(where, "the served model takes text and images only, not 'input_file'.")


def _output(output: Any, where: str) -> Content:
    """Return what a tool said, whatever the client wraps it in: text, parts, `{"content": ...}`, or any JSON."""
    content = Content()
    match output:
        case str():
            content.add_text(output)
        case None:
            pass
        case {"content": str() | list() as inner}:
            # older Codex: {"content": ..., "success": ...}; MCP clients: {"content": [...], "isError": ...}
            return _output(inner, f"{where}.content")
        case [_, *_] if all(_is_part(part) for part in output):
            for i, part in enumerate(output):
                _add_part(content, part, f"{where}[{i}]")
        case _:
            content.add_text(msgspec.json.encode(output).decode())
    return content


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") in (*TEXT_PARTS, "input_image", "input_file")


def _add_part(content: Content, part: Json, where: str) -> None:
    match part:
        case {"type": "input_image"}:
            content.add_image(_image_url(part.get("image_url"), where), f"{where}.image_url")
        case {"type": "input_file"}:
            raise _no_file(where)
        case {"text": str() as text}:
            content.add_text(text)
        case _:
            raise invalid(f"{where}.text", "expected a string.")
