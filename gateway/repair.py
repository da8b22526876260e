"""Calls that are asked for again, under a grammar that their schema makes.

The last steps of the tool-call contract: what comes back is checked against the client's own schema once more, and what
fails even then is refused by name. A broken call never reaches the client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import MalformedAnswer, ToolCallInvalid
from gateway.events import ToolCall
from gateway.toolcalls import asking
from gateway.toolcalls.normalise import normalise
from gateway.toolcalls.policy import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.request import GenerationRequest
    from gateway.toolcalls.guard import CallReport
    from gateway.toolcalls.normalise import Normalised
    from gateway.toolcalls.toolbox import Toolbox, Violation

    Ask = Callable[[GenerationRequest], Awaitable[str]]
    """Asks the model and returns its text."""


class Repairer:
    """Asks the model again, for one answer's calls."""

    def __init__(self, request: GenerationRequest, toolbox: Toolbox, ask: Ask, report: CallReport) -> None:
        self._request = request
        self._toolbox = toolbox
        self._ask = ask
        self._report = report

    async def mend(self, broken: Normalised) -> ToolCall:
        """Return a valid call in the place of a broken one, with its id.

        Raises:
            ToolCallInvalid: The model does not manage it.
        """
        call = broken.call
        if call.name in self._toolbox.tools:
            return await self._arguments(call.id, call.name, call, broken.violations)
        return await self._arguments(call.id, await self._name(call, broken.violations), None, broken.violations)

    async def make(self, call_id: str) -> ToolCall:
        """Return a valid call where one was required and none came.

        Raises:
            ToolCallInvalid: The model does not manage it.
        """
        return await self._arguments(call_id, await self._name(None, ()), None, ())

    async def _name(self, broken: ToolCall | None, violations: Sequence[Violation]) -> str:
        """Return which tool is to be called; the model is asked unless there is only one."""
        if len(self._toolbox.tools) == 1:
            return next(iter(self._toolbox.tools))
        for _ in range(self._request.call_handling.most_repairs):
            chosen = asking.read_name(
                await self._text(asking.name(self._request, self._toolbox, broken)), self._toolbox
            )
            if chosen is not None:
                return chosen
        raise self._refused(broken.name if broken else "", violations)

    async def _arguments(
        self, call_id: str, name: str, broken: ToolCall | None, violations: Sequence[Violation]
    ) -> ToolCall:
        tool = self._toolbox.tools[name]
        most = self._request.call_handling.most_repairs
        for attempt in range(1, most + 1):
            question = asking.arguments(self._request, tool, broken, violations, last=attempt == most)
            checked = normalise(self._toolbox, ToolCall(call_id, name, await self._text(question)))
            if checked.is_valid:
                self._report.outcomes[Outcome.REPAIRED] += 1
                return checked.call
            broken, violations = checked.call, checked.violations
        raise self._refused(name, violations)

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
