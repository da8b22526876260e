"""A model that makes the same calls again and again is made to answer in words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from gateway.errors import InvalidRequest
from gateway.request import ToolChoice
from gateway.toolcalls.toolbox import UNREADABLE, Toolbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.request import GenerationRequest, Json


def bound_identical_calls(request: GenerationRequest, most: int) -> GenerationRequest:
    """Return the request, without a choice of calls where the same ones have been made often enough.

    Args:
        request: Its history is a mended one.
        most: So often in a row; 0 for any number of times.

    Raises:
        InvalidRequest: Such a request must be answered with a call.
    """
    if not most or request.tool_choice.mode == "none" or count_identical_calls(request.messages, most) < most:
        return request
    if request.tool_choice.mode == "required":
        raise InvalidRequest(
            f"The same tool calls were made {most} times in a row, and this server allows no more; "
            "with tool_choice 'auto' the model would answer in words.",
            code="identical_tool_calls",
            param="tool_choice",
        )
    return replace(request, tool_choice=ToolChoice("none"), toolbox=Toolbox(()))


def count_identical_calls(messages: Sequence[Json], most: int) -> int:
    """Return in how many of the last turns, up to `most`, the model made the same calls and got their results.

    What anybody says in between begins a new count.
    """
    count, last = 0, b""
    has_results = False
    for message in reversed(messages):
        if message["role"] == "tool":
            has_results = True
            continue
        if not has_results or not message.get("tool_calls"):
            break
        made = _made(message)
        if count and made != last:
            break
        count, last, has_results = count + 1, made, False
        if count == most:
            break
    return count


def _made(message: Json) -> bytes:
    """Return a turn's calls in a form in which equal ones are the same bytes."""
    functions = [call["function"] for call in message["tool_calls"]]
    return msgspec.json.encode([(one["name"], _plain(one["arguments"])) for one in functions], order="sorted")


def _plain(arguments: str) -> object:
    """Return arguments without what does not matter in them: the order of keys, and white space."""
    try:
        value: object = msgspec.json.decode(arguments)
    except UNREADABLE:
        return arguments
    return value
