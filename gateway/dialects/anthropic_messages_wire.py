"""Anthropic Messages: the messages of a request, and the blocks they are made of.

After https://platform.claude.com/docs/en/api/messages/create. A block of any other kind, such as one that a tool of
Anthropic's own servers has left, is refused by name: without it the conversation would be another one.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.request import Json

Id = Annotated[str, Meta(min_length=1)]


class _Tagged(msgspec.Struct, tag_field="type"):
    """Something with a `type`."""


class TextBlock(_Tagged, tag="text"):
    """Text."""

    text: str


class Base64Source(_Tagged, tag="base64"):
    """A file, within the request."""

    media_type: str
    data: str


class UrlSource(_Tagged, tag="url"):
    """A file elsewhere."""

    url: str


class PlainTextSource(_Tagged, tag="text"):
    """A text, as a document."""

    data: str


class ImageBlock(_Tagged, tag="image"):
    """An image."""

    source: Base64Source | UrlSource


class BlocksSource(_Tagged, tag="content"):
    """Blocks, as a document."""

    content: str | list[TextBlock | ImageBlock]


class DocumentBlock(_Tagged, tag="document"):
    """A document."""

    source: PlainTextSource | BlocksSource | Base64Source | UrlSource
    title: str | None = None
    context: str | None = None


class SearchResultBlock(_Tagged, tag="search_result"):
    """A passage that a search has found."""

    source: str
    title: str
    content: list[TextBlock]


class ToolResultBlock(_Tagged, tag="tool_result"):
    """What a tool call has returned."""

    tool_use_id: Id
    content: str | list[TextBlock | ImageBlock | DocumentBlock | SearchResultBlock] | None = None
    is_error: bool | None = None


class ThinkingBlock(_Tagged, tag="thinking"):
    """A thought, and what we or others have sealed it with."""

    thinking: str
    signature: str = ""


class RedactedThinkingBlock(_Tagged, tag="redacted_thinking"):
    """A sealed thought alone."""

    data: str


class ToolUseBlock(_Tagged, tag="tool_use"):
    """A tool call."""

    id: Id
    name: Id
    input: Json


UserBlock = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolResultBlock
AssistantBlock = TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock


class _Message(msgspec.Struct, tag_field="role"):
    """One message of the conversation."""


class UserMessage(_Message, tag="user"):
    """The client's words, and what its tools returned."""

    content: str | list[UserBlock]


class AssistantMessage(_Message, tag="assistant"):
    """The model's."""

    content: str | list[AssistantBlock]


class SystemMessage(_Message, tag="system"):
    """The operator's, within the conversation: beta `mid-conversation-system-2026-04-07`."""

    content: str | list[TextBlock]


Message = UserMessage | AssistantMessage | SystemMessage
