"""llama-server's JSON <-> our requests, events and errors.

What goes upstream is a white-list: a body is built from a `GenerationRequest`'s checked fields and nothing else of
the client's. Passing bodies through is a hole: `chat_template_kwargs` may replace the messages, `verbose` returns the
rendered prompt to anyone, `id_slot` picks other people's slots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway import events
from gateway.errors import BodyTooLarge, GatewayError, InvalidRequest, MalformedAnswer, NotReady, UpstreamFailed
from gateway.toolcalls.showing import show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.request import GenerationRequest
    from gateway.thinking import Thinking

CHAT_PATH = b"/v1/chat/completions"
CONTROL_PATH = b"/v1/chat/completions/control"

MALFORMED = "does not match the expected"
"""Within what llama-server says of an answer that it cannot read: "The model produced output that does not match the
expected peg-gemma4 format" (b11549). https://github.com/ggml-org/llama.cpp/issues/25072"""

NO_GRAMMAR = ("JSON schema error", "failed to parse grammar")
"""Within what llama-server says of a schema that it cannot make a grammar of, with status 500 and 400 (b11549)."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for JSON that is broken, of another shape, not UTF-8, or nested too deeply."""


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Logprobs(msgspec.Struct, gc=False):
    content: list[events.TokenLogprob] | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int = 0


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _PromptDetails = msgspec.field(default_factory=_PromptDetails)


class _Timings(msgspec.Struct, gc=False):
    prompt_n: int = 0
    cache_n: int = 0
    predicted_n: int = 0


class _Error(msgspec.Struct, gc=False):
    message: str = "llama-server reported an error without words."
    type: str = ""
    code: int | str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    timings: _Timings | None = None
    error: _Error | None = None


class _Identified(msgspec.Struct, gc=False):
    id: str = ""


class _ErrorBody(msgspec.Struct, gc=False):
    error: _Error


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_id = msgspec.json.Decoder(_Identified).decode
_decode_error = msgspec.json.Decoder(_ErrorBody).decode


def encode_request(request: GenerationRequest) -> bytes:
    """Return the body of a streamed chat completion.

    Streamed always: llama-server notices a client that left a non-streamed request only when all other slots are quiet.

    Raises:
        InvalidRequest: It is nested too deeply.
    """
    _check_images(request.messages)
    optional = {
        "max_tokens": request.max_tokens,
        "response_format": request.response_format,
        **_tools(request),
        **_thinking(request.thinking),
    }
    body: dict[str, Any] = {name: value for name, value in optional.items() if value is not None}
    if request.logprobs is not None:
        # llama-server reports nothing at all for 0 alternatives (b11549); the dialect drops what was not asked for
        body |= {"logprobs": True, "top_logprobs": max(1, request.logprobs)}
    if request.continue_final_message:
        body |= {"continue_final_message": "content", "add_generation_prompt": False}
    body |= request.sampling
    body |= {"messages": request.messages, "stream": True, "stream_options": {"include_usage": True}}
    body["timings_per_token"] = True  # how much is prompt, thought and answer, while it comes
    try:
        return msgspec.json.encode(body)
    except RecursionError:  # how deep is too deep depends on the stack: the body may have been decoded all the same
        raise InvalidRequest("The request body is nested too deeply.") from None


def _check_images(messages: Sequence[dict[str, Any]]) -> None:
    """Let no image through that was not resolved: llama-server would fetch it, from anywhere."""
    contents = [content for message in messages if isinstance(content := message.get("content"), list)]
    images = [part["image_url"]["url"] for content in contents for part in content if part["type"] == "image_url"]
    if not all(url.startswith("data:image/") for url in images):
        raise RuntimeError("an image was not resolved")


def _tools(request: GenerationRequest) -> dict[str, Any]:
    """Return the tools and the choice among them in the words llama-server knows.

    It reads a named choice as `auto`, so the tools that may not be called are left out:
    https://github.com/ggml-org/llama.cpp/issues/26535
    """
    choice = request.tool_choice
    tools = request.tools or []
    if choice.names is not None:
        tools = [tool for tool in tools if tool["function"]["name"] in choice.names]
    if not tools:
        return {}
    return {"tools": show(tools), "tool_choice": choice.mode, "parallel_tool_calls": request.parallel_tool_calls}


def _thinking(thinking: Thinking) -> dict[str, Any]:
    """Return the template's switch, and the budget that is enforced while sampling.

    `OFF` is both: the model may open a thought by itself, whatever the prompt says. The budget begins anew with every
    thought of an answer, so a thought that goes beyond what is left must be ended from outside: `reasoning_control`
    allows `end_thought_request`.
    """
    return {
        "chat_template_kwargs": {"enable_thinking": thinking.enabled},
        "reasoning_budget_tokens": thinking.budget,
        "reasoning_control": True if thinking.enabled and thinking.budget is not None else None,
    }


def end_thought_request(answer_id: str) -> bytes:
    """Return the body that ends the thought under way in an answer, if there is one.

    Args:
        answer_id: The answer's `id` in its chunks.
    """
    return msgspec.json.encode({"id": answer_id, "action": "reasoning_end"})


def decode_id(payload: bytes) -> str:
    """Return the `id` of the answer that a chunk belongs to, or nothing if it has none."""
    try:
        return _decode_id(payload).id
    except UNREADABLE:
        return ""


def decode_events(payload: bytes) -> list[events.UpstreamEvent]:
    """Return the events that one chunk of the stream stands for.

    Raises:
        GatewayError: The chunk reports an error, or is not what llama-server sends.
    """
    try:
        chunk = _decode_chunk(payload)
    except UNREADABLE as error:
        raise UpstreamFailed(f"llama-server sent a chunk that cannot be read: {error}") from error
    if chunk.error is not None:
        raise _to_error(500, chunk.error)
    found: list[events.UpstreamEvent] = []
    for choice in chunk.choices:
        _add_choice(found, choice)
    if chunk.usage is not None:
        usage = chunk.usage
        found.append(
            events.Usage(usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens)
        )
    elif chunk.timings is not None:
        counts = chunk.timings
        found.append(events.Counts(counts.prompt_n + counts.cache_n, counts.cache_n, counts.predicted_n))
    return found


def _add_choice(found: list[events.UpstreamEvent], choice: _Choice) -> None:
    delta = choice.delta
    if delta.reasoning_content:
        found.append(events.ReasoningDelta(delta.reasoning_content))
    if delta.content:
        logprobs = choice.logprobs.content if choice.logprobs is not None else None
        found.append(events.TextDelta(delta.content, logprobs))
    for call in delta.tool_calls or ():
        function = call.function or _Function()
        found.append(events.ToolCallDelta(call.index, call.id, function.name, function.arguments or ""))
    if choice.finish_reason is not None:
        found.append(events.Finish(choice.finish_reason))


def decode_error(status: int, body: bytes) -> GatewayError:
    """Return the failure that a refused request's answer stands for."""
    if status == BodyTooLarge.status:  # without a body
        return BodyTooLarge("The request body is larger than llama-server reads.")
    try:
        error = _decode_error(body).error
    except UNREADABLE:
        return UpstreamFailed(f"llama-server answered with status {status} and no reason.")
    return _to_error(status, error)


def _to_error(status: int, error: _Error) -> GatewayError:
    if error.type == "exceed_context_size_error":
        return InvalidRequest(error.message, code="context_length_exceeded", param="messages")
    if error.type == "unavailable_error":
        return NotReady(error.message, retry_after=1)
    if any(words in error.message for words in NO_GRAMMAR):
        return InvalidRequest(f"llama-server cannot make a grammar of this JSON Schema: {error.message}")
    if status == InvalidRequest.status:
        return InvalidRequest(error.message)
    if MALFORMED in error.message:
        return MalformedAnswer(f"llama-server failed: {error.message}")
    return UpstreamFailed(f"llama-server failed: {error.message}")
