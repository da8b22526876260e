"""One answer, put together from as many attempts as it takes.

An attempt that llama-server cannot read to its end, or that lost a part of its text, is made again while no text or
call of it has been sent: a thought may have been, and the next attempt then thinks on. One that thought and then said
nothing is asked for its answer, without thinking. One whose thought llama-server does not bound is left where it has
spent its budget, and the next attempt goes on from there. Nothing that was sent is ever contradicted.

Where a call is required, an answer that cannot be read even then is one without a call: the call is asked for.

All attempts share one budget of thought and, of what is sent, one `max_tokens`.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.answers.attempt import Attempt
from gateway.answers.repair import Repairer, ThinksInstead
from gateway.errors import GatewayError, MalformedAnswer, UpstreamFailed, UpstreamSilent, UpstreamUnreachable
from gateway.events import Finish, PromptRead, ReasoningDelta, TextDelta, ToolCall, Usage
from gateway.observation.record import AttemptRecord, RequestRecord
from gateway.thinking import OFF
from gateway.toolcalls.guard import CallGuard, CallReport
from gateway.toolcalls.policy import Mode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from gateway.events import Event
    from gateway.observation.record import AttemptKind
    from gateway.request import GenerationRequest
    from gateway.thinking import Thinking
    from gateway.toolcalls.normalise import Normalised
    from gateway.toolcalls.toolbox import Toolbox
    from gateway.upstream.chat import ChatStream

    Open = Callable[[GenerationRequest], Awaitable[ChatStream]]
    Remember = Callable[[str, str], None]

MOST_ATTEMPTS: Final = 3
MOST_LOST: Final = 2
"""A request whose answer broke off is sent a second time but not a third: it may be what brings the server down."""

RETRY_TEMPERATURE: Final = 0.7
"""At least so much chance has a second attempt: without any it would be the first one again."""

LEAVING_SECONDS: Final = 0.1
"""llama-server sees only in its next step that it has been left. Asked for more before that, it takes another slot,
and reads the whole prompt again (b11434, 12 streams on an H200: 3 times out of 5, and none with this pause)."""

THOUGHT_BREAK: Final = ReasoningDelta("\n\n")
"""Between a thought that was sent and broke off, and the next."""

LOST_TEXT: Final = "llama-server dropped a part of the model's answer: it holds a mark that does not belong there."


class Restarted:
    """Instead of a batch: what came before is void, and the answer begins anew."""


RESTARTED: Final = Restarted()


class Answer:
    """The events of one answer. Always `close` it: that also cancels what is still being generated.

    Attributes:
        report: What became of its calls.
    """

    def __init__(
        self,
        request: GenerationRequest,
        open_stream: Open,
        *,
        restartable: bool,
        remember: Remember | None = None,
        record: RequestRecord | None = None,
    ) -> None:
        """Prepare; `begin` opens the first attempt.

        Args:
            request: What to answer.
            open_stream: Opens an attempt.
            restartable: Whether nothing is sent until the answer is complete, so that it can begin anew until then.
            remember: Told of each tool call's id and of the thought that led to it.
            record: Told of each time that the model is asked.
        """
        self._request = request
        self._planned = request  # what the present attempt was asked
        self._open_stream = open_stream
        self._restartable = restartable
        self._remember = remember
        self.report = CallReport()
        self._record = record or RequestRecord()
        self._step = AttemptRecord()  # of the present stream
        self._stream: ChatStream | None = None  # None for an answer that stays unreadable
        self._attempt: Attempt | None = None  # what is being read
        self._attempts = 0
        self._past = Usage(0, 0)  # what earlier attempts took
        self._asked = Usage(0, 0)  # what it took to ask for calls again
        self._kept = 0  # those tokens of earlier attempts that were sent and stand
        self._has_begun = False
        self._beginning: list[Event] = []  # waits for the first piece: until then a failure has a status of its own
        self._has_said = False  # whether text or calls were passed on
        self._thought: list[str] = []  # what was passed on of it
        self._text: list[str] = []
        self._breaks_thought = False  # whether the next piece of thought begins another one

    async def begin(self) -> None:
        """Open the first attempt.

        Raises:
            GatewayError: No server, or it refused the request.
        """
        await self._open(self._request)

    @property
    def usage(self) -> Usage:
        """Return the tokens that it has taken up to here."""
        present = self._attempt.usage if self._attempt is not None else Usage(0, 0)
        return self._past + present + self._asked

    def close(self) -> None:
        """Free the slot."""
        if self._stream is not None:
            self._stream.close()
        self._step.end()

    async def batches(self) -> AsyncIterator[Sequence[Event] | Restarted]:
        """Yield the events as they come.

        Raises:
            GatewayError: The answer broke off, and could not be made again.
        """
        while True:
            guard = self._guard()
            self._attempt = attempt = Attempt(self._planned, guard)
            try:
                async for batch in self._read(attempt):
                    yield batch
                self._record.budget_hit |= attempt.spent_budget
                if attempt.lost_text:
                    raise MalformedAnswer(LOST_TEXT)
            except UpstreamFailed as error:
                self._note_failure(error)
                if not self._may_try_again(error):
                    raise
                if self._restartable and self._has_begun:
                    self._forget()
                    yield RESTARTED
                await self._again(attempt, thinking=None)
                continue
            if await self._opened_more(attempt, guard):
                continue
            if guard is not None and self._request.toolbox is not None:
                async for call in self._settle(guard, self._request.toolbox):
                    yield self._pass_on([call])
            yield self._begun(self._ending(attempt, guard))
            return

    async def _read(self, attempt: Attempt) -> AsyncIterator[Sequence[Event]]:
        if self._stream is None:
            return
        async for upstream in self._stream.batches():
            if self._step.first_piece is None:
                self._step.first_piece = time.perf_counter()
            if batch := self._pass_on(attempt.feed(upstream)):
                yield batch
            if attempt.overthinks and self._planned.thinking.enabled:
                self._record.budget_hit = True
                if self._outgrows(attempt):
                    return
                await self._stream.end_thought()  # what comes of it until then is not passed on
            if attempt.strays or (attempt.finish is not None and attempt.finish.stop is not None):
                return  # the rest will not be sent, and closing the stream saves generating it

    def _pass_on(self, batch: list[Event]) -> list[Event]:
        """Note what is sent. A second beginning is dropped: an answer has one."""
        passed: list[Event] = []
        for event in batch:
            match event:
                case TextDelta(text):
                    self._has_said = True
                    self._text.append(text)
                case PromptRead() if self._has_begun:
                    continue
                case ReasoningDelta(text):
                    if self._breaks_thought:
                        self._breaks_thought = False
                        passed.append(THOUGHT_BREAK)
                    self._thought.append(text)
                case ToolCall(call_id):
                    self._has_said = True
                    if self._remember is not None and self._thought:
                        self._remember(call_id, "".join(self._thought))
            passed.append(event)
            self._has_begun = True
        if not (self._has_said or self._thought):
            self._beginning += passed
            return []
        return self._begun(passed)

    def _begun(self, batch: list[Event]) -> list[Event]:
        beginning, self._beginning = self._beginning, []
        return beginning + batch

    def _forget(self) -> None:
        """Begin anew: nothing that came before was sent."""
        self._has_begun = self._has_said = False
        self._beginning = []
        self._thought = []
        self._text = []
        self._kept = 0

    def _may_try_again(self, error: UpstreamFailed) -> bool:
        """Return whether there is another attempt, or another way to the call that was required."""
        more = self._attempts < _most_attempts(error) or (isinstance(error, MalformedAnswer) and self._must_call)
        return more and (self._restartable or not self._has_said)

    @property
    def _must_call(self) -> bool:
        toolbox, mode = self._request.toolbox, self._request.call_handling.mode
        return toolbox is not None and toolbox.must_call and mode is Mode.REPAIR

    def _is_thought_only(self, attempt: Attempt, guard: CallGuard | None) -> bool:
        """Return whether the model stopped by itself after a thought, with nothing said, and is to say something."""
        if guard is not None and guard.must_call:
            return False  # the call is asked for
        said = attempt.has_text or attempt.has_calls
        stopped = attempt.finish is not None and attempt.finish.reason == "stop"
        thought = attempt.has_thought or self._planned.continue_final_message
        return stopped and thought and not said and self._planned.thinking.enabled

    def _outgrows(self, attempt: Attempt) -> bool:
        """Return whether a thought is under way that is beyond its budget, and that llama-server would not end."""
        return attempt.is_cut and self._stream is not None and not self._stream.bounds_thought

    async def _opened_more(self, attempt: Attempt, guard: CallGuard | None) -> bool:
        """Open the next attempt where the answer still has to come, and return whether that was so."""
        if self._outgrows(attempt):
            await self._go_on(attempt)
        elif self._is_thought_only(attempt, guard):
            await self._again(attempt, thinking=OFF)
        else:
            return False
        return True

    def _leave(self, attempt: Attempt) -> None:
        """Free the slot, and count what the attempt took."""
        self.close()
        self._past += attempt.usage
        self._attempt = None

    async def _go_on(self, attempt: Attempt) -> None:
        """Open the next attempt after what has been sent: there the thought is over, and no other is allowed."""
        self._leave(attempt)
        self._kept += attempt.usage.completion_tokens
        thought = "".join(self._thought) or "\n"  # without any, the template would not close it
        sent = {"role": "assistant", "reasoning_content": thought, "content": "".join(self._text)}
        self._planned = replace(
            self._planned,
            messages=[*self._planned.messages, sent],
            continue_final_message=True,
            thinking=replace(self._planned.thinking, budget=0),
            max_tokens=self._tokens_left(),
        )
        await asyncio.sleep(LEAVING_SECONDS)
        await self._open_step("answer", self._planned)

    async def _again(self, attempt: Attempt, *, thinking: Thinking | None) -> None:
        """Open the next attempt: with `thinking`, or the same again with more chance."""
        self._leave(attempt)
        if self._thought:
            self._kept += attempt.thought_tokens
        self._breaks_thought = bool(self._thought)
        left = self._request.thinking.after(self._past.reasoning_tokens)
        request = replace(
            self._planned,
            messages=self._request.messages,
            continue_final_message=False,
            thinking=thinking or left,
            max_tokens=self._tokens_left(),
        )
        await self._open(request if thinking else _with_more_chance(request))

    def _tokens_left(self) -> int | None:
        most = self._request.max_tokens
        return None if most is None else max(1, most - self._kept)

    async def _open(self, request: GenerationRequest) -> None:
        """Open an attempt. One that llama-server cannot read may fail at once, instead of in its stream."""
        while True:
            self._planned = request
            if self._attempts == MOST_ATTEMPTS and self._must_call:
                self._stream = None
                return
            self._attempts += 1
            try:
                await self._open_step("answer", request)
            except MalformedAnswer as error:
                if not self._may_try_again(error):
                    raise
                request = _with_more_chance(request)
            else:
                return

    async def _open_step(self, kind: AttemptKind, request: GenerationRequest) -> ChatStream:
        """Ask the model, and note that it was asked."""
        self._step = AttemptRecord(kind)
        self._record.attempts.append(self._step)
        try:
            self._stream = await self._open_stream(request)
        except GatewayError as error:
            self._step.end(error)
            raise
        return self._stream

    def _note_failure(self, error: GatewayError) -> None:
        """Note that the present stream broke off."""
        self._record.note_failure(error)
        self._step.end(error)

    def _guard(self) -> CallGuard | None:
        """Return who watches over the next attempt's calls, where they are looked at."""
        toolbox, mode = self._request.toolbox, self._request.call_handling.mode
        if toolbox is None or not toolbox.tools or mode is Mode.OFF:
            return None
        self.report.forget()
        reads_text = self._request.response_format is None
        return CallGuard(toolbox, mode, self.report, _new_id, reads_text=reads_text)

    async def _settle(self, guard: CallGuard, toolbox: Toolbox) -> AsyncIterator[ToolCall]:
        """Yield the calls that had to wait, broken ones asked for again, and one that was required and did not come."""
        repairer = Repairer(self._request, toolbox, self._ask, self.report)
        for waiting in guard.waiting:
            yield await self._mended(repairer, waiting)
        if guard.must_call and not guard.has_passed and not guard.waiting:
            yield await repairer.make(_new_id())

    async def _mended(self, repairer: Repairer, waiting: Normalised) -> ToolCall:
        if not waiting.is_valid:
            return await repairer.mend(waiting)
        self.report.note(waiting)
        return waiting.call

    async def _ask(self, request: GenerationRequest, kind: AttemptKind) -> str:
        """Ask the model something for the answer's sake, and return its text."""
        self.close()
        self.report.asked_again += 1
        stream = await self._open_step(kind, request)
        attempt = Attempt(request)
        said: list[str] = []
        try:
            async for upstream in stream.batches():
                self._step.first_piece = self._step.first_piece or time.perf_counter()
                said += [event.text for event in attempt.feed(upstream) if isinstance(event, TextDelta)]
                if attempt.overthinks and request.thinking.enabled:
                    raise ThinksInstead
        except GatewayError as error:
            self._note_failure(error)
            raise
        finally:
            self._asked += attempt.usage
            self.report.tokens += attempt.usage.completion_tokens
        return "".join(said)

    def _ending(self, attempt: Attempt, guard: CallGuard | None) -> list[Event]:
        finish = attempt.finish or Finish("stop")
        made = guard is not None and guard.must_call and not attempt.has_calls
        if finish.reason == "tool_calls" and not attempt.has_calls:
            finish = Finish("length")  # its only call was cut off
        if made or (attempt.has_calls and finish == Finish("stop")):
            finish = Finish("tool_calls")
        return [finish, self.usage]


def _new_id() -> str:
    return secrets.token_hex(12)


def _most_attempts(error: UpstreamFailed) -> int:
    match error:
        case MalformedAnswer():
            return MOST_ATTEMPTS
        case UpstreamSilent() | UpstreamUnreachable():  # it has been waited for long enough, or sent again already
            return 1
    return MOST_LOST


def _with_more_chance(request: GenerationRequest) -> GenerationRequest:
    sampling = dict(request.sampling)
    if "seed" in sampling:
        sampling["seed"] = (sampling["seed"] + 1) % 2**32
    if "temperature" in sampling:
        sampling["temperature"] = max(sampling["temperature"], RETRY_TEMPERATURE)
    return replace(request, sampling=sampling)
