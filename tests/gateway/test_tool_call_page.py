"""The page about tool calls says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.answers.repair import MOST_ASKED
from gateway.toolcalls.grammar_schema import WIDE
from gateway.toolcalls.normalise import Rule
from gateway.toolcalls.policy import REPAIR_CALLS, Mode, Outcome
from gateway.toolcalls.schema_limits import (
    MOST_BYTES,
    MOST_BYTES_TOGETHER,
    MOST_DEPTH,
    MOST_ENUM_VALUES,
    MOST_NAME_CHARACTERS,
    MOST_PROPERTIES,
    MOST_TOOLS,
)

PAGE = (Path(__file__).parents[2] / "docs" / "tool-calls.md").read_text()


def first_column(heading: str) -> list[str]:
    """Return what stands in code in the first column of the table under a table's heading."""
    table = PAGE.partition(f"{heading}\n")[2].partition("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def test_every_rule_is_described() -> None:
    assert sorted(first_column("| rule | what |")) == sorted(Rule)


def test_every_mode_and_outcome_is_described() -> None:
    assert first_column("| mode | |") == list(Mode)
    assert f"({', '.join(f'`{outcome}`' for outcome in Outcome)})" in " ".join(PAGE.split())
    assert REPAIR_CALLS.mode is Mode.REPAIR


def test_the_limits_are_the_code_s() -> None:
    assert f"| tools | {MOST_TOOLS} |" in PAGE
    assert f"| a name | 1 to {MOST_NAME_CHARACTERS} letters" in PAGE
    sizes = f"{MOST_DEPTH} levels of JSON, {MOST_PROPERTIES} properties, {MOST_ENUM_VALUES} values of enums"
    assert f"| a schema | {MOST_BYTES >> 10} KiB, {sizes} |" in PAGE
    assert f"| all schemas together | {MOST_BYTES_TOGETHER >> 20} MiB |" in PAGE
    assert f"texts after {WIDE.characters:,} characters, lists after {WIDE.items} further items" in PAGE
    assert WIDE.depth == 3
    assert f"asked again {MOST_ASKED} times at most" in " ".join(PAGE.split())
    assert REPAIR_CALLS.most_repairs == 2
