"""OpenAI Chat Completions: whose turn it is at a conversation's end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.request import Json

NOTHING_SAID: dict[str, Any] = {"role": "user", "content": ""}


def begin_turn(messages: list[Json], *, bound: bool) -> list[Json]:
    """Return a conversation that llama-server can answer.

    It goes on with a last message of the assistant's, instead of answering it. Where it cannot (b11549), the user says
    nothing in between, so that a new turn begins: it refuses two such messages, and a grammar that the beginning does
    not fit, and Gemma 4's template fails where there is nothing before it. Agents send all of that: they take turns,
    and ask for a conversation's result as JSON or as a call.

    Args:
        messages: As llama-server's chat endpoint takes them.
        bound: Whether a grammar bounds the answer.
    """
    match [message["role"] for message in messages[-2:]]:
        case ["assistant"] | ["assistant", "assistant"]:
            return [*messages, NOTHING_SAID]
        case [_, "assistant"] if bound:
            return [*messages, NOTHING_SAID]
    return messages
