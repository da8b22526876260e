"""A small client of llama-server that hides nothing: one answer, whether it was streamed or not."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PATH = "/v1/chat/completions"
MAX_TOKENS = 900
TIMEOUT_SECONDS = 100


@dataclass
class Answer:
    """What came back.

    Attributes:
        status: The HTTP status.
        thought: All `reasoning_content`.
        text: All `content`.
        calls: Names and argument texts.
        finish: The finish reason.
        error: The error's message, wherever it was.
        done: Whether a stream ended with `[DONE]`.
        tokens: How many tokens the model has written; not known of a stream.
        message: The message as a client gives it back.
    """

    status: int
    thought: str = ""
    text: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    finish: str | None = None
    error: str | None = None
    done: bool = False
    tokens: int | None = None
    message: dict[str, Any] = field(default_factory=dict)

    def arguments(self) -> list[tuple[str, Any]]:
        """Return the calls with their arguments read."""
        return [(name, json.loads(text)) for name, text in self.calls]


class Upstream:
    """One llama-server.

    Attributes:
        log: What it has logged so far.
        url: Where it listens.
    """

    def __init__(self, url: str, log: list[str]) -> None:
        self.log = log
        self.url = url
        # a connection for each request: llama-server closes it after a stream, without a word
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, headers={"connection": "close"})

    def close(self) -> None:
        self._http.close()

    def get(self, path: str) -> Any:
        return self._http.get(path).raise_for_status().json()

    def ask(
        self, messages: Sequence[dict[str, Any]], *, thinking: bool = True, stream: bool = False, **fields: Any
    ) -> Answer:
        """Ask for a chat completion, greedily if nothing else is said."""
        body = {"messages": messages, "temperature": 0, "max_tokens": MAX_TOKENS, "stream": stream} | fields
        body["chat_template_kwargs"] = {"enable_thinking": thinking}
        response = self._http.post(PATH, json=body)
        return _join(response) if stream and response.is_success else _read(response)


def _read(response: httpx.Response) -> Answer:
    body = response.json()
    if response.is_error:
        return Answer(response.status_code, error=body["error"]["message"])
    (choice,) = body["choices"]
    message = choice["message"]
    return Answer(
        status=response.status_code,
        thought=message.get("reasoning_content") or "",
        text=message.get("content") or "",
        calls=[(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or []],
        finish=choice["finish_reason"],
        tokens=body["usage"]["completion_tokens"],
        message=message,
    )


def _join(response: httpx.Response) -> Answer:
    answer = Answer(response.status_code)
    for event in _events(response.text.splitlines()):
        if event == "[DONE]":
            answer.done = True
        elif error := json.loads(event).get("error"):
            answer.error = error["message"]
        else:
            for choice in json.loads(event)["choices"]:
                _add(answer, choice["delta"])
                answer.finish = choice["finish_reason"] or answer.finish
    return answer


def _events(lines: Iterable[str]) -> list[str]:
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


def _add(answer: Answer, delta: dict[str, Any]) -> None:
    answer.thought += delta.get("reasoning_content") or ""
    answer.text += delta.get("content") or ""
    for call in delta.get("tool_calls") or []:
        function = call["function"]
        if call["index"] == len(answer.calls):
            answer.calls.append((function["name"], function["arguments"]))
        else:
            name, arguments = answer.calls[call["index"]]
            answer.calls[call["index"]] = name, arguments + function["arguments"]
