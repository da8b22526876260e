"""Anthropic Messages: a conversation in Anthropic's words -> one in those of llama-server's chat endpoint.

Consecutive messages of one role are one turn, as Anthropic's reference says. The results of a turn's tool calls follow
it directly, in the order of the calls: chat templates pair them by their order or by id, and both are right then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gateway.dialects import anthropic_messages_wire as wire
from gateway.dialects.content import Content
from gateway.dialects.json_body import invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.request import ImageSource, Json
    from gateway.thoughts.seal import ThoughtSeal

    Block = wire.UserBlock | wire.AssistantBlock
    Placed = tuple[str, Block]  # and the request's field that holds it, for errors

BILLING_HEADER = "x-anthropic-billing-header:"
"""So begins a block that Claude Code puts before its system prompt. It differs from request to request, so that nothing
after it would be found in the prefix cache: https://github.com/ggml-org/llama.cpp/pull/20623"""

IMAGE_BELOW = "[image, see below]"
"""In a tool's result, where an image was. Gemma 4's template would drop it there, so the user's next turn shows it."""


def to_chat_messages(
    system: str | list[wire.TextBlock] | None, messages: Sequence[wire.Message], seal: ThoughtSeal
) -> tuple[list[Json], list[ImageSource]]:
    """Return the messages, and the images in them.

    Raises:
        InvalidRequest: A tool call has no result, or a result no call; or a document is not text.
    """
    conversation = _Conversation(seal)
    for model_turn, replies in _exchanges(_turns(system, messages)):
        conversation.add(model_turn, replies)
    if not conversation.messages:
        raise invalid("messages", "there is nothing in them.")
    if len(conversation.messages) == 1 and conversation.messages[0]["role"] == "assistant":
        raise invalid("messages", "there is nothing in them but the beginning of the answer.")
    return conversation.messages, conversation.images


@dataclass(slots=True)
class _Turn:
    role: str
    blocks: list[Placed]


def _turns(system: str | list[wire.TextBlock] | None, messages: Iterable[wire.Message]) -> list[_Turn]:
    turns: list[_Turn] = []
    given = [("system", _blocks(system or [], "system"))]
    for i, message in enumerate(messages):
        given.append((str(message.__struct_config__.tag), _blocks(message.content, f"messages[{i}].content")))
    for role, blocks in given:
        kept = [block for block in blocks if role != "system" or not _is_billing(block[1])]
        if kept and turns and turns[-1].role == role:
            turns[-1].blocks += kept
        elif kept:
            turns.append(_Turn(role, kept))
    return turns


def _blocks(content: str | Sequence[Block], where: str) -> list[Placed]:
    if isinstance(content, str):
        return [(where, wire.TextBlock(content))]
    return [(f"{where}[{i}]", block) for i, block in enumerate(content)]


def _is_billing(block: Block) -> bool:
    return isinstance(block, wire.TextBlock) and block.text.startswith(BILLING_HEADER)


def _exchanges(turns: Iterable[_Turn]) -> Iterator[tuple[_Turn | None, list[_Turn]]]:
    """Yield each turn of the model's, and before them None, with the turns up to its next."""
    model_turn: _Turn | None = None
    replies: list[_Turn] = []
    for turn in turns:
        if turn.role == "assistant":
            yield model_turn, replies
            model_turn, replies = turn, []
        else:
            replies.append(turn)
    yield model_turn, replies


class _Conversation:
    """Collects messages and their images."""

    def __init__(self, seal: ThoughtSeal) -> None:
        self.messages: list[Json] = []
        self.images: list[ImageSource] = []
        self._seal = seal

    def add(self, model_turn: _Turn | None, replies: list[_Turn]) -> None:
        """Add a turn of the model's, the results of its calls and what else came after it."""
        calls = self._add_model_turn(model_turn) if model_turn else {}
        self._add_results(calls, _take_results(replies), replies)
        for turn in replies:
            if turn.blocks:
                self._add_reply(turn)

    def _add_model_turn(self, turn: _Turn) -> dict[str, str]:
        """Return the ids of its calls, and where they stand."""
        thoughts = [thought for _, block in turn.blocks if (thought := self._thought(block))]
        calls = [(where, block) for where, block in turn.blocks if isinstance(block, wire.ToolUseBlock)]
        # a text that was cut in pieces, around citations or calls, is one text again
        text = "".join(block.text for _, block in turn.blocks if isinstance(block, wire.TextBlock))
        built: Json = {"role": "assistant", "content": text}
        if thoughts:
            built["reasoning_content"] = "\n".join(thoughts)
        if calls:
            built["tool_calls"] = [_tool_call(block) for _, block in calls]
        self.messages.append(built)
        placed = {block.id: where for where, block in calls}
        if len(placed) < len(calls):
            where, block = next((where, block) for where, block in calls if placed[block.id] != where)
            raise invalid(f"{where}.id", f"`tool_use` ids must be unique: {block.id}.")
        return placed

    def _thought(self, block: Block) -> str | None:
        """Return the thought that a block holds, or None if it is no thought, or not one that was sealed here."""
        match block:
            case wire.ThinkingBlock(signature=sealed) | wire.RedactedThinkingBlock(data=sealed):
                return self._seal.open(sealed)
        return None

    def _add_results(
        self, calls: dict[str, str], results: dict[str, tuple[str, wire.ToolResultBlock]], replies: list[_Turn]
    ) -> None:
        for call_id, (where, _) in results.items():
            if call_id not in calls:
                raise invalid(
                    f"{where}.tool_use_id",
                    f"unexpected `tool_use_id` found in `tool_result` blocks: {call_id}. Each `tool_result` block must "
                    "have a corresponding `tool_use` block in the previous message.",
                )
        images: list[Placed] = []
        for call_id, where in calls.items():
            if call_id not in results:
                raise invalid(
                    f"{where}.id",
                    f"`tool_use` ids were found without `tool_result` blocks immediately after: {call_id}. Each "
                    "`tool_use` block must have a corresponding `tool_result` block in the next message.",
                )
            text = _result_text(*results[call_id], images)
            self.messages.append({"role": "tool", "content": text, "tool_call_id": call_id})
        if images:
            next(turn for turn in replies if turn.role == "user").blocks[:0] = images

    def _add_reply(self, turn: _Turn) -> None:
        content = Content()
        after_text = False
        for where, block in _plain(turn.blocks):
            if isinstance(block, wire.TextBlock):
                content.add_text("\n" + block.text if after_text else block.text)
            elif isinstance(block.source, wire.UrlSource):
                content.add_image(block.source.url, f"{where}.source.url")
            else:
                url = f"data:{block.source.media_type};base64,{block.source.data}"
                content.add_image(url, f"{where}.source.data")
            after_text = isinstance(block, wire.TextBlock)
        self.images += content.images
        self.messages.append({"role": turn.role, "content": content.build()})


def _tool_call(block: wire.ToolUseBlock) -> Json:
    function = {"name": block.name, "arguments": msgspec.json.encode(block.input).decode()}
    return {"id": block.id, "type": "function", "function": function}


def _take_results(replies: Iterable[_Turn]) -> dict[str, tuple[str, wire.ToolResultBlock]]:
    """Remove the tool results from the turns and return them, by the id of their call."""
    found: dict[str, tuple[str, wire.ToolResultBlock]] = {}
    for turn in replies:
        for where, block in turn.blocks:
            if not isinstance(block, wire.ToolResultBlock):
                continue
            if block.tool_use_id in found:
                raise invalid(f"{where}.tool_use_id", f"there are two results of {block.tool_use_id}.")
            found[block.tool_use_id] = (where, block)
        turn.blocks = [placed for placed in turn.blocks if not isinstance(placed[1], wire.ToolResultBlock)]
    return found


def _result_text(where: str, block: wire.ToolResultBlock, images: list[Placed]) -> str:
    """Return what the model reads as a call's result. Images are added to `images`."""
    texts: list[str] = []
    for placed in _plain(_blocks(block.content or "", f"{where}.content")):
        if isinstance(placed[1], wire.TextBlock):
            texts.append(placed[1].text)
        else:
            texts.append(IMAGE_BELOW)
            images.append(placed)
    text = "\n".join(texts)
    if block.is_error and not text.lower().startswith("error"):
        return f"Error: {text}"
    return text


def _plain(blocks: Iterable[Placed]) -> Iterator[tuple[str, wire.TextBlock | wire.ImageBlock]]:
    """Yield the texts and images that blocks of the client's stand for."""
    for where, block in blocks:
        match block:
            case wire.TextBlock() | wire.ImageBlock():
                yield where, block
            case wire.SearchResultBlock():
                passages = [one.text for one in block.content]
                yield where, wire.TextBlock("\n".join([block.title, block.source, *passages]))
            case wire.DocumentBlock():
                yield from _document(where, block)


def _document(where: str, block: wire.DocumentBlock) -> Iterator[tuple[str, wire.TextBlock | wire.ImageBlock]]:
    for text in (block.title, block.context):
        if text:
            yield where, wire.TextBlock(text)
    match block.source:
        case wire.PlainTextSource(data):
            yield f"{where}.source.data", wire.TextBlock(data)
        case wire.BlocksSource(content):
            yield from _plain(_blocks(content, f"{where}.source.content"))
        case _:
            kind = str(block.source.__struct_config__.tag)
            raise invalid(f"{where}.source.type", f"the served model reads documents as text only, not {kind!r}.")
