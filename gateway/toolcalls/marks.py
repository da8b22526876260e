"""Gemma 4's control tokens, as text. They have no place in a value, and are never meant by one."""

from __future__ import annotations

import re

QUOTE = '<|"|>'

# with a mark's end missing too: https://github.com/vllm-project/vllm/issues/39468
_MARK = r'(?:<\|"\|?>?|<\|?(?:channel|tool_call|tool_response|tool|turn|think|image|audio)\|?>)'
_AROUND = re.compile(rf"^(?:\s*{_MARK})+\s*|\s*(?:{_MARK}\s*)+$")
_RUN = re.compile(rf"(?:\s|{_MARK})*")


def strip_marks(text: str) -> str:
    """Return a text without the control tokens at its ends, nor the white space between it and them."""
    return _AROUND.sub("", text)


def skip_marks(text: str, at: int) -> int:
    """Return where the control tokens and the white space that begin at `at` end."""
    found = _RUN.match(text, at)
    return found.end() if found else at
