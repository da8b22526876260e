from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from driving import FakeReadiness, make_gateway, served
from fake_upstream import FakeUpstream, scenario, until

from gateway.readiness import Report

if TYPE_CHECKING:
    from gateway.application import Gateway

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
READY = Report("ready", ready=True, generation=1, restarts={"killed": 1}, phases={"load": 1.5})


def table(gateway: Gateway) -> list[str]:
    """Return a row for each of our own series, as the page has it."""
    labels: dict[str, set[str]] = {}
    for collector in gateway.registry._collector_to_names:
        declared: Any = getattr(collector, "_labelnames", None)
        for name in gateway.registry._collector_to_names[collector] if declared is not None else ():
            labels[name] = set(declared)
    rows = []
    for family in gateway.registry.collect():
        if family.name.startswith("warmgate_"):
            found = labels.get(family.name, set()).union(*(sample.labels for sample in family.samples)) - {"le"}
            name = f"{family.name}_total" if family.type == "counter" else family.name
            written = ", ".join(f"`{label}`" for label in sorted(found))
            rows.append(f"| `{name}` | {family.type} | {written} | {family.documentation} |")
    return rows


@scenario
async def test_the_page_has_every_series_in_the_registrys_own_words() -> None:
    async with FakeUpstream().listening() as upstream:
        gateway = make_gateway(upstream, FakeReadiness(READY))
        async with served(gateway):
            await until(lambda: gateway._upstream_metrics.age_seconds is not None)
            rows = table(gateway)
    written = [line for line in PAGE.read_text().splitlines() if line.startswith("| `warmgate_")]
    assert written == rows, "\n" + "\n".join(rows)
