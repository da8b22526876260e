"""The benchmark's schemas are all usable: each compiles, and each has a grammar under which a call can be written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.toolcalls.grammar_schema import BARE, TIGHT, WIDE, Bounds, grammar_schema
from gateway.toolcalls.toolbox import compile_tools

CORPUS = Path(__file__).parents[1] / "bench" / "schemas" / "schemas.json"
TOOLS: list[dict[str, Any]] = json.loads(CORPUS.read_text())


def test_there_are_hundreds_and_no_two_are_called_the_same() -> None:
    assert len({tool["name"] for tool in TOOLS}) == len(TOOLS) == 350


def test_each_compiles() -> None:
    for tool in TOOLS:
        assert compile_tools([{"type": "function", "function": tool}]).tools


@pytest.mark.parametrize("bounds", [WIDE, TIGHT, BARE])
def test_each_has_a_grammar_of_a_size_that_can_be_sent(bounds: Bounds) -> None:
    for tool in TOOLS:
        found = grammar_schema(tool["parameters"], bounds)
        assert found != {"type": "object"}
        assert len(json.dumps(found)) < 50_000
