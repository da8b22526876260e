"""The dashboard and the alerts, against what we export and against a real Prometheus."""

from __future__ import annotations

import re
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
import yaml
from conftest import KEY, START_SECONDS
from contract.playing import CHAT, play
from contract.scenes import SCENES, SERVED
from dashboard import FILES, queries
from debian_tools import listening, tool
from driving import make_gateway
from fake_upstream import FakeUpstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Warmgate

ALERTS: Final = FILES / "alerts.yml"
NAME: Final = re.compile(r"\b(?:warmgate|process)_\w+")
ENDINGS: Final = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


def exported() -> set[str]:
    """Return the names of all that we export, but for llama-server's own."""
    families = make_gateway(FakeUpstream()).registry.collect()
    scraped = {"warmgate_upstream_scrape_age_seconds", "warmgate_model_info", "warmgate_server_start_phase_seconds"}
    return scraped | {family.name + end for family in families for end in ENDINGS.get(family.type, ("",))}


def alert_queries() -> dict[str, str]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


@pytest.mark.parametrize("query", (queries() | alert_queries()).values(), ids=(queries() | alert_queries()).keys())
def test_a_query_asks_for_what_is_exported(query: str) -> None:
    asked = set(NAME.findall(query))
    assert asked <= exported()
    assert asked or "llamacpp:" in query


def test_every_alert_fires_where_it_should_and_not_where_it_should_not() -> None:
    tests = FILES.parents[1] / "tests" / "observability" / "alerts.yml"
    assert {alert for alert in alert_queries() if alert not in tests.read_text()} == set()
    for command, file in (("check", ALERTS), ("test", tests)):
        argv = [tool("promtool"), command, "rules", str(file)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


# -- with a real Prometheus


@pytest.fixture
def ask_prometheus(serve: Callable[..., Warmgate], tmp_path: Path) -> Iterator[tuple[Warmgate, Callable[[str], Any]]]:
    """Return a `warmgate` and a function that asks the Prometheus which scrapes it each second."""
    warmgate = serve(*SERVED, "--set", "slots=2", WARMGATE_SCRAPE_SECONDS="5")
    job = {
        "job_name": "warmgate",
        "honor_labels": True,
        "authorization": {"credentials": KEY},
        "static_configs": [{"targets": [warmgate.url.removeprefix("http://")]}],
    }
    config = tmp_path / "prometheus.yml"
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
    with (
        listening("prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'series'}") as url,
        httpx.Client(base_url=url) as client,
    ):

        def ask(query: str) -> Any:
            answer = client.get("/api/v1/query", params={"query": query}).json()
            assert answer["status"] == "success", (query, answer)
            return answer["data"]["result"]

        yield warmgate, ask


def wait_until(condition: Callable[[], bool]) -> bool:
    """Look until a condition holds: a scrape comes when it comes. Returns whether it did."""
    until = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def put_under_load(warmgate: Warmgate) -> None:
    """Have everything happen that has a panel."""
    with warmgate.client() as client:
        for name in ("plain", "think", "quoted-number", "wrong-type", "stray-close"):
            play(client, CHAT, SCENES[name].trigger, SCENES[name].tools, stream=True)
        play(client, CHAT, SCENES["think-long"].trigger, stream=True, thinking_budget_tokens=4)


def test_every_query_of_the_dashboard_has_an_answer_after_a_load(
    ask_prometheus: tuple[Warmgate, Callable[[str], Any]],
) -> None:
    warmgate, ask = ask_prometheus
    assert wait_until(lambda: bool(ask("warmgate_slots")))
    put_under_load(warmgate)
    unanswered = dict(queries())

    def all_answered() -> bool:
        for name in [name for name, query in unanswered.items() if ask(query)]:
            del unanswered[name]
        return not unanswered

    assert wait_until(all_answered), unanswered
    assert wait_until(lambda: ask('sum(warmgate_tool_calls_total{outcome="repaired"})')[0]["value"][1] == "1")

    warmgate.engine().kill()
    killed = 'sum(increase(warmgate_server_restarts_total{reason="killed"}[1m])) > 0'
    assert wait_until(lambda: bool(ask(killed)))
