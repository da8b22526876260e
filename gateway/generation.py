"""One request's way: a slot, a server that is ready, an answer that has begun; again, while nothing of it has come."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from gateway.activity import Activity
from gateway.admission import RETRY_AFTER_SECONDS
from gateway.answers.answer import Answer
from gateway.backend_sampling import BackendSampling, SamplingChoice
from gateway.barring import bar_calls
from gateway.errors import NotReady, Overloaded, ShuttingDown, UpstreamFailed, UpstreamUnreachable
from gateway.images.resolving import check_vision
from gateway.prompt_size import PromptCheck
from gateway.thoughts.memory import ThoughtMemory
from gateway.toolcalls.loops import bound_identical_calls
from gateway.upstream.chat import ChatStream, open_chat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from gateway.admission import Admission
    from gateway.observation.record import RequestRecord
    from gateway.readiness import Readiness
    from gateway.request import GenerationRequest
    from gateway.upstream.catalog import Catalog, ModelInfo
    from gateway.upstream.target import Target

T = TypeVar("T")

RETRY_DELAY_SECONDS = 0.1
NOTICE_SECONDS = 0.25
"""llama-server notices that a client has left when it writes the next token. A SIGTERM before that makes it wait for
its next keep-alive comment instead, 10 s or more (b11549)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a request may wait, in seconds.

    Attributes:
        ready_seconds: For a server that is starting or restarting.
        silence_seconds: For the next byte of an answer; llama-server sends a comment every 10 s while it computes.
    """

    ready_seconds: float
    silence_seconds: float


class Generator:
    """Opens answers, and ends those under way when the gateway is being stopped.

    Attributes:
        activity: What is under way, for a watchdog.
    """

    def __init__(
        self,
        target: Target,
        readiness: Readiness,
        catalog: Catalog,
        admission: Admission,
        limits: Limits,
        *,
        most_identical_calls: int = 0,
        sampling: SamplingChoice | None = None,
    ) -> None:
        self._most_identical_calls = most_identical_calls
        self._sampling = sampling or SamplingChoice(BackendSampling.OFF)
        self._target = target
        self._readiness = readiness
        self._catalog = catalog
        self._admission = admission
        self._limits = limits
        self._prompt_check = PromptCheck(target, readiness, catalog)
        self._thoughts = ThoughtMemory()
        self.activity = Activity()
        self._running: set[asyncio.Timeout] = set()  # without a limit, until a shutdown sets one

    def check(self, request: GenerationRequest) -> None:
        """Refuse at once what waiting would not help, before anything is done for it.

        Raises:
            GatewayError: The queue is full, the gateway is being stopped, or a call is required that has been made too
                often.
        """
        bound_identical_calls(request, self._most_identical_calls)
        try:
            self._admission.check()
        except Overloaded as error:
            raise self._explained(error) from None

    async def check_prompt(self, request: GenerationRequest) -> None:
        """Refuse a prompt that is too long, once its images are there.

        Raises:
            GatewayError: It is.
        """
        with self.activity.request():
            await self._prompt_check.check(request)

    @contextlib.asynccontextmanager
    async def answer(
        self, request: GenerationRequest, record: RequestRecord, *, restartable: bool, again: bool = False
    ) -> AsyncIterator[tuple[ModelInfo, Answer]]:
        """Hold a slot and the answer to `request`, which has begun but of which nothing has been read.

        Leaving the context frees the slot, and cancels what is still being generated.

        Args:
            request: What to answer.
            record: Of the client's request; waiting is fair between keys.
            restartable: Whether nothing is sent to the client until the answer is complete.
            again: Whether it is one more answer of a request that has been let in.

        Raises:
            GatewayError: No slot, no server, or it refused the request.
        """
        async with self._turn(record, again=again):
            model: ModelInfo | None = None

            async def open_stream(planned: GenerationRequest) -> ChatStream:
                nonlocal model
                model, stream = await self._begin(self._opening(planned, record), record)
                return stream

            remember = functools.partial(self._thoughts.remember, record.key)
            request = bound_identical_calls(request, self._most_identical_calls)
            if (messages := self._thoughts.recall(record.key, request.messages)) != request.messages:
                request = replace(request, messages=messages)
            answer = Answer(request, open_stream, restartable=restartable, remember=remember, record=record)
            with contextlib.closing(answer):
                await answer.begin()
                record.begun = record.begun or time.perf_counter()
                yield model or await self._catalog.current(), answer

    async def ask(
        self, question: Callable[[Target, float], Awaitable[T]], record: RequestRecord
    ) -> tuple[ModelInfo, T]:
        """Hold a slot, and ask the server something else than for an answer of the model's.

        Args:
            question: Takes where to ask, and for how many seconds nothing may come.
            record: Of the client's request.

        Raises:
            GatewayError: No slot, no server, or it refused the question.
        """
        async with self._turn(record, again=False):
            return await self._begin(lambda _: question(self._target, self._limits.silence_seconds), record)

    @property
    def slots(self) -> int:
        """How many answers are generated side by side."""
        return self._admission.slots

    async def drain(self, seconds: float) -> None:
        """Let nobody in, give running answers `seconds` to end, then end them with an error."""
        self._admission.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._admission.wait_idle()
        for running in self._running:
            if not running.expired():
                running.reschedule(0)
        if self._running:
            await self._admission.wait_idle()
            await asyncio.sleep(NOTICE_SECONDS)

    @contextlib.asynccontextmanager
    async def _turn(self, record: RequestRecord, *, again: bool) -> AsyncIterator[None]:
        """Hold a slot, and let `drain` end what is done inside the context, whatever it waits for: server or client.

        Raises:
            Overloaded: There is no slot.
            NotReady: There is none, because those who hold them wait for the server.
            ShuttingDown: The gateway is being stopped.
        """
        record.queued = record.queued or time.perf_counter()
        running = asyncio.timeout(None)
        try:
            async with self._admission.slot(record.key, again=again), running:
                record.admitted = record.admitted or time.perf_counter()
                self._running.add(running)
                try:
                    with self.activity.request():
                        yield
                finally:
                    self._running.discard(running)
        except Overloaded as error:
            raise self._explained(error) from None
        except TimeoutError:
            if not running.expired():
                raise
            raise ShuttingDown(
                "This server is being stopped; there is no complete answer.", retry_after=RETRY_AFTER_SECONDS
            ) from None

    def _explained(self, error: Overloaded) -> Overloaded | NotReady:
        """Say why there is no slot, where it is because those who hold them wait for the server."""
        return error if self._readiness.report().ready else self._not_ready(error.message)

    def _not_ready(self, why: str = "") -> NotReady:
        report = self._readiness.report()
        words = f"The model is not ready ({report.state}). {why}".rstrip()
        return NotReady(words, retry_after=report.retry_after)

    def _opening(
        self, request: GenerationRequest, record: RequestRecord
    ) -> Callable[[ModelInfo], Awaitable[ChatStream]]:
        async def open_stream(model: ModelInfo) -> ChatStream:
            check_vision(model, request.images)
            sent = bar_calls(request) if model.marks_calls else request
            sent = self._sampling.choose(sent, model, self._admission.in_flight)
            record.backend_sampling |= "backend_sampling" in sent.sampling
            return await open_chat(
                self._target,
                sent,
                silence_seconds=self._limits.silence_seconds,
                on_progress=self.activity.progress,
                traceparent=record.passed_on,
            )

        return open_stream

    async def _begin(self, ask: Callable[[ModelInfo], Awaitable[T]], record: RequestRecord) -> tuple[ModelInfo, T]:
        """Send what is to be asked, waiting out restarts.

        A request whose answer broke off before its first byte is sent a second time, but not a third: it may be
        what brought the server down.
        """
        lost = 0
        until = time.monotonic() + self._limits.ready_seconds
        while True:
            try:
                return await self._try(ask, until, record)
            except NotReady:
                if self._readiness.report().final:
                    raise
            except UpstreamFailed as error:
                record.note_failure(error)
                if not isinstance(error, UpstreamUnreachable):
                    raise
                lost += error.was_sent
                if lost > 1:
                    raise
            if time.monotonic() > until:
                raise self._not_ready()
            await asyncio.sleep(RETRY_DELAY_SECONDS)

    async def _try(
        self, ask: Callable[[ModelInfo], Awaitable[T]], until: float, record: RequestRecord
    ) -> tuple[ModelInfo, T]:
        await self._wait_ready(until)
        model = await self._catalog.current()
        record.model = model.id
        record.found = record.found or time.perf_counter()
        if model.slots != self._admission.slots:
            self._admission.resize(model.slots)
        return model, await ask(model)

    async def _wait_ready(self, until: float) -> None:
        """Wait for a server that is ready, until then by `time.monotonic`; once it is, no time is too long.

        Raises:
            NotReady: It did not become so in time, or it never will.
        """
        report = self._readiness.report()
        if not report.ready:
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    report = await self._readiness.wait_ready()
            except TimeoutError:
                raise self._not_ready() from None
        if report.final:
            raise NotReady(f"The model server is not running ({report.state}).", retry_after=report.retry_after)
