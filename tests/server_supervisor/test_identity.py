"""Whether the server that came up is the one that was meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server_supervisor.identity import find_mismatch
from server_supervisor.plan import LaunchPlan

PLAN = LaunchPlan(model=Path("/models/m.gguf"), alias="m", slots=4, ctx_per_slot=2000)
PROPS: dict[str, Any] = {
    "model_path": "/models/m.gguf",
    "model_alias": "m",
    "total_slots": 4,
    "default_generation_settings": {"n_ctx": 2048},  # 2000, rounded up as llama.cpp does
    "chat_template": "{{ messages }}",
}


def test_the_server_that_was_meant_has_no_mismatch() -> None:
    assert find_mismatch(PLAN, PROPS) is None


@pytest.mark.parametrize(
    ("changed", "mismatch"),
    [
        ({"model_path": "/models/n.gguf"}, "its model is '/models/n.gguf', not '/models/m.gguf'"),
        ({"model_alias": "n"}, "its alias is 'n', not 'm'"),
        ({"total_slots": 1}, "its number of slots is 1, not 4"),
        ({"default_generation_settings": {"n_ctx": 1024}}, "its context per slot is 1024, not 2048"),
        ({"default_generation_settings": None}, "its context per slot is None, not 2048"),
    ],
)
def test_a_difference_is_told_with_both_sides(changed: dict[str, Any], mismatch: str) -> None:
    assert find_mismatch(PLAN, PROPS | changed) == mismatch


def test_the_template_that_was_asked_for_must_be_the_one_in_use(tmp_path: Path) -> None:
    template = tmp_path / "template.jinja"
    plan = replace(PLAN, chat_template_file=template)
    template.write_text("{{ messages }}\n")
    assert find_mismatch(plan, PROPS) is None
    template.write_text("{{ other }}\n")
    assert find_mismatch(plan, PROPS) == f"its chat template is not {template}"
