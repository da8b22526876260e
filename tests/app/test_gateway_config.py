"""What becomes of the settings for the gateway."""

from __future__ import annotations

import pytest

from app.failure import CommandFailure
from app.gateway_config import gateway_config
from app.keys import Keys
from app.settings import read_settings
from gateway.toolcalls.policy import CallHandling, Mode, ToolCallPolicy

KEYS = Keys.of({"mine": "k1", "theirs": "k2"})


def policy(**settings: object) -> ToolCallPolicy:
    return gateway_config(read_settings(**settings), KEYS, slots=1).tool_calls


def test_by_default_the_tool_call_contract_is_kept_for_all() -> None:
    assert policy() == ToolCallPolicy(handling=CallHandling(mode=Mode.REPAIR), by_key={})


def test_how_far_it_goes_can_be_set_for_all_and_for_some() -> None:
    found = policy(
        tool_calls="validate",
        tool_calls_by_key=" mine:off, theirs:repair,",
        tool_call_repairs=1,
        tool_call_max_tokens=100,
        tool_call_temperature=0,
    )
    handling = CallHandling(mode=Mode.VALIDATE, most_repairs=1, max_tokens=100, temperature=0)
    assert found == ToolCallPolicy(handling=handling, by_key={"mine": Mode.OFF, "theirs": Mode.REPAIR})
    assert found.of("mine", None).mode == Mode.OFF
    assert found.of("mine", Mode.REPAIR).mode == Mode.REPAIR
    assert found.of("other", None) == handling


@pytest.mark.parametrize("text", ["mine", "mine:", ":off", "mine:maybe", "mine:off,mine:repair", "nobody:off"])
def test_modes_that_cannot_be_meant_are_refused(text: str) -> None:
    with pytest.raises(CommandFailure, match="WARMGATE_TOOL_CALLS_BY_KEY cannot be used"):
        policy(tool_calls_by_key=text)


def test_identical_calls_are_bounded_only_where_it_is_asked_for() -> None:
    assert gateway_config(read_settings(), KEYS, slots=1).most_identical_calls == 0
    assert gateway_config(read_settings(most_identical_calls=3), KEYS, slots=1).most_identical_calls == 3


@pytest.mark.parametrize(
    ("wanted", "on_gpu", "found"),
    [("auto", False, "off"), ("auto", True, "auto"), ("on", False, "on"), ("on", True, "on"), ("off", True, "off")],
)
def test_answers_are_sampled_on_a_gpu_that_we_know_of_unless_somebody_knows_better(
    wanted: str, on_gpu: bool, found: str
) -> None:
    settings = read_settings(backend_sampling=wanted)
    assert gateway_config(settings, KEYS, slots=1, on_gpu=on_gpu).backend_sampling == found
