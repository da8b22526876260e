"""One answer, put together from as many attempts as it takes.

An attempt that llama-server cannot read to its end is made again while nothing of it has been sent. One that thought
and then said nothing is asked for its answer, without thinking: that adds to what was sent and contradicts none of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.attempt import Attempt
from gateway.errors import MalformedAnswer, UpstreamDisconnected
from gateway.events import Finish, PromptRead, Usage
from gateway.thinking import OFF

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from gateway.events import Event
    from gateway.request import GenerationRequest
    from gateway.upstream.chat import ChatStream

    Open = Callable[[GenerationRequest], Awaitable[ChatStream]]

MOST_ATTEMPTS = 3
MOST_LOST = 2
"""A request whose answer broke off is sent a second time but not a third: it may be what brings the server down."""

RETRY_TEMPERATURE = 0.7
"""At least so much chance has a second attempt: without any it would be the first one again."""


class Restarted:
    """Instead of a batch: what came before is void, and the answer begins anew."""


RESTARTED = Restarted()


class Answer:
    """The events of one answer. Always `close` it: that also cancels what is still being generated."""

    def __init__(self, request: GenerationRequest, stream: ChatStream, reopen: Open, *, restartable: bool) -> None:
        """Take over a stream that has begun.

        Args:
            request: What the stream answers.
            stream: The first attempt.
            reopen: Opens another one.
            restartable: Whether nothing is sent until the answer is complete, so that it can begin anew until then.
        """
        self._request = request
        self._stream = stream
        self._reopen = reopen
        self._restartable = restartable
        self._past = Usage(0, 0)  # what earlier attempts took
        self._attempts = 1
        self._began = False

    def close(self) -> None:
        """Free the slot."""
        self._stream.close()

    async def batches(self) -> AsyncIterator[Sequence[Event] | Restarted]:
        """Yield the events as they come.

        Raises:
            GatewayError: The answer broke off, and could not be made again.
        """
        while True:
            attempt = Attempt(self._request)
            sent = False
            try:
                async for upstream in self._stream.batches():
                    if batch := self._pass_on(attempt.feed(upstream)):
                        sent = True
                        yield batch
                    if attempt.finish is not None and attempt.finish.stop is not None:
                        break  # the rest will not be sent, and closing the stream saves generating it
            except (MalformedAnswer, UpstreamDisconnected) as error:
                if (sent and not self._restartable) or not self._may_try_again(error):
                    raise
                if sent:
                    self._began = False
                    yield RESTARTED
                await self._again(attempt, self._with_more_chance())
                continue
            if self._is_thought_only(attempt):
                await self._again(attempt, replace(self._request, thinking=OFF))
                continue
            yield self._ending(attempt)
            return

    def _pass_on(self, batch: list[Event]) -> list[Event]:
        """Drop the second beginning: an answer has one."""
        if self._began:
            return [event for event in batch if not isinstance(event, PromptRead)]
        self._began = bool(batch)
        return batch

    def _may_try_again(self, error: MalformedAnswer | UpstreamDisconnected) -> bool:
        return self._attempts < (MOST_LOST if isinstance(error, UpstreamDisconnected) else MOST_ATTEMPTS)

    def _is_thought_only(self, attempt: Attempt) -> bool:
        """Return whether the model stopped by itself after a thought, with nothing said."""
        said = attempt.has_text or attempt.has_calls
        stopped = attempt.finish is not None and attempt.finish.reason == "stop"
        return stopped and attempt.has_thought and not said and self._request.thinking != OFF

    def _with_more_chance(self) -> GenerationRequest:
        sampling = dict(self._request.sampling)
        if "seed" in sampling:
            sampling["seed"] = (sampling["seed"] + 1) % 2**32
        if "temperature" in sampling:
            sampling["temperature"] = max(sampling["temperature"], RETRY_TEMPERATURE)
        return replace(self._request, sampling=sampling)

    async def _again(self, attempt: Attempt, request: GenerationRequest) -> None:
        self._stream.close()
        self._past += attempt.usage
        self._attempts += 1
        self._request = request
        self._stream = await self._reopen(request)

    def _ending(self, attempt: Attempt) -> list[Event]:
        finish = attempt.finish or Finish("stop")
        if finish.reason == "tool_calls" and not attempt.has_calls:
            finish = Finish("length")  # its only call was cut off
        return [finish, self._past + attempt.usage]
