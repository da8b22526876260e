"""OpenAI Responses, which Codex speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from gateway import errors
from gateway.dialects.answer_schema import checked_schema
from gateway.dialects.base import AnswerHead
from gateway.dialects.fields import chosen_sampling
from gateway.dialects.json_body import invalid, too_deep
from gateway.dialects.openai_chat_request import TextFormat
from gateway.dialects.openai_chat_thinking import asked_of_thinking
from gateway.dialects.openai_chat_turns import begin_turn
from gateway.dialects.openai_responses_answer import FAILED, ItemWriter, ResponseWriter, error_object, response_body
from gateway.dialects.openai_responses_input import Conversation
from gateway.dialects.openai_responses_request import STORED, FlatJsonSchemaFormat, ResponsesRequest, decode
from gateway.dialects.openai_responses_stream import EventWriter, ResponseStreamRenderer
from gateway.dialects.openai_responses_tools import ToolSet, chat_tools, tool_choice
from gateway.request import GenerationRequest
from gateway.thinking import plan_thinking
from gateway.toolcalls.history import mend_history
from gateway.toolcalls.toolbox import compile_tools

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.dialects.complete import CompleteAnswer
    from gateway.request import Json
    from gateway.thinking import ThinkingPolicy
    from gateway.thoughts.seal import ThoughtSeal

ENCRYPTED_CONTENT = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"

NOBODY = AnswerHead(id="0", created=0, model="", fingerprint="")
"""Of a response that failed before there was one."""


@dataclass(slots=True)
class ParsedResponses:
    """A checked request for a response."""

    generation: GenerationRequest
    stream: bool
    tools: ToolSet
    echo: Json
    seal: ThoughtSeal | None
    choices: int = 1

    def stream_renderer(self, head: AnswerHead) -> ResponseStreamRenderer:
        """Return the writer of a streamed answer."""
        return ResponseStreamRenderer(ResponseWriter(head, self.echo), self._items(head))

    def body(self, head: AnswerHead, answers: Sequence[CompleteAnswer]) -> bytes:
        """Write the answer in one piece."""
        return response_body(ResponseWriter(head, self.echo), self._items(head), answers[0])

    def _items(self, head: AnswerHead) -> ItemWriter:
        return ItemWriter(head, self.tools, self.seal, self.generation.logprobs or 0)


class Responses:
    """The dialect of `POST /v1/responses`."""

    path = "/v1/responses"
    api = "openai"
    route = "responses"
    keep_alive = b": keep-alive\n\n"

    def __init__(self, policy: ThinkingPolicy, seal: ThoughtSeal) -> None:
        """Set up.

        Args:
            policy: How much the model thinks where a request does not say.
            seal: Closes thoughts for clients to keep, and opens them when they come back.
        """
        self._policy = policy
        self._seal = seal

    def parse(self, body: bytes) -> ParsedResponses:
        """Check a request body.

        Raises:
            InvalidRequest: It names the field.
        """
        try:
            request = decode(body)
            return self._to_parsed(request)
        except RecursionError:
            raise too_deep() from None

    def error_body(self, error: errors.GatewayError) -> dict[str, Any]:
        """Render an error that is sent instead of an answer."""
        body = errors.openai_body(error)
        if error.code == errors.PromptTooLong.default_code:  # what is said of the conversation as a whole
            body["error"]["param"] = "input"
        return body

    def stream_error(self, error: errors.GatewayError) -> bytes:
        """Write an error twice: OpenAI's own clients raise the `error` event, Codex reads only `response.failed`."""
        writer = EventWriter()
        said = self.error_body(error)["error"]
        writer.add("error", **{**said, "type": "error"}, error=said)
        failed = ResponseWriter(NOBODY, _echo(ResponsesRequest(input=""), ToolSet(()))).write(
            FAILED, error=error_object(error)
        )
        writer.add("response.failed", response=msgspec.Raw(failed))
        return writer.take()

    def _to_parsed(self, body: ResponsesRequest) -> ParsedResponses:
        for name, what in STORED.items():
            if getattr(body, name) not in (None, False):
                raise invalid(name, what)
        tools = ToolSet(body.tools or ())
        include = body.include or ()
        return ParsedResponses(
            generation=self._to_generation(body, tools),
            stream=bool(body.stream),
            tools=tools,
            echo=_echo(body, tools),
            seal=self._seal if ENCRYPTED_CONTENT in include else None,
        )

    def _to_generation(self, body: ResponsesRequest, tools: ToolSet) -> GenerationRequest:
        conversation = self._conversation(body, tools)
        functions = chat_tools(tools)
        choice = tool_choice(body, tools)
        response_format = _response_format(body)
        bound = response_format is not None or choice.mode == "required"
        return GenerationRequest(
            messages=begin_turn(mend_history(conversation.messages), bound=bound),
            images=tuple(conversation.images),
            thinking=plan_thinking(asked_of_thinking(body), self._policy, max_tokens=body.max_output_tokens),
            max_tokens=body.max_output_tokens,
            logprobs=_logprobs(body, functions),
            tools=functions,
            tool_choice=choice,
            toolbox=compile_tools(
                functions, choice, parallel=body.parallel_tool_calls, fields=tools.fields.__getitem__
            ),
            parallel_tool_calls=body.parallel_tool_calls if functions else None,
            response_format=response_format,
            sampling=chosen_sampling(body),
        )

    def _conversation(self, body: ResponsesRequest, tools: ToolSet) -> Conversation:
        conversation = Conversation(tools, self._seal)
        if body.instructions:
            conversation.add_instructions(body.instructions)
        if isinstance(body.input, str):
            conversation.add_user_text(body.input)
        else:
            conversation.add(body.input)
        conversation.end()
        if not conversation.messages:
            raise invalid("input", "there is no message in it.")
        return conversation


def _logprobs(body: ResponsesRequest, functions: list[Json] | None) -> int | None:
    """Return how many alternatives of a token are wanted, or None for no log-probabilities at all.

    Raises:
        InvalidRequest: There are functions too: llama-server has not both in a stream, and streams are all we ask for.
    """
    asked = "top_logprobs" if body.top_logprobs else "include" if LOGPROBS in (body.include or ()) else None
    if asked and functions:
        raise invalid(asked, "there are no log-probabilities of an answer that may hold tool calls.")
    return body.top_logprobs or 0 if asked else None


def _response_format(body: ResponsesRequest) -> Json | None:
    """Return the text's format in the shape that chat completions have, which is one level deeper."""
    wanted = body.text.format if body.text else None
    if wanted is None or isinstance(wanted, TextFormat):
        return None
    built: Json = msgspec.to_builtins(wanted)
    if isinstance(wanted, FlatJsonSchemaFormat):
        built["schema"] = checked_schema(wanted.schema, "text.format.schema")
    kind = built.pop("type")
    return {"type": kind, kind: built} if built else {"type": kind}


def _echo(body: ResponsesRequest, tools: ToolSet) -> Json:
    """Return what the `response` object repeats.

    Where a request leaves a number open, the object has OpenAI's default: the specifications want one. The tools are
    those that the model could call, under the names that it knows.
    """
    wanted = body.text.format if body.text else None
    reasoning = body.reasoning if isinstance(body.reasoning, dict) else {}
    return {
        "background": False,
        "frequency_penalty": _or(body.frequency_penalty, 0.0),
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": body.max_tool_calls,
        "metadata": body.metadata or {},
        "parallel_tool_calls": _or(body.parallel_tool_calls, True),
        "presence_penalty": _or(body.presence_penalty, 0.0),
        "previous_response_id": None,
        "prompt_cache_key": body.prompt_cache_key,
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "safety_identifier": body.safety_identifier,
        "service_tier": "default",
        "store": False,
        "temperature": _or(body.temperature, 1.0),
        "text": {"format": msgspec.to_builtins(wanted or TextFormat())},
        "tool_choice": _given(msgspec.to_builtins(body.tool_choice or "auto")),
        "tools": [msgspec.to_builtins(tool) for tool in tools.functions],
        "top_logprobs": _or(body.top_logprobs, 0),
        "top_p": _or(body.top_p, 1.0),
        "truncation": "disabled",
        "user": body.user,
    }


def _given(choice: Any) -> Any:
    return {name: value for name, value in choice.items() if value is not None} if isinstance(choice, dict) else choice


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
