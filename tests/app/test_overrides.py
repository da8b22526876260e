"""Values of a profile that a user changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.failure import CommandFailure
from app.overrides import read_overrides
from app.profiles import GEMMA4, PROFILES, find_profile


def test_each_value_is_read_as_its_type() -> None:
    texts = ["ctx_per_slot=8192", "cache-type-k = q4_0", "top_p=0.5", "chat_template_file=/t.jinja", "flash_attn=auto"]
    assert read_overrides(texts) == {
        "ctx_per_slot": 8192,
        "cache_type_k": "q4_0",
        "top_p": 0.5,
        "chat_template_file": Path("/t.jinja"),
        "flash_attn": "auto",
    }


def test_none_gives_a_value_back_to_llama_server() -> None:
    plan = GEMMA4.plan(Path("/m.gguf"), read_overrides(["ctx_checkpoints=none"]))
    assert plan.ctx_checkpoints is None
    assert plan.slots == 4


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ctx_per_slo=1", "did you mean 'ctx_per_slot'"),
        ("model=/m.gguf", "there is no value 'model'"),
        ("slots", "expected NAME=VALUE"),
        ("slots=many", "Expected `int`"),
        ("load_mode=fast", "Invalid enum value 'fast'"),
    ],
)
def test_what_cannot_be_used_is_named(text: str, complaint: str) -> None:
    with pytest.raises(CommandFailure, match="--set") as caught:
        read_overrides([text])
    assert complaint in str(caught.value)


def test_an_unknown_profile_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(CommandFailure, match="did you mean 'gemma-4-26b-a4b'"):
        find_profile("gemma-4-26b-a4")


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_makes_a_plan(name: str) -> None:
    plan = PROFILES[name].plan(Path("/models/m.gguf"))
    assert plan.slots >= 1
    assert plan.alias
