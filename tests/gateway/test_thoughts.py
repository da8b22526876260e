"""Thoughts that are given back: the seal, and the memory by call id."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.thoughts.memory import ThoughtMemory
from gateway.thoughts.seal import PREFIX, SecretSeal

if TYPE_CHECKING:
    from gateway.request import Json

SEAL = SecretSeal([b"a secret"])
SEALED = SEAL.seal("I must call the tool.")
ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too


@given(ANY_TEXT)
def test_what_was_sealed_can_be_opened(thought: str) -> None:
    sealed = SEAL.seal(thought)
    assert SEAL.open(sealed) == thought
    assert set(sealed) <= set(string.ascii_letters + string.digits + "-_.")


def test_another_process_with_the_same_secret_opens_it() -> None:
    assert SecretSeal([b"a secret"]).open(SEALED) == "I must call the tool."


@pytest.mark.parametrize("secrets", [[b"another"], [b"a secret "], [b"another", b"a third"]])
def test_nobody_else_does(secrets: list[bytes]) -> None:
    assert SecretSeal(secrets).open(SEALED) is None


def test_two_made_up_secrets_are_not_the_same() -> None:
    assert SecretSeal.made_up().open(SecretSeal.made_up().seal("x")) is None


def test_a_secret_can_be_replaced() -> None:
    both = SecretSeal([b"new", b"a secret"])
    assert both.open(SEALED) == "I must call the tool."
    assert SecretSeal([b"new"]).open(both.seal("x")) == "x"
    assert SEAL.open(both.seal("x")) is None


def test_the_same_thought_never_looks_the_same() -> None:
    assert len({SEAL.seal("x") for _ in range(100)}) == 100


@given(st.integers(0, len(SEALED) - 1), st.sampled_from(string.printable))
def test_a_changed_seal_does_not_open(at: int, letter: str) -> None:
    changed = SEALED[:at] + letter + SEALED[at + 1 :]
    assert SEAL.open(changed) == ("I must call the tool." if changed == SEALED else None)


@given(st.integers(0, len(SEALED) - 1))
def test_a_cut_or_lengthened_seal_does_not_open(length: int) -> None:
    assert SEAL.open(SEALED[:length]) is None
    assert SEAL.open(SEALED + SEALED[:length][-4:] + "A") is None


@given(st.one_of(ANY_TEXT, ANY_TEXT.map(PREFIX.__add__)))
def test_anything_at_all_does_not_open(text: str) -> None:
    assert SEAL.open(text) is None


@pytest.mark.parametrize("secrets", [[], [b""], [b"a", b""]])
def test_a_seal_needs_a_secret(secrets: list[bytes]) -> None:
    with pytest.raises(ValueError, match="secret"):
        SecretSeal(secrets)


# -- the memory


def calling(*ids: str, **fields: str) -> Json:
    calls = [{"id": each, "type": "function", "function": {"name": "f", "arguments": "{}"}} for each in ids]
    return {"role": "assistant", "content": "", "tool_calls": calls, **fields}


HI: Json = {"role": "user", "content": "Hi"}
RESULT: Json = {"role": "tool", "content": "5", "tool_call_id": "call_a"}


@pytest.mark.parametrize("prefix", ["", "call_", "toolu_", "fc_"])
def test_a_call_that_comes_back_without_its_thought_gets_it_back(prefix: str) -> None:
    memory = ThoughtMemory()
    memory.remember("me", "a", "Hm.")
    messages = [HI, calling(f"{prefix}a"), RESULT]
    assert memory.recall("me", messages) == [HI, calling(f"{prefix}a", reasoning_content="Hm."), RESULT]
    assert messages == [HI, calling(f"{prefix}a"), RESULT]  # what was asked is left as it is


def test_one_of_several_calls_is_enough() -> None:
    memory = ThoughtMemory()
    memory.remember("me", "b", "Hm.")
    assert memory.recall("me", [calling("call_a", "call_b")]) == [calling("call_a", "call_b", reasoning_content="Hm.")]


@pytest.mark.parametrize(
    "message", [HI, RESULT, calling("b"), calling("a", reasoning_content="Mine."), {"role": "assistant", "content": ""}]
)
def test_everything_else_is_left_as_it_is(message: Json) -> None:
    memory = ThoughtMemory()
    memory.remember("me", "a", "Hm.")
    assert memory.recall("me", [message]) == [message]


def test_no_thought_crosses_keys() -> None:
    memory = ThoughtMemory()
    memory.remember("me", "a", "Hm.")
    assert memory.recall("you", [calling("a")]) == [calling("a")]


def test_the_last_used_stay_when_there_are_too_many() -> None:
    memory = ThoughtMemory(most_calls=2)
    memory.remember("me", "a", "A")
    memory.remember("me", "b", "B")
    memory.recall("me", [calling("a")])
    memory.remember("me", "c", "C")
    thoughts = [message.get("reasoning_content") for message in memory.recall("me", [*map(calling, "abc")])]
    assert thoughts == ["A", None, "C"]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 12))), st.integers(1, 3), st.integers(1, 20))
def test_there_are_never_more_than_may_be(remembered: list[tuple[str, int]], calls: int, characters: int) -> None:
    memory = ThoughtMemory(calls, characters)
    for call_id, length in remembered:
        memory.remember("me", call_id, "x" * length)
        kept = list(memory._thoughts.values())
        assert len(kept) <= calls
        assert sum(map(len, kept)) == memory._characters <= characters
        assert (("me", call_id) in memory._thoughts) == (length <= characters)
