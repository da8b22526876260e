"""Is the server that came up the one that was meant?

A flag that is misread, a file found elsewhere or a fitted context still give a healthy server. `/props` tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from server_supervisor.plan import LaunchPlan

CTX_PADDING = 256  # llama.cpp rounds a slot's context up to this (llama-context.cpp)


def find_mismatch(plan: LaunchPlan, props: Mapping[str, Any]) -> str | None:
    """Compare what was asked for with the server's `/props`.

    Returns:
        What differs, as the end of a sentence, or None.
    """
    settings = props.get("default_generation_settings") or {}
    compared = {
        "model": (str(plan.model), props.get("model_path")),
        "alias": (plan.alias, props.get("model_alias")),
        "number of slots": (plan.slots, props.get("total_slots")),
        "context per slot": (padded(plan.ctx_per_slot), settings.get("n_ctx")),
    }
    for what, (asked, found) in compared.items():
        if asked != found:
            return f"its {what} is {found!r}, not {asked!r}"
    if plan.chat_template_file is not None and not _same_template(plan.chat_template_file, props):
        return f"its chat template is not {plan.chat_template_file}"
    return None


def padded(ctx: int) -> int:
    """Return the context that llama-server makes of `ctx` tokens."""
    return -(-ctx // CTX_PADDING) * CTX_PADDING


def _same_template(path: Path, props: Mapping[str, Any]) -> bool:
    return path.read_text(encoding="utf-8").strip() == str(props.get("chat_template", "")).strip()
