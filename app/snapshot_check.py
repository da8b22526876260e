"""A server parked and restored once, with a client before and after: does it answer as if nothing had happened?"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from app.failure import CommandFailure
from app.gateway_config import gateway_config
from app.keys import Keys
from app.launch import plan_launch
from app.readiness import SupervisorReadiness
from gateway.application import Gateway
from gateway.upstream.target import Target
from server_supervisor.parking import Parking
from server_supervisor.states import State
from server_supervisor.supervisor import Supervisor
from snapshot.cuda import GpuError
from snapshot.gpu_state import CudaState
from snapshot.process_tree import resident_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from app.settings import Settings

GIB = 1 << 30
MIB = 1 << 20
ANSWER_SECONDS = 120.0
SAME_LOGPROB = 1e-3
"""Log-probabilities of the same token differ by less when the same server answers twice."""

TEXT = "The sea is never the same twice, and whoever has looked at it for long knows that it looks back. " * 6
QUESTION: Mapping[str, Any] = {
    "messages": [{"role": "user", "content": f"{TEXT}\nGo on with this text."}],
    "max_tokens": 32,
    "temperature": 0,
    "logprobs": True,
    "chat_template_kwargs": {"enable_thinking": False},
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got.

    Attributes:
        text: Thoughts and answer.
        logprobs: Of each token.
        cached_tokens: How much of the prompt was remembered.
        seconds: How long it took.
    """

    text: str
    logprobs: tuple[float, ...]
    cached_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Cycle:
    """What was measured.

    Attributes:
        model: What was served.
        engine: Where the engine came from.
        load_seconds: From the server's start until it was ready.
        phases: Seconds of `lock`, `checkpoint`, `restore` and `unlock`.
        gpu_mib: GPU memory that was given back.
        host_mib: The server's resident memory, before and while it was parked.
        before: A client's answer, with the prompt in the cache.
        held: The same request, sent while the server was parked: its time counts from there.
        after: And once more.
        differences: What was not the same, in words; nothing should be.
    """

    model: str
    engine: str
    load_seconds: float
    phases: Mapping[str, float]
    gpu_mib: int
    host_mib: tuple[int, int]
    before: Answer
    held: Answer
    after: Answer
    differences: tuple[str, ...]

    @property
    def rates(self) -> tuple[float, float]:
        """How fast the memory went out and came back, in GiB/s."""
        gib = self.gpu_mib / 1024
        return gib / self.phases["checkpoint"], gib / self.phases["restore"]

    def report(self) -> dict[str, Any]:
        """Return what `--json` prints: all of it, and the rates."""
        out, back = self.rates
        return {**asdict(self), "gib_per_second": {"checkpoint": out, "restore": back}}


async def check(settings: Settings) -> Cycle:
    """Start what the settings say, park it, and have it restored by a request.

    Raises:
        CommandFailure: It cannot be started, parked or restored.
    """
    try:
        gpu = Witness(CudaState())
    except GpuError as error:
        raise CommandFailure(str(error)) from None
    with tempfile.TemporaryDirectory(prefix="warmgate-") as runtime_dir:
        launch, plan, engine = plan_launch(settings, Path(runtime_dir))
        supervisor = Supervisor(replace(launch, parking=Parking(0, gpu)))
        key = secrets.token_urlsafe()
        keys = Keys.of({"check": key}, made=key)
        config = gateway_config(settings.model_copy(update={"tool_calls_by_key": None}), keys, slots=plan.slots)
        gateway = Gateway(config, Target.parse(launch.endpoint.url), SupervisorReadiness(supervisor))
        async with _running(supervisor, gateway), _client(gateway, keys) as client:
            with gateway.activity.request():  # as long as it is under way nothing is parked
                await _until(supervisor, State.READY)
                load_seconds = supervisor.status.load_seconds or 0.0
                await _ask(client)
                before = await _ask(client)
                resident = _resident_mib(supervisor)
            await _until_parked(supervisor, gpu)
            host_mib = (resident, _resident_mib(supervisor))
            with gateway.activity.request():
                held = await _ask(client)
                after = await _ask(client)
            if supervisor.status.last_failure is not None:  # they were answered by another server
                raise CommandFailure(supervisor.status.last_failure.message)
            phases = supervisor.status.phases
    return Cycle(
        model=plan.alias,
        engine=engine,
        load_seconds=load_seconds,
        phases=phases,
        gpu_mib=sum(gpu.state.freed) // MIB,
        host_mib=host_mib,
        before=before,
        held=held,
        after=after,
        differences=(*compare(before, held), *compare(before, after)),
    )


def compare(before: Answer, after: Answer) -> list[str]:
    """Say what is not the same, each in a clause."""
    differences = []
    if after.text != before.text:
        differences.append(f"the text was {before.text!r} and is {after.text!r}")
    elif len(after.logprobs) != len(before.logprobs):
        differences.append(f"there were {len(before.logprobs)} tokens and are {len(after.logprobs)}")
    elif (most := max(map(_distance, before.logprobs, after.logprobs), default=0.0)) > SAME_LOGPROB:
        differences.append(f"a log-probability moved by {most:.4f}")
    if after.cached_tokens < before.cached_tokens:
        differences.append(
            f"{after.cached_tokens} tokens of the prompt were remembered, not {before.cached_tokens} as before"
        )
    return differences


def _distance(one: float, other: float) -> float:
    return abs(one - other)


class Witness:
    """The GPU state, and why it could not be parked or restored."""

    def __init__(self, state: CudaState) -> None:
        self.state = state
        self.problem: Exception | None = None

    def park(self, pid: int) -> Mapping[str, float]:
        """Park it."""
        try:
            return self.state.park(pid)
        except Exception as error:
            self.problem = error
            raise

    def has_room(self) -> bool:
        """Say whether there is room for it."""
        return self.state.has_room()

    def restore(self) -> Mapping[str, float]:
        """Restore it."""
        return self.state.restore()


@contextlib.asynccontextmanager
async def _running(supervisor: Supervisor, gateway: Gateway) -> AsyncIterator[None]:
    owner = asyncio.create_task(supervisor.run(gateway.activity))
    try:
        yield
    finally:
        supervisor.stop()
        await owner


def _client(gateway: Gateway, keys: Keys) -> httpx.AsyncClient:
    """Return a client of the gateway in this process: all of a request's way but the socket."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(gateway),
        base_url="http://warmgate",
        headers={"authorization": f"Bearer {keys.made}"},
        timeout=ANSWER_SECONDS,
    )


async def _until(supervisor: Supervisor, *states: State) -> None:
    """Wait for a state.

    Raises:
        CommandFailure: The server failed, or had to be started again.
    """
    status = await supervisor.wait_for(*states, State.BACKOFF, State.FAILED)
    if status.state in (State.BACKOFF, State.FAILED) and status.last_failure is not None:
        raise CommandFailure(status.last_failure.message)


async def _until_parked(supervisor: Supervisor, gpu: Witness) -> None:
    await _until(supervisor, State.PARKING)
    await _until(supervisor, State.PARKED, State.READY)
    if gpu.problem is not None:
        raise CommandFailure(str(gpu.problem))


async def _ask(client: httpx.AsyncClient) -> Answer:
    """Ask the question.

    Raises:
        CommandFailure: It was not answered.
    """
    began = time.perf_counter()
    response = await client.post("/v1/chat/completions", json=QUESTION)
    answer = response.json()
    if response.status_code != httpx.codes.OK:
        raise CommandFailure(f"A request was not answered: {answer['error']['message']}")
    choice, usage = answer["choices"][0], answer["usage"]
    message = choice["message"]
    return Answer(
        text=(message.get("reasoning_content") or "") + (message.get("content") or ""),
        logprobs=tuple(token["logprob"] for token in (choice.get("logprobs") or {}).get("content") or ()),
        cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
        seconds=time.perf_counter() - began,
    )


def _resident_mib(supervisor: Supervisor) -> int:
    assert supervisor.status.pid is not None  # noqa: S101 -- it is ready or parked
    return resident_bytes(supervisor.status.pid) // MIB
