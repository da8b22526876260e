"""What of an answer's text and calls may be passed on, and what must wait.

Thought and text flow as they come. A call is passed on once it is whole and valid, as it came or put right without
loss. From the first call on that is neither, calls wait, so that they reach the client in the model's order.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from gateway.toolcalls.normalise import Rule, normalise
from gateway.toolcalls.policy import Mode, Outcome
from gateway.toolcalls.text_hold import TextHold, trapped_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.events import ToolCall
    from gateway.toolcalls.normalise import Normalised
    from gateway.toolcalls.toolbox import Toolbox


@dataclass(slots=True)
class CallReport:
    """What became of one answer's calls.

    Attributes:
        outcomes: How many calls ended how.
        rules: How often something was put right, by rule.
        asked_again: How many more answers the model was asked for.
        tokens: What those took, in tokens written.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    rules: Counter[Rule] = field(default_factory=Counter)
    asked_again: int = 0
    tokens: int = 0

    def add(self, other: CallReport) -> None:
        """Add what became of another answer's calls."""
        if not (other.outcomes or other.asked_again):
            return  # as for most answers
        self.outcomes += other.outcomes
        self.rules += other.rules
        self.asked_again += other.asked_again
        self.tokens += other.tokens

    def forget(self) -> None:
        """Begin anew: no call has been passed on."""
        self.outcomes.clear()
        self.rules.clear()

    def note(self, checked: Normalised) -> None:
        """Count a valid call."""
        self.outcomes[Outcome.NORMALISED if checked.rules else Outcome.VALID] += 1
        self.rules.update(checked.rules)

    @property
    def worst(self) -> Outcome | None:
        """The worst that became of a call, or None if there was none."""
        if not self.outcomes:
            return None
        return next((outcome for outcome in reversed(Outcome) if self.outcomes[outcome]), None)

    def summary(self) -> str:
        """Return the worst outcome and the number of answers it took, for a header; empty if there was no call."""
        worst = self.worst
        return f"{worst}; attempts={1 + self.asked_again}" if worst is not None else ""


class CallGuard:
    """Watches over one attempt. Pure, but for the ids of calls that have none.

    Attributes:
        waiting: The calls from the first one on that may not be passed on as it is.
        has_passed: Whether a call was passed on.
        must_call: Whether text is not what was asked for.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        mode: Mode,
        report: CallReport,
        new_id: Callable[[], str],
        *,
        reads_text: bool = True,
    ) -> None:
        """Begin to watch.

        Args:
            toolbox: What may be called.
            mode: What is done about it.
            report: Told what becomes of the calls.
            new_id: Gives ids to calls that have none.
            reads_text: Whether a call may be written out in the text. It is not where JSON was asked for.
        """
        self.waiting: list[Normalised] = []
        self.has_passed = False
        self.must_call = toolbox.must_call and mode is Mode.REPAIR
        self._toolbox = toolbox
        self._mode = mode
        self._report = report
        self._new_id = new_id
        self._hold = TextHold(toolbox.tools) if mode is Mode.REPAIR and reads_text else None

    def feed_text(self, text: str) -> str:
        """Return what of the text so far is certainly no call."""
        return text if self._hold is None else self._hold.feed(text)

    def end_text(self) -> tuple[str, list[ToolCall]]:
        """Return the rest of the text, and of the calls that were written out at its end those to pass on."""
        if self._hold is None:
            return "", []
        text, calls = self._hold.end()
        return text, self._feed_written(calls)

    def end_thought(self, thought: str) -> list[ToolCall]:
        """Return the calls to pass on that are trapped in a thought which nothing followed."""
        return self._feed_written(trapped_calls(thought, self._toolbox.tools)) if self._hold is not None else []

    def _feed_written(self, calls: Iterable[ToolCall]) -> list[ToolCall]:
        named = (msgspec.structs.replace(call, id=self._new_id()) for call in calls)
        return [passed for call in named for passed in self.feed_call(call, Rule.WRITTEN_OUT)]

    def feed_call(self, call: ToolCall, *rules: Rule) -> list[ToolCall]:
        """Return the call, if it may be passed on now. `rules` say what has been put right already."""
        if self._mode is Mode.VALIDATE:
            self._report.outcomes[Outcome.INVALID if self._toolbox.check(call) else Outcome.VALID] += 1
            self.has_passed = True
            return [call]
        if not self._toolbox.parallel and (self.has_passed or self.waiting):
            return []  # it was told to make one call
        checked = normalise(self._toolbox, call)
        checked = replace(checked, rules=(*rules, *checked.rules))
        if self.waiting or not checked.is_valid:
            self.waiting.append(checked)
            return []
        self._report.note(checked)
        self.has_passed = True
        return [checked.call]
