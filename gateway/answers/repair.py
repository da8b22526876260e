"""Calls that are asked for again, under a grammar that their schema makes.

The last steps of the tool-call contract: what comes back is checked against the client's own schema once more, and what
fails even then is refused by name. A broken call never reaches the client.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.errors import (
    InvalidRequest,
    PromptTooLong,
    ToolCallInvalid,
    UpstreamFailed,
    UpstreamSilent,
    UpstreamUnreachable,
)
from gateway.events import ToolCall
from gateway.thinking import OFF
from gateway.toolcalls import asking
from gateway.toolcalls.assembly import is_json
from gateway.toolcalls.grammar_schema import BARE, TIGHT, WIDE, Bounds
from gateway.toolcalls.normalise import normalise
from gateway.toolcalls.policy import Outcome
from gateway.toolcalls.toolbox import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.observation.record import AttemptKind
    from gateway.request import GenerationRequest
    from gateway.toolcalls.guard import CallReport
    from gateway.toolcalls.normalise import Normalised
    from gateway.toolcalls.toolbox import Tool, Toolbox

    Ask = Callable[[GenerationRequest, AttemptKind], Awaitable[str]]
    """Asks the model, says what for, and returns its text. Raises `ThinksInstead` as soon as it is thought."""

MOST_ASKED: Final = 64
"""So often is the model asked again for one answer: each time takes a turn of the slot that others wait for."""

Ladder = tuple[Bounds | None, ...]

LADDER: Final[Ladder] = (WIDE, TIGHT, BARE, None)
"""What is asked for, one after the other, where the server refuses a grammar; None is any object."""


def roomy(arguments: str) -> Ladder:
    """Return the ladder with room for twice of what a call's arguments hold: a long text is not to be cut off."""
    characters, items = _extent(arguments)
    return tuple(
        bounds and replace(bounds, characters=max(bounds.characters, characters), items=max(bounds.items, items))
        for bounds in LADDER
    )


def _extent(arguments: str) -> tuple[int, int]:
    """Return twice the longest text's characters and the longest list's items, rounded up to powers of two.

    So that a schema has few grammars, which are cached.
    """
    try:
        level: list[Any] = [msgspec.json.decode(arguments)]
    except UNREADABLE:
        level = [arguments]
    characters = items = 0
    while level:
        characters = max([characters, *(len(value) for value in level if isinstance(value, str))])
        items = max([items, *(len(value) for value in level if isinstance(value, list))])
        inner = [
            value.values() if isinstance(value, dict) else value for value in level if isinstance(value, dict | list)
        ]
        level = [value for values in inner for value in values]
    return _power_of_two(2 * characters), _power_of_two(2 * items)


def _power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()


class ThinksInstead(Exception):
    """The answer begins with a thought, though there is no budget for one.

    Gemma 4's grammar leaves room for a thought before the JSON. One that is opened by its token is ended at once; a
    model that writes noise spells the mark in letters, which llama-server takes for a thought but does not count, and
    never ends it (b11549).
    """


class Repairer:
    """Asks the model again, for one answer's calls.

    A model that thinks instead is asked anew with thought switched off, for something short. So the grammar has no
    room for one any more, but the prompt is computed again: it begins otherwise.
    """

    def __init__(self, request: GenerationRequest, toolbox: Toolbox, ask: Ask, report: CallReport) -> None:
        self._request = request
        self._handling = request.call_handling
        self._toolbox = toolbox
        self._ask = ask
        self._report = report
        self._thinks = False  # instead of answering

    async def mend(self, broken: Normalised) -> ToolCall:
        """Return a valid call in the place of a broken one, with its id.

        Raises:
            GatewayError: The model does not manage it (`ToolCallInvalid`), or there is no server any more.
        """
        tool = self._toolbox.tools.get(broken.call.name)
        ladder = roomy(broken.call.arguments)
        if tool is not None:
            return await self._arguments(broken.call.id, tool, ladder, broken=broken)
        said = f"{broken.call.name}({broken.call.arguments[: asking.MOST_QUOTED]})"
        why = f"The model's call of the tool {broken.call.name!r} is not valid: {_told(broken)}"
        return await self._arguments(broken.call.id, await self._choose(why, said), ladder, said)

    async def make(self, call_id: str) -> ToolCall:
        """Return a valid call where one was required and none came.

        Raises:
            GatewayError: As `mend`.
        """
        return await self._arguments(call_id, await self._choose("A tool had to be called, and none was."), LADDER)

    async def _choose(self, why: str, said: str = "") -> Tool:
        """Return which tool is to be called. The model is asked, unless there is only one."""
        if len(self._toolbox.tools) == 1:
            return next(iter(self._toolbox.tools.values()))
        question = asking.ask_which_tool(self._request, self._toolbox, said, temperature=self._handling.temperature)
        left = self._handling.most_repairs
        while left:
            try:
                text = await self._text(question, "choice")
            except ThinksInstead:
                continue
            except _Refused as refused:
                raise self._give_up(f"{why} {refused}") from None
            left -= 1
            if text is not None and (tool := asking.read_choice(self._toolbox, text)) is not None:
                return tool
        raise self._give_up(why)

    async def _arguments(
        self, call_id: str, tool: Tool, ladder: Ladder, said: str = "", *, broken: Normalised | None = None
    ) -> ToolCall:
        """Ask for a call's arguments until they are valid; at last for something short, which nearly always ends.

        If it does not, it is asked once more for what is required alone.
        """
        left, step, why = self._handling.most_repairs, 0, ""
        while left and step < len(ladder):
            if left == 1 or self._thinks:
                step = max(step, 1)
            try:
                text = await self._text(self._question(tool, said, broken, ladder[step]), "repair")
            except ThinksInstead:
                continue
            except _Refused as refused:  # it may take a prompt without the broken call in it, or a plainer grammar
                shorter = refused.too_long and bool(broken or said)
                step, why, broken, said = step + (not shorter), str(refused), None, ""
                continue
            left -= 1
            if text is None:
                continue
            checked = normalise(self._toolbox, ToolCall(call_id, tool.name, text))
            if checked.is_valid:
                self._report.outcomes[Outcome.REPAIRED] += 1
                return checked.call
            if is_json(text):
                broken, why = checked, ""
            else:  # cut off: nothing is to be learnt from it, and the prompt would have to hold it
                why = _told(checked)
                if not left and step == LADDER.index(TIGHT):
                    left, step = 1, step + 1
        why = why or (_told(broken) if broken is not None else "Nothing came of it when it was asked for.")
        raise self._give_up(f"The model's call of the tool {tool.name!r} is not valid: {why}")

    def _question(self, tool: Tool, said: str, broken: Normalised | None, bounds: Bounds | None) -> GenerationRequest:
        max_tokens, temperature = self._handling.max_tokens, self._handling.temperature
        limits: dict[str, Any] = {"bounds": bounds or TIGHT, "max_tokens": max_tokens, "temperature": temperature}
        if broken is None:
            question = asking.ask_arguments(self._request, tool, said, **limits)
        else:
            question = asking.ask_arguments_again(self._request, tool, broken.call, broken.violations, **limits)
        return question if bounds is not None else replace(question, response_format={"type": "json_object"})

    async def _text(self, question: GenerationRequest, kind: AttemptKind) -> str | None:
        """Return what the model answers, or None if that broke off or cannot be read.

        Raises:
            ThinksInstead: It does; from now on it is asked with thought switched off, so that this comes once only.
            _Refused: The server does not take the question, or has been asked too often.
            GatewayError: There is no server, or it has been waited for long enough.
        """
        if self._report.asked_again >= MOST_ASKED:
            raise _Refused(f"the model was asked {MOST_ASKED} times for this answer's calls.")
        try:
            return await self._ask(replace(question, thinking=OFF) if self._thinks else question, kind)
        except ThinksInstead:
            self._thinks = True
            raise
        except (UpstreamSilent, UpstreamUnreachable):
            raise
        except UpstreamFailed:
            return None
        except InvalidRequest as error:  # it is ours, and not the client's
            raise _Refused(error.message, too_long=error.code == PromptTooLong.default_code) from None

    def _give_up(self, message: str) -> ToolCallInvalid:
        self._report.outcomes[Outcome.REFUSED] += 1
        return ToolCallInvalid(message)


class _Refused(Exception):
    """The question itself is taken for a bad request: a grammar that llama-server cannot read, too long a prompt."""

    def __init__(self, message: str, *, too_long: bool = False) -> None:
        super().__init__(f"It could not be asked for again: {message}")
        self.too_long = too_long


def _told(broken: Normalised) -> str:
    return "; ".join(map(str, broken.violations))
