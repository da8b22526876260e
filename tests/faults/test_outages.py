"""Single outages, looked at more closely than a fault run can."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any

from fault_clients import Outcome, ask, client_of
from fault_service import LONGER_THAN_PATIENCE_SECONDS, WEDGE_SECONDS, Service, run, serving, until

from server_supervisor.states import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Warmgate

WAITING_CLIENTS = 40
PATIENT_SECONDS = WEDGE_SECONDS / 4
GIVE_UPS = 40  # together many times longer than a server may hang
STORY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Write a very long story about a dragon."}],
    "max_tokens": 1500,
    "logit_bias": {"<|im_end|>": -100, "<|endoftext|>": -100},  # the model ends some of them after a few words
    "stream": True,
}
SHORT: dict[str, Any] = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}


def test_however_many_clients_wait_for_it_one_server_is_started_and_answers_them_all() -> None:
    async def main() -> None:
        async with serving() as service, client_of(service.url) as client:
            await service.ready()
            loaded = service.folder / "loaded"
            service.plan_start(["--load-until", str(loaded)], LONGER_THAN_PATIENCE_SECONDS)
            service.signal_child(signal.SIGKILL)
            await until(lambda: service.supervisor.count(State.LOADING) == 2)
            async with asyncio.TaskGroup() as clients:
                asking = [
                    clients.create_task(ask(client, 3, stream=number % 2 == 0)) for number in range(WAITING_CLIENTS)
                ]
                await until(lambda: waiting(service) == WAITING_CLIENTS)
                loaded.touch()
            assert [task.result() for task in asking] == [Outcome.ANSWERED] * WAITING_CLIENTS
            assert service.supervisor.failures == ["killed"]
            assert service.journaled() == {"started": 2}

    run(main)


def waiting(service: Service) -> int:
    """Return how many requests have come and not ended."""
    found = dict(line.split() for line in service.gateway._metrics.render()[0].decode().splitlines() if line[0] != "#")
    return int(float(found["warmgate_requests_in_flight"]) + float(found["warmgate_requests_waiting"]))


def hang(service: Service) -> None:
    service.hung.set()
    service.signal_child(signal.SIGSTOP)


async def give_up(request: asyncio.Task[Outcome]) -> None:
    request.cancel()
    await asyncio.wait({request})


def test_a_server_that_hangs_is_found_although_its_only_client_has_given_up() -> None:
    async def main() -> None:
        async with serving() as service, client_of(service.url) as client:
            assert await ask(client, 1, stream=True) is Outcome.ANSWERED
            hang(service)
            request = asyncio.create_task(ask(client, 1, stream=True))
            await until(lambda: service.vain_looks > 0)
            await give_up(request)
            await until(lambda: service.supervisor.failures == ["wedged"])

    run(main)


def test_a_server_that_hangs_is_found_although_each_client_gives_up_and_asks_again() -> None:
    async def main() -> None:
        async with serving() as service, client_of(service.url) as client:
            assert await ask(client, 1, stream=True) is Outcome.ANSWERED
            hang(service)
            for _ in range(GIVE_UPS):
                request = asyncio.create_task(ask(client, 1, stream=True))
                await asyncio.wait({request}, timeout=PATIENT_SECONDS)
                await give_up(request)
            assert service.supervisor.failures == ["wedged"]

    run(main)


def test_the_real_engine_is_replaced_when_it_hangs(serve: Callable[..., Warmgate]) -> None:
    gate = serve(WARMGATE_WEDGE_SECONDS="1")  # it is looked at every 5 s all the same
    with gate.client() as client:
        with client.stream("POST", "/v1/chat/completions", json=STORY) as response:
            events = (
                json.loads(line.removeprefix("data: ")) for line in response.iter_lines() if line.startswith("data: ")
            )
            while not next(events)["choices"][0]["delta"].get("content"):
                pass
            gate.engine().suspend()
            *_, last = events  # an end mark would not be JSON
        assert last["error"]["code"] == "upstream_error"
        assert client.post("/v1/chat/completions", json=SHORT).status_code == 200
        assert client.get("/health").json()["last_error"]["kind"] == "wedged"
