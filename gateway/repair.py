"""Calls that are asked for again, under a grammar that their schema makes.

The last steps of the tool-call contract: what comes back is checked against the client's own schema once more, and what
fails even then is refused by name. A broken call never reaches the client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import MalformedAnswer, ToolCallInvalid
from gateway.events import ToolCall
from gateway.toolcalls import asking
from gateway.toolcalls.grammar_schema import TIGHT, WIDE
from gateway.toolcalls.normalise import normalise
from gateway.toolcalls.policy import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.request import GenerationRequest
    from gateway.toolcalls.grammar_schema import Bounds
    from gateway.toolcalls.guard import CallReport
    from gateway.toolcalls.normalise import Normalised
    from gateway.toolcalls.toolbox import Tool, Toolbox, Violation

    Ask = Callable[[GenerationRequest], Awaitable[str]]
    """Asks the model and returns its text."""


class Repairer:
    """Asks the model again, for one answer's calls."""

    def __init__(self, request: GenerationRequest, toolbox: Toolbox, ask: Ask, report: CallReport) -> None:
        self._request = request
        self._handling = request.call_handling
        self._toolbox = toolbox
        self._ask = ask
        self._report = report

    async def mend(self, broken: Normalised) -> ToolCall:
        """Return a valid call in the place of a broken one, with its id.

        Raises:
            ToolCallInvalid: The model does not manage it.
        """
        tool = self._toolbox.tools.get(broken.call.name)
        if tool is None:
            return await self._arguments(broken.call.id, await self._choose(broken))
        return await self._arguments(broken.call.id, tool, broken)

    async def make(self, call_id: str) -> ToolCall:
        """Return a valid call where one was required and none came.

        Raises:
            ToolCallInvalid: The model does not manage it.
        """
        return await self._arguments(call_id, await self._choose())

    async def _choose(self, broken: Normalised | None = None) -> Tool:
        """Return which tool is to be called. The model is asked, unless there is only one."""
        if len(self._toolbox.tools) == 1:
            return next(iter(self._toolbox.tools.values()))
        said = f"{broken.call.name}: {broken.violations[0]}" if broken is not None else ""
        question = asking.ask_which_tool(self._request, self._toolbox, said, temperature=self._handling.temperature)
        for _ in range(self._handling.most_repairs):
            if (tool := asking.read_choice(self._toolbox, await self._text(question))) is not None:
                return tool
        raise self._refused(broken.call.name if broken else "", broken.violations if broken else ())

    async def _arguments(self, call_id: str, tool: Tool, broken: Normalised | None = None) -> ToolCall:
        """Ask for a call's arguments until they are valid; at last for something short, which is sure to end."""
        most = self._handling.most_repairs
        for attempt in range(1, most + 1):
            question = self._question(tool, broken, TIGHT if attempt == most else WIDE)
            checked = normalise(self._toolbox, ToolCall(call_id, tool.name, await self._text(question)))
            if checked.is_valid:
                self._report.outcomes[Outcome.REPAIRED] += 1
                return checked.call
            broken = checked
        raise self._refused(tool.name, broken.violations if broken else ())

    def _question(self, tool: Tool, broken: Normalised | None, bounds: Bounds) -> GenerationRequest:
        max_tokens, temperature = self._handling.max_tokens, self._handling.temperature
        if broken is None:
            return asking.ask_arguments(
                self._request, tool, bounds=bounds, max_tokens=max_tokens, temperature=temperature
            )
        return asking.ask_arguments_again(
            self._request,
            tool,
            broken.call,
            broken.violations,
            bounds=bounds,
            max_tokens=max_tokens,
            temperature=temperature,
        )

    async def _text(self, question: GenerationRequest) -> str:
        """Return what the model answers; nothing, if that cannot be read."""
        try:
            return await self._ask(question)
        except MalformedAnswer:
            return ""

    def _refused(self, name: str, violations: Sequence[Violation]) -> ToolCallInvalid:
        self._report.outcomes[Outcome.REFUSED] += 1
        why = "; ".join(map(str, violations)) or "no valid call came of it."
        return ToolCallInvalid(f"The model's call of the tool {name!r} is not valid: {why}")
