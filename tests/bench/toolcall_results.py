"""What the tool-call benchmark has found out: written as it comes, a line of JSON for each question, and read again.

So a run that is ended keeps what it has, and the next one with the same file goes on from there.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, NamedTuple

from bench.toolcall_table import Pair, Result

if TYPE_CHECKING:
    from pathlib import Path


class Question(NamedTuple):
    """One question, which is asked directly and through the gateway."""

    model: str
    choice: str
    tool: str


class ResultLog:
    """All answers so far.

    Attributes:
        pairs: The answers, by question, in the order in which they came.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Read what an earlier run has left, if there is a file. A line that was cut off is left out."""
        self.pairs: dict[Question, Pair] = {}
        self._path = path
        if path is None:
            return
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        path.write_text("".join(whole))
        for line in whole:
            found = json.loads(line)
            question = Question(found["model"], found["tool_choice"], found["tool"])
            self.pairs[question] = (Result(**found["direct"]), Result(**found["warmgate"]))

    def add(self, question: Question, pair: Pair) -> None:
        """Note one question's answers."""
        self.pairs[question] = pair
        if self._path is None:
            return
        names = {"model": question.model, "tool_choice": question.choice, "tool": question.tool}
        answers = {way: dataclasses.asdict(found) for way, found in zip(("direct", "warmgate"), pair, strict=True)}
        with self._path.open("a") as log:
            log.write(json.dumps(names | answers) + "\n")

    def runs(self) -> dict[tuple[str, str], list[Pair]]:
        """Return the answers by model and choice."""
        found: dict[tuple[str, str], list[Pair]] = {}
        for question, pair in self.pairs.items():
            found.setdefault((question.model, question.choice), []).append(pair)
        return found
