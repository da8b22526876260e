"""Gemma 4's control tokens, as text. They have no place in a value, and are never meant by one.

`gateway.answers.marks` keeps the same tokens out of an answer's text.
"""

from __future__ import annotations

import re
from typing import Final

QUOTE: Final = '<|"|>'

MARKS: Final = (
    "<|channel>",
    "<channel|>",
    "<|tool_call>",
    "<tool_call|>",
    "<|tool_response>",
    "<tool_response|>",
    "<|tool>",
    "<tool|>",
    "<|turn>",
    "<turn|>",
    "<|think|>",
    QUOTE,
)
"""Those that it may write. The ones for images and audio stand in prompts only, and other models have the same."""

# around a value those for images and audio mean nothing either; a bar or a mark's end may be missing:
# https://github.com/vllm-project/vllm/issues/39468
_NAMES = "|".join(sorted({mark.strip("<|>") for mark in MARKS} - {'"'} | {"image", "audio"}))
_MARK = rf'(?:<\|"\|?>?|<\|?(?:{_NAMES})\|?>)'
_AROUND = re.compile(rf"^(?:\s*{_MARK})+\s*|\s*(?:{_MARK}\s*)+$")
_RUN = re.compile(rf"(?:\s|{_MARK})*")


def strip_marks(text: str) -> str:
    """Return a text without the control tokens at its ends, nor the white space between it and them."""
    return _AROUND.sub("", text)


def skip_marks(text: str, at: int) -> int:
    """Return where the control tokens and the white space that begin at `at` end."""
    found = _RUN.match(text, at)
    return found.end() if found else at
