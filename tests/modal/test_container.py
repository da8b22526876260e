"""A container's whole life under Modal's real entry point, with the real llama-server: frozen, woken, asked, ended."""

from __future__ import annotations

import json
import signal
import socket
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from collector import attributes, collecting
from containers import PATIENCE_SECONDS, Container
from deploying import deploy
from fake_modal import fake_modal

from snapshot.connections import open_connections

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploying import Deployed
    from fake_modal import Exchange, FakeModal

OLD, NEW = "sk-old-4d1f0c", "sk-new-4d1f0c"
SMALL = {"WARMGATE_PROFILE": "smollm2-135m"}
SHORT = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8, "stream": True}
STORY = {"messages": [{"role": "user", "content": "Write a very long story about a dragon."}], "stream": True}
SNAPSHOT_RESTORE_FAILED = 222  # with it Modal starts the container again, without a snapshot


@pytest.fixture(scope="module")
def modal() -> Iterator[FakeModal]:
    with fake_modal() as modal:
        yield modal


@pytest.fixture(scope="module")
def deployed(modal: FakeModal) -> Deployed:
    return deploy(modal, **SMALL)


def secret(key: str) -> dict[str, str]:
    """Return what the Secret holds. More threads would wait for each other where the machine has other work."""
    return {"WARMGATE_API_KEYS": f"tests:{key}", "WARMGATE_OVERRIDES": '["threads=1", "slots=2"]'}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def ask(modal: FakeModal, body: dict[str, Any], key: str) -> Exchange:
    return modal.send("POST", "/v1/chat/completions", json.dumps(body).encode(), authorization=f"Bearer {key}")


def answer(exchange: Exchange) -> tuple[int, dict[str, str], bytes]:
    status, headers = exchange.head()
    return status, headers, b"".join(exchange.pieces())


def wait_until_disconnected(process: psutil.Process) -> None:
    """Wait until the client of Modal's own has closed its connection too. pytest's time limit is what bounds it."""
    while process.net_connections("inet"):
        pass


def test_a_copy_of_a_frozen_container_has_its_server_and_nothing_else_of_it(
    modal: FakeModal, deployed: Deployed, tmp_path: Path
) -> None:
    with Container(modal, deployed, tmp_path, secret(OLD)) as container:
        container.freeze()
        engine = container.engine()
        wait_until_disconnected(container.process)
        assert open_connections(engine.pid) == frozenset()
        assert not [word for word in engine.cmdline() if OLD in word]

        container.rotate(secret(NEW))
        container.wake("restore")
        status, headers, body = answer(ask(modal, SHORT, NEW))
        assert status == 200
        assert headers["x-warmgate-cold-start"].startswith("restored; probe=")
        assert body.endswith(b"data: [DONE]\n\n")
        assert container.engine() == engine
        assert answer(ask(modal, SHORT, OLD))[0] == 401

        health = json.loads(answer(modal.send("GET", "/health"))[2])
        assert (health["state"], health["start"], list(health["phases"])) == ("ready", "restored", ["probe"])
        assert health["instance"] == "ta-copy"

        story = ask(modal, STORY, NEW)
        assert story.head()[0] == 200
        modal.hang_up(story)
        assert not any(b"[DONE]" in piece for piece in story.pieces())
        metrics = modal.send("GET", "/metrics", authorization=f"Bearer {NEW}")
        assert b"warmgate_requests_in_flight 0.0" in answer(metrics)[2]

        assert container.end() == 0
        assert not engine.is_running()


def test_a_copy_sends_metrics_and_traces_under_its_own_name_and_the_frozen_one_none(
    modal: FakeModal, deployed: Deployed, tmp_path: Path
) -> None:
    with collecting() as collector:
        sent = {"WARMGATE_PUSH_METRICS": "otlp", "WARMGATE_TRACES": "1", "WARMGATE_OTLP_ENDPOINT": collector.url}
        with Container(modal, deployed, tmp_path, secret(OLD) | sent) as container:
            container.freeze()
            assert not collector.resource_metrics
            container.wake("restore")
            assert answer(ask(modal, SHORT, OLD))[0] == 200
            assert container.end() == 0
    senders = [attributes(list(sender.resource.attributes)) for sender in collector.resource_spans]
    senders += [attributes(list(sender.resource.attributes)) for sender in collector.resource_metrics]
    assert {sender["service.instance.id"] for sender in senders} == {"ta-copy"}
    assert "chat smollm2-135m" in {span.name for span in collector.spans}
    last = {metric.name: metric for metric in collector.resource_metrics[-1].scope_metrics[0].metrics}
    assert sum(point.as_double for point in last["warmgate_requests"].sum.data_points) == 1


def test_a_server_that_was_lost_in_the_freeze_is_replaced_and_the_first_request_is_answered(
    modal: FakeModal, deployed: Deployed, tmp_path: Path
) -> None:
    with Container(modal, deployed, tmp_path, secret(OLD)) as container:
        container.freeze()
        lost = container.engine()
        lost.kill()
        container.wake("restore")
        status, headers, body = answer(ask(modal, SHORT, OLD))
        assert status == 200
        assert headers["x-warmgate-cold-start"].startswith("cold; probe=")
        assert body.endswith(b"data: [DONE]\n\n")
        assert container.engine() != lost
        assert container.end() == 0


def test_where_the_gpus_part_cannot_be_restored_modal_is_told_to_start_without_a_snapshot(
    modal: FakeModal, deployed: Deployed, tmp_path: Path
) -> None:
    with Container(modal, deployed, tmp_path, secret(OLD)) as container:
        container.freeze()
        engine = container.engine()
        container.wake("error")
        assert container.process.wait(PATIENCE_SECONDS) == SNAPSHOT_RESTORE_FAILED
        psutil.wait_procs([engine], PATIENCE_SECONDS)
        assert not engine.is_running()


def test_behind_the_other_door_requests_come_to_a_port(modal: FakeModal, tmp_path: Path) -> None:
    port = free_port()
    deployed = deploy(modal, **SMALL, WARMGATE_DOOR="server", WARMGATE_SNAPSHOT="off", WARMGATE_PORT=str(port))
    with Container(modal, deployed, tmp_path, secret(OLD)) as container:
        container.listen()
        engine = container.engine()
        headers = {"authorization": f"Bearer {OLD}"}
        response = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=SHORT, headers=headers, timeout=60)
        assert response.status_code == 200
        assert response.headers["x-warmgate-cold-start"].startswith("cold; load=")
        container.process.send_signal(signal.SIGTERM)
        assert container.process.wait(PATIENCE_SECONDS) == 0
        assert not engine.is_running()
