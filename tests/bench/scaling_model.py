"""A queueing model of the deployed class: sessions of requests, containers of slots, and Modal's autoscaler.

What is modelled of Modal is what its documentation says (https://modal.com/docs/guide/scale, .../concurrent-inputs):
there are as many containers as the requests in the system need at `target_inputs` each, between a minimum and a
maximum, and while there is traffic `buffer_containers` more; a request goes to the running container with the fewest,
also above the target, up to `max_inputs`; an idle container goes after the scale-down window. A container that starts
takes nothing until it is ready. In a container, the gateway's own queue is first in, first out.

Times are in seconds. Nothing here reads a clock: the same seed gives the same run.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import math
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What one container can do.

    Attributes:
        slots: Answers that are generated side by side.
        prefill: Prompt tokens a second.
        decode: Tokens a second of one answer, while the other slots are busy too.
        cold_seconds: From the decision to start a container until it takes requests.
    """

    slots: int = 4
    prefill: float
    decode: float
    cold_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Conversations: they begin at random, each turn sends all that was said before.

    Attributes:
        sessions_per_hour: How many begin, as a Poisson process.
        turns: Requests of a session.
        think_seconds: Mean time between an answer and the next turn; exponential.
        first_tokens: The prompt of the first turn.
        turn_tokens: What each further turn adds to it, besides the answer before.
        answer_tokens: Mean length of an answer; exponential.
    """

    sessions_per_hour: float
    turns: int = 8
    think_seconds: float = 20.0
    first_tokens: int = 4000
    turn_tokens: int = 500
    answer_tokens: float = 400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The deployment's settings, by Modal's names; `sticky` is what `Modal-Session-ID` does on a Server."""

    min_containers: int = 0
    max_containers: int = 3
    buffer_containers: int = 0
    scaledown_window: float = 120.0
    target_inputs: int = 4
    max_inputs: int = 32
    sticky: bool = False


@dataclass(slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        waits: Of each request, until it had a slot.
        first_tokens: Of each request, until its prompt was read as well.
        cold: How many requests found no room, but a container that was starting.
        prompt_tokens: All that were sent.
        computed_tokens: Those of them that had to be computed, because another container had read the rest.
        answer_tokens: All that were generated.
        container_seconds: All that are paid: starting, busy and idle.
        most_containers: Side by side.
        seconds: The length of the run.
    """

    waits: list[float] = field(default_factory=list)
    first_tokens: list[float] = field(default_factory=list)
    cold: int = 0
    prompt_tokens: int = 0
    computed_tokens: int = 0
    answer_tokens: int = 0
    container_seconds: float = 0.0
    most_containers: int = 0
    seconds: float = 0.0


@dataclass(slots=True, eq=False)
class _Session:
    chance: random.Random
    """Its own, so that the same conversations come whatever the settings are."""
    turns_left: int
    prompt: int
    container: _Container | None = None
    """The one that has its prompt in the cache."""


@dataclass(slots=True)
class _Request:
    session: _Session
    arrived: float
    waited_for_start: bool = False


@dataclass(slots=True, eq=False)
class _Container:
    started: float
    ready: bool = False
    gone: bool = False
    busy: int = 0
    waiting: deque[_Request] = field(default_factory=deque)
    idle_since: float = 0.0

    @property
    def inputs(self) -> int:
        return self.busy + len(self.waiting)


def simulate(service: Service, traffic: Traffic, policy: Policy, *, hours: float, seed: int) -> Outcome:
    """Run the model: sessions begin for so many hours, and all that have begun end."""
    return _Run(service, traffic, policy, hours * 3600, seed).outcome()


class _Run:
    """One run: a heap of what happens when."""

    def __init__(self, service: Service, traffic: Traffic, policy: Policy, seconds: float, seed: int) -> None:
        self._service = service
        self._traffic = traffic
        self._policy = policy
        self._seconds = seconds
        self._seed = seed
        self._arrivals = self._source("arrivals")
        self._routing = self._source("routing")
        self._sessions = itertools.count()
        self._now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._containers: list[_Container] = []
        self._queue: deque[_Request] = deque()
        """Modal's own: for these there is no running container with room."""
        self._outcome = Outcome()

    def outcome(self) -> Outcome:
        self._scale()
        self._after(self._interval(), self._begin_session)
        while self._heap:
            self._now, _, happen = heapq.heappop(self._heap)
            happen()
        for container in self._containers:
            self._outcome.container_seconds += self._now - container.started
        self._outcome.seconds = self._now
        return self._outcome

    def _after(self, seconds: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self._now + seconds, next(self._order), happen))

    def _source(self, name: object) -> random.Random:
        return random.Random(f"{self._seed} {name}")

    def _interval(self) -> float:
        return self._arrivals.expovariate(self._traffic.sessions_per_hour / 3600)

    def _begin_session(self) -> None:
        if self._now > self._seconds:
            return
        chance = self._source(next(self._sessions))
        self._arrive(_Session(chance, self._traffic.turns, self._traffic.first_tokens))
        self._after(self._interval(), self._begin_session)

    def _arrive(self, session: _Session) -> None:
        request = _Request(session, self._now)
        if (container := self._container_for(session)) is not None:
            self._give(request, container)
        else:
            self._queue.append(request)
        self._scale()
        request.waited_for_start = request in self._queue and not all(c.ready for c in self._containers)

    def _container_for(self, session: _Session) -> _Container | None:
        last = session.container
        if self._policy.sticky and last is not None and last.ready and last.inputs < self._policy.target_inputs:
            return last
        open_ones = [c for c in self._containers if c.ready and c.inputs < self._policy.max_inputs]
        # of several with equally few it is any, so that affinity is no accident of the order
        return min(open_ones, key=lambda container: (container.inputs, self._routing.random()), default=None)

    def _give(self, request: _Request, container: _Container) -> None:
        if container.busy < self._service.slots:
            self._serve(request, container)
        else:
            container.waiting.append(request)

    def _serve(self, request: _Request, container: _Container) -> None:
        session, outcome = request.session, self._outcome
        computed = self._traffic.turn_tokens if session.container is container else session.prompt
        answer = max(1, round(session.chance.expovariate(1 / self._traffic.answer_tokens)))
        prefill = computed / self._service.prefill
        wait = self._now - request.arrived
        outcome.waits.append(wait)
        outcome.first_tokens.append(wait + prefill)
        outcome.cold += request.waited_for_start
        outcome.prompt_tokens += session.prompt
        outcome.computed_tokens += computed
        outcome.answer_tokens += answer
        session.container = container
        session.prompt += answer + self._traffic.turn_tokens
        session.turns_left -= 1
        container.busy += 1
        self._after(prefill + answer / self._service.decode, functools.partial(self._end, session, container))

    def _end(self, session: _Session, container: _Container) -> None:
        container.busy -= 1
        if container.waiting:
            self._serve(container.waiting.popleft(), container)
        self._take_up(container)
        if session.turns_left:
            self._after(
                session.chance.expovariate(1 / self._traffic.think_seconds), functools.partial(self._arrive, session)
            )

    def _wanted(self) -> int:
        inputs = len(self._queue) + sum(container.inputs for container in self._containers)
        busy = math.ceil(inputs / self._policy.target_inputs)
        spare = self._policy.buffer_containers if inputs else 0
        return min(self._policy.max_containers, max(self._policy.min_containers, busy + spare))

    def _scale(self) -> None:
        for _ in range(self._wanted() - len(self._containers)):
            container = _Container(self._now)
            self._containers.append(container)
            self._outcome.most_containers = max(self._outcome.most_containers, len(self._containers))
            self._after(self._service.cold_seconds, functools.partial(self._ready, container))

    def _ready(self, container: _Container) -> None:
        container.ready = True
        self._take_up(container)

    def _take_up(self, container: _Container) -> None:
        while self._queue and container.inputs < self._policy.max_inputs:
            self._give(self._queue.popleft(), container)
        if not container.inputs:
            self._idle(container)

    def _idle(self, container: _Container) -> None:
        container.idle_since = self._now
        self._after(self._policy.scaledown_window, functools.partial(self._scale_down, container, self._now))

    def _scale_down(self, container: _Container, since: float) -> None:
        if container.gone or container.inputs or container.idle_since != since:
            return
        if len(self._containers) <= self._wanted():
            if self._now < self._seconds:  # else it only keeps the run going
                self._idle(container)
            return
        container.gone = True
        container.ready = False
        self._containers.remove(container)
        self._outcome.container_seconds += self._now - container.started
