"""The dashboard that is checked in: its queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

FILES: Final = Path(__file__).parents[2] / "docs" / "observability"


def queries() -> dict[str, str]:
    """Return every query under its panel's title and letter, with Grafana's variables filled in."""
    dashboard = json.loads((FILES / "grafana-dashboard.json").read_text())
    return {
        f"{panel['title']} {target['refId']}": _filled_in(target["expr"])
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    }


def _filled_in(query: str) -> str:
    return query.replace("$__rate_interval", "1m").replace("$instance", ".*")
