"""OpenAI Chat Completions: the request body.

Field by field after https://platform.openai.com/docs/api-reference/chat/create, as of November 2026. Each top-level
field is honoured, ignored because ignoring it keeps its promise (`IGNORED`), or refused by name. Within messages
unknown fields are ignored, because clients send back whatever an answer held.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.dialects import fields
from gateway.dialects.answer_schema import checked_schema
from gateway.dialects.content import Content
from gateway.dialects.json_body import decode_body, invalid
from gateway.dialects.openai_chat_thinking import ThinkingFields, asked_of_thinking
from gateway.dialects.openai_chat_tool_choice import Given, to_tool_choice
from gateway.dialects.openai_chat_turns import begin_turn
from gateway.request import GenerationRequest, ImageSource, Json
from gateway.thinking import ThinkingPolicy, plan_thinking
from gateway.toolcalls.history import mend_history
from gateway.toolcalls.toolbox import compile_tools

IGNORED = {
    "metadata": "nothing is stored",
    "prediction": "a hint for speed",
    "prompt_cache_key": "the prefix cache works without it",
    "prompt_cache_options": "the prefix cache works without it",
    "prompt_cache_retention": "the prefix cache works without it",
    "safety_identifier": "nobody is told",
    "service_tier": "there is one tier",
    "store": "nothing is stored",
    "user": "nobody is told",
    "verbosity": "the model has no such control",
}
"""Top-level fields that are accepted and have no effect, with the reason."""

UNSUPPORTED = {
    "audio": "This endpoint answers with text only.",
    "function_call": "Use tool_choice, which replaced it.",
    "functions": "Use tools, which replaced it.",
    "moderation": "This endpoint does not moderate.",
    "web_search_options": "This endpoint does not search the web.",
}
"""Top-level fields of OpenAI's that would change the answer and that we cannot honour, with what to say unless null."""


class _Part(msgspec.Struct, tag_field="type"):
    """One part of a message's content."""


class TextPart(_Part, tag="text"):
    text: str


class RefusalPart(_Part, tag="refusal"):
    refusal: str


class ImageUrl(msgspec.Struct):
    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(_Part, tag="image_url"):
    image_url: ImageUrl


class AudioPart(_Part, tag="input_audio"):
    input_audio: Any = None


class FilePart(_Part, tag="file"):
    file: Any = None


MessageContent = str | list[TextPart | RefusalPart | ImagePart | AudioPart | FilePart]


class FunctionCall(msgspec.Struct):
    name: str
    arguments: str | Json | None = None


class ToolCall(msgspec.Struct):
    function: FunctionCall
    id: str | None = None
    type: Literal["function"] = "function"


class _Message(msgspec.Struct, tag_field="role"):
    """One message of the conversation."""


class SystemMessage(_Message, tag="system"):
    content: MessageContent


class DeveloperMessage(_Message, tag="developer"):
    content: MessageContent


class UserMessage(_Message, tag="user"):
    content: MessageContent


class AssistantMessage(_Message, tag="assistant"):
    content: MessageContent | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    refusal: str | None = None


class ToolMessage(_Message, tag="tool"):
    content: MessageContent
    tool_call_id: str | None = None


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


class FunctionDefinition(msgspec.Struct, omit_defaults=True):
    name: fields.FunctionName
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class Tool(msgspec.Struct):
    function: FunctionDefinition
    type: Literal["function"] = "function"


class JsonSchema(msgspec.Struct, omit_defaults=True):
    name: str
    schema: Json | None = None
    description: str | None = None
    strict: bool | None = None


class _ResponseFormat(msgspec.Struct, tag_field="type"):
    """How the answer's text must look."""


class TextFormat(_ResponseFormat, tag="text"):
    pass


class JsonObjectFormat(_ResponseFormat, tag="json_object"):
    pass


class JsonSchemaFormat(_ResponseFormat, tag="json_schema"):
    json_schema: JsonSchema


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatCompletionRequest(ThinkingFields, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    model: str = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: fields.Tokens | None = None
    max_tokens: fields.Tokens | None = None
    stop: fields.Stop | None = None
    n: fields.Choices | None = None
    temperature: fields.Temperature | None = None
    top_p: fields.Probability | None = None
    top_k: fields.TopK | None = None
    min_p: fields.Probability | None = None
    seed: fields.Seed | None = None
    presence_penalty: fields.Penalty | None = None
    frequency_penalty: fields.Penalty | None = None
    repeat_penalty: fields.RepeatPenalty | None = None
    logit_bias: fields.LogitBias | None = None
    logprobs: bool | None = None
    top_logprobs: fields.TopLogprobs | None = None
    tools: Annotated[list[Tool], Meta(max_length=128)] | None = None
    tool_choice: Given | None = None
    parallel_tool_calls: bool | None = None
    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    modalities: list[Literal["text"]] | None = None
    # accepted and ignored: see IGNORED
    metadata: Any = None
    prediction: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    safety_identifier: Any = None
    service_tier: Any = None
    store: Any = None
    user: Any = None
    verbosity: Any = None
    # refused, unless null: see UNSUPPORTED
    audio: fields.Nothing = None
    function_call: fields.Nothing = None
    functions: fields.Nothing = None
    moderation: fields.Nothing = None
    web_search_options: fields.Nothing = None


_decode = msgspec.json.Decoder(ChatCompletionRequest).decode


def decode(body: bytes) -> ChatCompletionRequest:
    """Check a body's fields.

    Raises:
        InvalidRequest: It is not JSON, or a field has the wrong type or value, or is unknown; `param` names it.
    """
    request = decode_body(_decode, body)
    fields.refuse_unsupported(request, UNSUPPORTED)
    return request


def to_generation(body: ChatCompletionRequest, policy: ThinkingPolicy) -> GenerationRequest:
    """Map a checked body to the internal request.

    Raises:
        InvalidRequest: Fields contradict each other, or ask for what the model cannot take.
    """
    tools: list[Json] | None = msgspec.to_builtins(body.tools) if body.tools else None
    choice = to_tool_choice(body.tool_choice, {tool.function.name for tool in body.tools or ()})
    images: list[ImageSource] = []
    messages = mend_history([_message(one, f"messages[{i}]", images) for i, one in enumerate(body.messages)])
    response_format = _response_format(body)
    max_tokens = body.max_completion_tokens or body.max_tokens
    return GenerationRequest(
        messages=begin_turn(messages, bound=response_format is not None or choice.mode == "required"),
        images=tuple(images),
        thinking=plan_thinking(asked_of_thinking(body), policy, max_tokens=max_tokens),
        max_tokens=max_tokens,
        stop=fields.stop_texts(body.stop),
        logprobs=_logprobs(body),
        tools=tools,
        tool_choice=choice,
        toolbox=compile_tools(tools, choice, parallel=body.parallel_tool_calls),
        parallel_tool_calls=body.parallel_tool_calls if tools else None,
        response_format=response_format,
        sampling=fields.chosen_sampling(body),
    )


def _logprobs(body: ChatCompletionRequest) -> int | None:
    if body.logprobs:
        return body.top_logprobs or 0
    if body.top_logprobs:
        raise invalid("top_logprobs", "it needs logprobs to be true.")
    return None


def _response_format(body: ChatCompletionRequest) -> dict[str, Any] | None:
    wanted = body.response_format
    if wanted is None or isinstance(wanted, TextFormat):
        return None
    built: dict[str, Any] = msgspec.to_builtins(wanted)
    if isinstance(wanted, JsonSchemaFormat) and wanted.json_schema.schema is not None:
        built["json_schema"]["schema"] = checked_schema(wanted.json_schema.schema, "response_format.json_schema.schema")
    return built


def _message(message: Message, where: str, images: list[ImageSource]) -> Json:
    content = _content(_said(message), where)
    images += content.images
    if isinstance(message, AssistantMessage):
        return _assistant(message, content, where)
    if isinstance(message, ToolMessage):
        return {"role": "tool", "content": content.build(), "tool_call_id": message.tool_call_id}
    # `developer` is OpenAI's newer word for the same thing; chat templates know only the old one
    return {"role": "user" if isinstance(message, UserMessage) else "system", "content": content.build()}


def _said(message: Message) -> MessageContent:
    if message.content is None and isinstance(message, AssistantMessage):
        return message.refusal or ""  # which OpenAI's models have in place of content
    return message.content or ""


def _assistant(message: AssistantMessage, content: Content, where: str) -> Json:
    if message.content is None and not (message.tool_calls or message.refusal):
        raise invalid(f"{where}.content", "an assistant message needs content or tool_calls.")
    built: Json = {"role": "assistant", "content": content.build()}
    if message.reasoning_content:
        built["reasoning_content"] = message.reasoning_content
    if message.tool_calls:
        built["tool_calls"] = msgspec.to_builtins(message.tool_calls)
    return built


def _content(given: MessageContent, where: str) -> Content:
    content = Content()
    if isinstance(given, str):
        content.add_text(given)
        return content
    for i, part in enumerate(given):
        match part:
            case TextPart():
                content.add_text(part.text)
            case RefusalPart():
                content.add_text(part.refusal)
            case ImagePart():
                content.add_image(part.image_url.url, f"{where}.content[{i}].image_url.url")
            case AudioPart() | FilePart():
                kind = type(part).__struct_config__.tag
                raise invalid(f"{where}.content[{i}]", f"the served model takes text and images only, not {kind!r}.")
    return content
