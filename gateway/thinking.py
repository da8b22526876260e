"""Every client's way of asking for thought -> one plan. Pure.

`SOURCES` is the whole table, in order of precedence; docs/thinking.md shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_TOKENS: Final = 2**31 - 1
"""llama-server's budgets have 32 bits; 4294967296 would wrap to 0 there (b11549)."""

UNBOUNDED: Final = -1
"""llama.cpp's word for no budget."""

OPENING_TOKENS: Final = 2
CLOSING_TOKENS: Final = 1
"""Gemma 4's marks around a thought: `<|channel>` and `thought`, then `<channel|>`. They count towards `max_tokens`, but
not towards the budget."""

EFFORTS: Final[Mapping[str, int]] = {
    "minimal": 512,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
    "max": 65536,
}
"""What an effort is worth, in tokens of thought. The model has no such control of its own."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """Whether the model thinks before it answers.

    Attributes:
        enabled: Whether it does.
        budget: Upper bound of the thought in tokens, or None for no bound but `max_tokens`. It holds for the whole
            answer, however many thoughts that has.
    """

    enabled: bool = True
    budget: int | None = None

    def after(self, tokens: int) -> Thinking:
        """Return what is left of the plan when `tokens` have been thought."""
        if not self.enabled or self.budget is None:
            return self
        return Thinking(budget=self.budget - tokens) if tokens < self.budget else OFF


ON = Thinking()
OFF = Thinking(enabled=False, budget=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingPolicy:
    """What holds where a request says nothing.

    Attributes:
        enabled: Whether the model thinks.
        budget: Upper bound of the thought in tokens, or None.
        answer_reserve: So many tokens of `max_tokens` are kept for the answer after the thought, but never more than
            half of them.
    """

    enabled: bool = True
    budget: int | None = 8192
    answer_reserve: int = 1024


@dataclass(frozen=True, slots=True)
class Said:
    """What one field says.

    Attributes:
        enabled: Whether to think, or None if it does not say.
        budget: How much, in tokens; `UNBOUNDED`; or None if it does not say.
    """

    enabled: bool | None = None
    budget: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """One field that says something about thinking.

    Attributes:
        path: Where it is in the body.
        values: What it may hold, for errors and for the documentation.
        says: What that means, for the documentation.
        read: The same as a function: None if the value cannot be meant.
    """

    path: str
    values: str
    says: str
    read: Callable[[Any], Said | None]


def _switch(value: Any) -> Said | None:
    return Said(enabled=value) if isinstance(value, bool) else None


def _budget(value: Any) -> Said | None:
    if type(value) is not int or not 0 <= value <= MOST_TOKENS:  # True is an int, too
        return None
    return Said(value > 0, value)


def _llama_budget(value: Any) -> Said | None:
    return Said(budget=UNBOUNDED) if type(value) is int and value == UNBOUNDED else _budget(value)


def _effort(value: Any) -> Said | None:
    if value == "none":
        return Said(enabled=False)
    return Said(enabled=True, budget=EFFORTS[value]) if isinstance(value, str) and value in EFFORTS else None


def _scale(value: Any) -> Said | None:
    return Said(budget=EFFORTS[value]) if isinstance(value, str) and value in EFFORTS else None


_KINDS = {
    "enabled": Said(enabled=True),
    "adaptive": Said(enabled=True),
    "disabled": Said(enabled=False),
    "between_tools": Said(enabled=False),
}
"""Anthropic's. `between_tools` is off, but for notes about progress in thinking blocks, and Gemma 4 writes none."""


def _kind(value: Any) -> Said | None:
    return _KINDS.get(value) if isinstance(value, str) else None


_BOOL = ("`true` or `false`", "on or off")
_TOKENS = ("a whole number from 0", "0 is off; more is on, with that budget")
_LLAMA_TOKENS = ("a whole number from -1", "0 is off; more is on, with that budget; -1 takes the budget away")
_EFFORT = ("`none`, " + ", ".join(f"`{name}`" for name in EFFORTS), "`none` is off; else on, with that effort's budget")
_SCALE = (", ".join(f"`{name}`" for name in EFFORTS), "that effort's budget, if thinking is on; it never turns it on")
_KIND = ("`enabled`, `adaptive`, `disabled` or `between_tools`", "on, on, off or off")

SOURCES: Final[tuple[Source, ...]] = (
    Source("chat_template_kwargs.enable_thinking", *_BOOL, _switch),
    Source("chat_template_kwargs.thinking", *_BOOL, _switch),
    Source("enable_thinking", *_BOOL, _switch),
    Source("thinking_budget_tokens", *_LLAMA_TOKENS, _llama_budget),
    Source("thinking_budget", *_TOKENS, _budget),
    Source("thinking_token_budget", *_TOKENS, _budget),
    Source("reasoning_budget", *_LLAMA_TOKENS, _llama_budget),
    Source("reasoning_budget_tokens", *_LLAMA_TOKENS, _llama_budget),
    Source("reasoning_effort", *_EFFORT, _effort),
    Source("reasoning.enabled", *_BOOL, _switch),
    Source("reasoning.max_tokens", *_TOKENS, _budget),
    Source("reasoning.effort", *_EFFORT, _effort),
    Source("thinking.type", *_KIND, _kind),
    Source("thinking.budget_tokens", *_TOKENS, _budget),
    Source("output_config.effort", *_SCALE, _scale),
)
"""Whether to think is decided by the first field that says it, the budget by the first that gives one."""

_OBJECTS = frozenset(source.path.partition(".")[0] for source in SOURCES if "." in source.path)


def plan_thinking(asked: Mapping[str, Any], policy: ThinkingPolicy, *, max_tokens: int | None) -> Thinking:
    """Make one plan of all that a request says about thinking.

    Args:
        asked: The request's fields about thinking: whole objects, such as `thinking`, or by path, such as
            `thinking.type`. The values are the client's, unchecked; those that are null say nothing.
        policy: What holds where it says nothing.
        max_tokens: The request's bound of thought and answer together.

    Raises:
        InvalidRequest: A value cannot be meant; `param` names the field.
    """
    said = list(_read(dict(_fields(asked))))
    enabled = next((one.enabled for one in said if one.enabled is not None), policy.enabled)
    budget = next((one.budget for one in said if one.budget is not None), policy.budget)
    if not enabled or budget == 0:
        return OFF
    budget = None if budget == UNBOUNDED else budget
    return _leave_room(budget, policy.answer_reserve, max_tokens)


def _fields(asked: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in asked.items():
        if value is None:
            continue
        if name not in _OBJECTS:
            yield name, value
        elif isinstance(value, Mapping):
            yield from ((f"{name}.{field}", inner) for field, inner in value.items() if inner is not None)
        else:
            raise InvalidRequest(f"Invalid {name!r}: expected an object.", param=name)


def _read(fields: Mapping[str, Any]) -> Iterator[Said]:
    for source in SOURCES:
        if source.path not in fields:
            continue
        said = source.read(fields[source.path])
        if said is None:
            expected = source.values.replace("`", "")
            raise InvalidRequest(f"Invalid {source.path!r}: expected {expected}.", param=source.path)
        yield said


def _leave_room(budget: int | None, reserve: int, max_tokens: int | None) -> Thinking:
    """Bound the thought so that an answer of some length fits into `max_tokens` after it."""
    if max_tokens is None:
        return Thinking(budget=budget)
    room = max_tokens - min(reserve, max_tokens // 2) - OPENING_TOKENS - CLOSING_TOKENS
    if room <= 0:
        return OFF
    return Thinking(budget=room if budget is None else min(budget, room))
