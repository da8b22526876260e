"""Arrival rate against containers, waiting and cost, for settings of the deployed class: a simulation, no measurement.

Run by `make bench SUITE=scaling`. What a container can do is given by flags; the defaults are assumptions, see
docs/scaling.md. Prints Markdown tables, or JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench.scaling_model import Policy, Service, Traffic, simulate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.scaling_model import Outcome

RATES = (1, 4, 10, 40, 120, 300)
"""Sessions an hour."""

POLICIES: Mapping[str, Policy] = {
    "default": Policy(),
    "window 30 s": Policy(scaledown_window=30),
    "window 10 min": Policy(scaledown_window=600),
    "max_inputs = slots": Policy(max_inputs=4),
    "one in reserve": Policy(buffer_containers=1),
    "one always warm": Policy(min_containers=1),
    "sticky sessions": Policy(sticky=True),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A run's figures. Seconds are of a request, until its prompt is read; dollars are what the containers cost."""

    cold_percent: float
    first_token_median: float
    first_token_p95: float
    first_token_p99: float
    computed_percent: float
    containers_mean: float
    containers_most: int
    dollars_a_day: float
    dollars_a_million: float


def row(outcome: Outcome, dollars_an_hour: float) -> Row:
    """Boil a run down. A million counts generated tokens."""
    cuts = statistics.quantiles(outcome.first_tokens, n=100)
    hours = outcome.container_seconds / 3600
    return Row(
        cold_percent=100 * outcome.cold / len(outcome.waits),
        first_token_median=cuts[49],
        first_token_p95=cuts[94],
        first_token_p99=cuts[98],
        computed_percent=100 * outcome.computed_tokens / outcome.prompt_tokens,
        containers_mean=outcome.container_seconds / outcome.seconds,
        containers_most=outcome.most_containers,
        dollars_a_day=dollars_an_hour * hours / (outcome.seconds / 86400),
        dollars_a_million=dollars_an_hour * hours / (outcome.answer_tokens / 1e6),
    )


def table(rows: Sequence[tuple[float, str, Row]]) -> str:
    """Return the figures as Markdown."""
    head = (
        "| sessions/h | settings | waited for a start | first token s, p50 / p95 / p99 | prompt computed | containers, "
        "mean / most | $ a day | $ per million tokens |\n|---|---|---|---|---|---|---|---|"
    )
    lines = [
        f"| {rate:g} | {name} | {r.cold_percent:.1f} % | {r.first_token_median:.1f} / {r.first_token_p95:.1f} / "
        f"{r.first_token_p99:.1f} | {r.computed_percent:.0f} % | {r.containers_mean:.2f} / {r.containers_most} | "
        f"{r.dollars_a_day:.2f} | {r.dollars_a_million:.2f} |"
        for rate, name, r in rows
    ]
    return "\n".join([head, *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="sessions an hour")
    parser.add_argument("--sessions", type=int, default=3000, help="of each run, about")
    parser.add_argument("--prefill", type=float, default=2000, help="prompt tokens a second")
    parser.add_argument("--decode", type=float, default=40, help="tokens a second of one answer beside three others")
    parser.add_argument("--cold", type=float, default=20, help="seconds from nothing to ready")
    parser.add_argument("--dollars", type=float, default=2.46, help="what a container costs an hour")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--think", type=float, default=20, help="mean seconds between an answer and the next question")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    service = Service(prefill=asked.prefill, decode=asked.decode, cold_seconds=asked.cold)
    rows = []
    for rate in asked.rates:
        traffic = Traffic(sessions_per_hour=rate, turns=asked.turns, think_seconds=asked.think)
        for name, policy in POLICIES.items():
            outcome = simulate(service, traffic, policy, hours=asked.sessions / rate, seed=asked.seed)
            rows.append((rate, name, row(outcome, asked.dollars)))
    print(table(rows))
    if asked.json:
        asked.json.write_text(json.dumps([{"rate": rate, "settings": name, **asdict(r)} for rate, name, r in rows]))


if __name__ == "__main__":
    main()
