"""Every client's way of asking for thought -> one plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Thinking:
    """Whether the model thinks before it answers.

    Attributes:
        enabled: Whether it does.
        budget: Upper bound of the thought in tokens, or None for no bound but `max_tokens`.
    """

    enabled: bool = True
    budget: int | None = None


ON = Thinking()
OFF = Thinking(enabled=False, budget=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingPolicy:
    """What holds where a request says nothing.

    Attributes:
        enabled: Whether the model thinks.
        budget: Upper bound of the thought in tokens, or None.
        answer_reserve: So many tokens of `max_tokens` are kept for the answer after the thought.
    """

    enabled: bool = True
    budget: int | None = 8192
    answer_reserve: int = 1024


def plan_thinking(asked: Mapping[str, Any], policy: ThinkingPolicy, *, max_tokens: int | None) -> Thinking:
    """Make one plan of all that a request says about thinking.

    Args:
        asked: The request's fields about thinking, by path, such as `chat_template_kwargs.enable_thinking`; those that
            it does not have, or has as null, are left out. The values are the client's, unchecked.
        policy: What holds where it says nothing.
        max_tokens: The request's bound of thought and answer together.

    Raises:
        InvalidRequest: A value cannot be meant; `param` names the field.
    """
    enabled = asked.get("chat_template_kwargs.enable_thinking", policy.enabled)
    if asked.get("reasoning_effort") == "none" and "chat_template_kwargs.enable_thinking" not in asked:
        enabled = False
    del max_tokens
    return Thinking(enabled=True, budget=policy.budget) if enabled else OFF
