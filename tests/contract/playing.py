"""A scene asked for in any dialect, streamed or not, and what came of it in words that are the same for all."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx

CHAT: Final = "/v1/chat/completions"
RESPONSES: Final = "/v1/responses"
MESSAGES: Final = "/v1/messages"
DIALECTS: Final = (CHAT, RESPONSES, MESSAGES)
MOST_TOKENS: Final = 900
HANDLED: Final = "x-warmgate-tool-calls"

Json = dict[str, Any]


@dataclass
class Played:
    """What a client has got.

    Attributes:
        status: The HTTP status.
        thought, text: All of each.
        calls: Names and arguments.
        error: Whether it was told of an error, in the body or at the stream's end.
        ending: The dialect's own word for why it ended, or None.
        handled: What it was told became of its calls, in the header or the comment; empty for nothing.
    """

    status: int
    thought: str = ""
    text: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    error: bool = False
    ending: str | None = None
    handled: str = ""


def play(
    client: httpx.Client, path: str, trigger: str, tools: Sequence[Json] = (), *, stream: bool, **fields: Any
) -> Played:
    """Ask, with thinking on and without chance."""
    body = {"model": "contract", "temperature": 0, "stream": stream, "enable_thinking": True}
    response = client.post(path, json=body | _QUESTIONS[path](trigger, tools) | fields)
    played = Played(response.status_code, error=response.status_code != 200, handled=_handled(response))
    if played.error:
        return played
    for part in _events(response) if stream else [response.json()]:
        _READERS[path](played, part, stream)
    return played


def _chat_question(trigger: str, tools: Sequence[Json]) -> Json:
    asked: Json = {"messages": [{"role": "user", "content": trigger}], "max_tokens": MOST_TOKENS}
    return asked | ({"tools": list(tools)} if tools else {})


def _responses_question(trigger: str, tools: Sequence[Json]) -> Json:
    flat = [{"type": "function", **tool["function"]} for tool in tools]
    return {"input": trigger, "tools": flat, "max_output_tokens": MOST_TOKENS}


def _messages_question(trigger: str, tools: Sequence[Json]) -> Json:
    own = [{"name": tool["function"]["name"], "input_schema": tool["function"]["parameters"]} for tool in tools]
    return {"messages": [{"role": "user", "content": trigger}], "tools": own, "max_tokens": MOST_TOKENS}


def _handled(response: httpx.Response) -> str:
    comments = [line.removeprefix(f": {HANDLED}: ") for line in response.text.splitlines() if line.startswith(": x-")]
    return "".join(comments) or response.headers.get(HANDLED, "")


def _events(response: httpx.Response) -> list[Json]:
    lines = (line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: "))
    return [json.loads(line) for line in lines if line != "[DONE]"]


def _read_chat(played: Played, part: Json, stream: bool) -> None:
    played.error = played.error or "error" in part
    for choice in part.get("choices", ()):
        said = choice["delta" if stream else "message"]
        played.thought += said.get("reasoning_content") or ""
        played.text += said.get("content") or ""
        functions = [call["function"] for call in said.get("tool_calls") or ()]
        played.calls += [(function["name"], json.loads(function["arguments"])) for function in functions]
        played.ending = choice["finish_reason"] or played.ending


def _read_responses(played: Played, part: Json, stream: bool) -> None:
    if stream:
        played.error = played.error or part["type"] in {"error", "response.failed"}
        if part["type"] not in {"response.completed", "response.incomplete"}:
            return
        part = part["response"]
    played.ending = part["status"]
    for item in part["output"]:
        match item["type"]:
            case "reasoning":
                played.thought += "".join(piece["text"] for piece in item["summary"])
            case "message":
                played.text += "".join(piece["text"] for piece in item["content"])
            case "function_call":
                played.calls.append((item["name"], json.loads(item["arguments"])))


def _read_messages(played: Played, part: Json, stream: bool) -> None:
    if not stream:
        played.ending = part["stop_reason"]
        for block in part["content"]:
            _read_block(played, block)
        return
    match part["type"]:
        case "error":
            played.error = True
        case "content_block_start" if part["content_block"]["type"] == "tool_use":
            played.calls.append((part["content_block"]["name"], {}))
        case "content_block_delta" if "partial_json" in part["delta"]:
            played.calls[-1] = (played.calls[-1][0], json.loads(part["delta"]["partial_json"]))
        case "content_block_delta":
            _read_block(played, part["delta"])
        case "message_delta":
            played.ending = part["delta"]["stop_reason"]


def _read_block(played: Played, block: Json) -> None:
    if block["type"] == "tool_use":
        played.calls.append((block["name"], block["input"]))
    played.thought += block.get("thinking", "")
    played.text += block.get("text", "")


_QUESTIONS: dict[str, Callable[[str, Sequence[Json]], Json]] = {
    CHAT: _chat_question,
    RESPONSES: _responses_question,
    MESSAGES: _messages_question,
}
_READERS: dict[str, Callable[[Played, Json, bool], None]] = {
    CHAT: _read_chat,
    RESPONSES: _read_responses,
    MESSAGES: _read_messages,
}
