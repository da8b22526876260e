"""OpenAI Chat Completions: the fields that say how to think, OpenAI's one and those of all the servers like it.

They are `Any` here and checked by `plan_thinking`: msgspec takes 5.0 for a whole number, and the plan does not.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.dialects.json_body import invalid
from gateway.thinking import EFFORTS, MOST_TOKENS

Switch = Annotated[Any, Meta(extra_json_schema={"type": ["boolean", "null"]})]
Tokens = Annotated[Any, Meta(extra_json_schema={"type": ["integer", "null"], "minimum": 0, "maximum": MOST_TOKENS})]
LlamaTokens = Annotated[
    Any, Meta(extra_json_schema={"type": ["integer", "null"], "minimum": -1, "maximum": MOST_TOKENS})
]
Effort = Annotated[Any, Meta(extra_json_schema={"enum": [None, "none", *EFFORTS]})]
Object = Annotated[Any, Meta(extra_json_schema={"type": ["object", "null"]})]


class TemplateKwargs(msgspec.Struct, forbid_unknown_fields=True):
    """What of the chat template's variables a client may set: any other could replace the conversation."""

    enable_thinking: Switch = None
    thinking: Switch = None


class ThinkingFields(msgspec.Struct, kw_only=True):
    """A request body's fields about thinking. What they mean, and which goes before which: `gateway.thinking`."""

    chat_template_kwargs: TemplateKwargs | None = None
    enable_thinking: Switch = None
    thinking_budget_tokens: LlamaTokens = None
    thinking_budget: Tokens = None
    thinking_token_budget: Tokens = None
    reasoning_budget: LlamaTokens = None
    reasoning_budget_tokens: LlamaTokens = None
    reasoning_effort: Effort = None
    reasoning: Object = None
    thinking: Object = None
    output_config: Object = None


_FIELDS = ThinkingFields.__struct_fields__


def asked_of_thinking(body: ThinkingFields) -> dict[str, Any]:
    """Return what a body says about thinking, for `plan_thinking`."""
    asked = {name: getattr(body, name) for name in _FIELDS}
    if body.chat_template_kwargs is not None:
        asked["chat_template_kwargs"] = msgspec.structs.asdict(body.chat_template_kwargs)
    return asked


def hides_thought(body: ThinkingFields) -> bool:
    """Return whether the client does not want to see the thought: OpenRouter's `reasoning.exclude`.

    Raises:
        InvalidRequest: It is neither true nor false.
    """
    excluded = body.reasoning.get("exclude") if isinstance(body.reasoning, dict) else None
    if not isinstance(excluded, bool | None):
        raise invalid("reasoning.exclude", "expected true or false.")
    return bool(excluded)
