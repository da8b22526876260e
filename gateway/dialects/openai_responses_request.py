"""OpenAI Responses: the request body.

Field by field after https://platform.openai.com/docs/api-reference/responses/create and https://www.openresponses.org,
as of November 2026, and after what Codex 0.169 sends. Each top-level field is honoured, ignored because ignoring it
keeps its promise (`IGNORED`), or refused by name. Within items and tools unknown fields are ignored, because clients
send back whatever an answer held.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.dialects import fields
from gateway.dialects.json_body import decode_body
from gateway.dialects.openai_chat_request import JsonObjectFormat, TextFormat
from gateway.dialects.openai_chat_thinking import ThinkingFields
from gateway.request import Json

IGNORED = {
    "client_metadata": "nobody is told",
    "context_management": "nothing is compacted; a prompt that is too long is refused",
    "max_tool_calls": "it bounds calls of built-in tools, and there are none",
    "prompt_cache_key": "the prefix cache works without it",
    "prompt_cache_options": "the prefix cache works without it",
    "prompt_cache_retention": "the prefix cache works without it",
    "safety_identifier": "nobody is told",
    "service_tier": "there is one tier",
    "store": "nothing is stored, and answers say so",
    "stream_options": "nothing is padded",
    "truncation": "nothing is left out; a prompt that is too long is refused",
    "user": "nobody is told",
}
"""Top-level fields that are accepted and have no effect, with the reason."""

UNSUPPORTED = {
    "moderation": "This endpoint does not moderate.",
}
"""Top-level fields of OpenAI's that would change the answer and that we cannot honour, with what to say unless null."""

STORED = {
    "background": "Nothing is stored here that could be fetched later: wait for the answer, or stream it.",
    "conversation": "Nothing is stored here: send the whole conversation in input.",
    "previous_response_id": "Nothing is stored here: send the whole conversation in input.",
    "prompt": "Nothing is stored here: send the prompt's text in instructions and input.",
}
"""Fields that would need what earlier requests left behind, with what to say. Null and false ask for nothing."""

HOSTED = "web_search"
"""Stands for every kind of tool that is not the client's own function: OpenAI would run it, and we cannot."""


class _ContentPart(msgspec.Struct, tag_field="type"):
    """One part of a message's content."""


class InputTextPart(_ContentPart, tag="input_text"):
    text: str


class OutputTextPart(_ContentPart, tag="output_text"):
    text: str


class PlainTextPart(_ContentPart, tag="text"):
    text: str


class RefusedPart(_ContentPart, tag="refusal"):
    refusal: str


class InputImagePart(_ContentPart, tag="input_image"):
    image_url: str | None = None
    file_id: str | None = None


class InputFilePart(_ContentPart, tag="input_file"):
    pass


ContentPart = InputTextPart | OutputTextPart | PlainTextPart | RefusedPart | InputImagePart | InputFilePart


class _Item(msgspec.Struct, tag_field="type"):
    """One item of the conversation."""


class MessageItem(_Item, tag="message"):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[ContentPart]


class FunctionCallItem(_Item, tag="function_call"):
    name: str
    arguments: str | Json | None = None
    call_id: str | None = None
    namespace: str | None = None


class FunctionCallOutputItem(_Item, tag="function_call_output"):
    output: Any
    call_id: str | None = None


class CustomToolCallItem(_Item, tag="custom_tool_call"):
    name: str
    input: str
    call_id: str | None = None


class CustomToolCallOutputItem(_Item, tag="custom_tool_call_output"):
    output: Any
    call_id: str | None = None


class ThoughtPart(msgspec.Struct):
    text: str = ""


class ReasoningItem(_Item, tag="reasoning"):
    summary: list[ThoughtPart] | None = None
    content: list[ThoughtPart] | None = None
    encrypted_content: str | None = None


class ItemReference(_Item, tag="item_reference"):
    pass


class WebSearchCallItem(_Item, tag="web_search_call"):
    pass


class FileSearchCallItem(_Item, tag="file_search_call"):
    pass


SkippedItem = WebSearchCallItem | FileSearchCallItem
"""Says nothing that is not also in the messages around it: what was found is in the answer that quotes it."""

Item = (
    MessageItem
    | FunctionCallItem
    | FunctionCallOutputItem
    | CustomToolCallItem
    | CustomToolCallOutputItem
    | ReasoningItem
    | ItemReference
    | SkippedItem
)


class _ResponsesTool(msgspec.Struct, tag_field="type"):
    """One tool, or several under one name."""


class FunctionTool(_ResponsesTool, tag="function"):
    name: fields.FunctionName
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class HostedTool(_ResponsesTool, tag=HOSTED):
    pass


class NamespaceTool(_ResponsesTool, tag="namespace"):
    name: fields.FunctionName
    tools: list[FunctionTool | HostedTool]
    description: str | None = None


class _Choice(msgspec.Struct, tag_field="type"):
    """A choice among the tools."""


class FunctionChoice(_Choice, tag="function"):
    name: str
    namespace: str | None = None


class AllowedToolsChoice(_Choice, tag="allowed_tools"):
    mode: Literal["none", "auto", "required"]
    tools: Annotated[list[Json], Meta(min_length=1)]


class FlatJsonSchemaFormat(msgspec.Struct, tag_field="type", tag="json_schema", omit_defaults=True):
    name: str
    schema: Json
    description: str | None = None
    strict: bool | None = None


class TextSettings(msgspec.Struct):
    format: TextFormat | JsonObjectFormat | FlatJsonSchemaFormat | None = None
    verbosity: Any = None


class ResponsesRequest(ThinkingFields, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/responses`."""

    input: str | Annotated[list[Item], Meta(min_length=1)]
    model: str = ""
    instructions: str | None = None
    stream: bool | None = None
    include: list[str] | None = None
    max_output_tokens: fields.Tokens | None = None
    temperature: fields.Temperature | None = None
    top_p: fields.Probability | None = None
    top_k: fields.TopK | None = None
    min_p: fields.Probability | None = None
    seed: fields.Seed | None = None
    presence_penalty: fields.Penalty | None = None
    frequency_penalty: fields.Penalty | None = None
    repeat_penalty: fields.RepeatPenalty | None = None
    top_logprobs: fields.TopLogprobs | None = None
    tools: Annotated[list[FunctionTool | NamespaceTool | HostedTool], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | AllowedToolsChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextSettings | None = None
    metadata: dict[str, Any] | None = None
    # refused unless they ask for nothing: see STORED
    background: bool | None = None
    conversation: Any = None
    previous_response_id: Any = None
    prompt: Any = None
    # refused, unless null: see UNSUPPORTED
    moderation: fields.Nothing = None
    # accepted and ignored: see IGNORED
    client_metadata: Any = None
    context_management: Any = None
    max_tool_calls: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    safety_identifier: Any = None
    service_tier: Any = None
    store: Any = None
    stream_options: Any = None
    truncation: Any = None
    user: Any = None


def decode(body: bytes) -> ResponsesRequest:
    """Check a body's fields.

    Raises:
        InvalidRequest: It is not JSON, or a field has the wrong type or value, or is unknown; `param` names it.
    """
    request = decode_body(_decode, body)
    fields.refuse_unsupported(request, UNSUPPORTED)
    return request


def _decode(body: bytes) -> ResponsesRequest:
    given = msgspec.json.decode(body)
    if isinstance(given, dict):
        _complete(given)
    return msgspec.convert(given, ResponsesRequest)


def _complete(body: Json) -> None:
    """Say of each item and tool what kind it is.

    A message or a reference need not say that it is one, and a tool of a kind that we do not know is as good as none.
    """
    for item in _objects(body.get("input")):
        if item.get("type") is None:
            # OpenAI's reference lets both kinds leave it out
            item["type"] = "item_reference" if "id" in item and "role" not in item else "message"
    for tool in _objects(body.get("tools")):
        for each in (tool, *_objects(tool.get("tools"))):
            if isinstance(each.get("type"), str) and each["type"] not in ("function", "namespace"):
                each["type"] = HOSTED


def _objects(value: Any) -> list[Json]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
