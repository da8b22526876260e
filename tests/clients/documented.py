"""What docs/clients.md says, for the tests that do as it says."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
URL = "http://127.0.0.1:8000"
"""Where the page says that the gateway is."""


def block(heading: str, language: str, url: str) -> str:
    """Return the first code block in a language under a heading, with the gateway at `url`."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return section.partition(f"```{language}\n")[2].partition("```")[0].replace(URL, url)


def exports(heading: str, url: str, key: str) -> dict[str, str]:
    """Return the environment variables that the page sets under a heading."""
    lines = re.findall(r"^\$ export (\w+)=(.*)$", block(heading, "console", url), re.MULTILINE)
    return {name: value.replace("$WARMGATE_KEY", key) for name, value in lines}
