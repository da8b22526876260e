"""What is known of one request: written down along its way, read when it has ended.

The data path only sets attributes here, so that it costs next to nothing; what is made of them (series, a line of the
log, spans, a page) is the observers' business.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from gateway.errors import UpstreamFailed
from gateway.events import Usage
from gateway.toolcalls.guard import CallReport

if TYPE_CHECKING:
    from gateway.errors import GatewayError
    from gateway.observation.content import Content
    from gateway.thinking import Thinking

NO_TOKENS = Usage(0, 0)
CANCELLED = "cancelled"
CLIENT_CLOSED_REQUEST = 499
"""nginx's word for a client that left before it was answered."""

AttemptKind = Literal["answer", "choice", "repair"]


@dataclass(slots=True, eq=False)
class AttemptRecord:
    """One time that the model was asked. Moments are `time.perf_counter`'s, in seconds.

    Attributes:
        kind: For the answer; for a choice among the tools; or for a call that its schema rejects, again.
        sent: When it was asked.
        first_piece: When the first piece of what it wrote came.
        ended: When nothing more was to come of it.
        error: Why it broke off, in one word; None if it did not.
    """

    kind: AttemptKind = "answer"
    sent: float = field(default_factory=time.perf_counter)
    first_piece: float | None = None
    ended: float | None = None
    error: str | None = None

    def end(self, error: GatewayError | None = None) -> None:
        """Note that it has ended, and why; the first end counts."""
        if self.ended is None:
            self.ended = time.perf_counter()
            self.error = error.kind if error is not None else None


@dataclass(slots=True, eq=False, kw_only=True)
class RequestRecord:
    """One request. Moments are `time.perf_counter`'s, in seconds, and None for what has not come.

    Attributes:
        id: The client's own, if it sent a sane one.
        dialect: Whose API it came by: `openai` or `anthropic`.
        route: The dialect's route, such as `chat_completions`.
        key: The name of the client's key.
        traceparent: The trace that the client has it take part in, as it came.
        passed_on: The trace that llama-server is told of.
        stream: Whether the answer was wanted as a stream.
        choices: How many answers were wanted.
        images: How many images it held.
        tools: Whether it brought tools.
        thinking: Whether it was to think, and how much; None where nothing was to be generated.
        model: The served model's name, once a server has been found; never what the client called it.
        started_ns: When the request arrived, in nanoseconds of Unix time.
        started: The same moment.
        queued: When it asked for a slot.
        admitted: When it got one.
        found: When there was a server that was ready for it.
        begun: When the first attempt's answer had begun.
        first_piece: When the first piece of thought, text or call was passed on.
        last_piece: And the last one.
        ended: When it was answered, or given up.
        pieces: How many pieces were passed on.
        attempts: The times that the model was asked.
        failures: What went wrong upstream, in one word each; also what did no harm because it was tried again.
        usage: The tokens that it took, all attempts together.
        calls: What became of its tool calls; the tokens there are those of repairs, and part of `usage`.
        budget_hit: Whether a thought was ended by its budget.
        backend_sampling: Whether llama-server was asked to sample on the GPU.
        outcome: How it ended: `ok`, `cancelled` (the client left), or an error's.
        status: The answer's HTTP status. A stream has begun with 200, whatever its error says here.
        error: What the client was told instead of a complete answer.
        content: What was said; kept only where it may be logged.
    """

    id: str = ""
    dialect: str = ""
    route: str = ""
    key: str = ""
    traceparent: str | None = None
    passed_on: str | None = None
    stream: bool = False
    choices: int = 1
    images: int = 0
    tools: bool = False
    thinking: Thinking | None = None
    model: str = ""
    started_ns: int = field(default_factory=time.time_ns)
    started: float = field(default_factory=time.perf_counter)
    queued: float | None = None
    admitted: float | None = None
    found: float | None = None
    begun: float | None = None
    first_piece: float | None = None
    last_piece: float | None = None
    ended: float | None = None
    pieces: int = 0
    attempts: list[AttemptRecord] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    usage: Usage = NO_TOKENS
    calls: CallReport = field(default_factory=CallReport)
    budget_hit: bool = False
    backend_sampling: bool = False
    outcome: str = CANCELLED
    status: int = CLIENT_CLOSED_REQUEST
    error: GatewayError | None = None
    content: Content | None = None

    def succeed(self) -> None:
        """Note that the answer is complete."""
        self.outcome, self.status = "ok", 200

    def fail(self, error: GatewayError) -> None:
        """Note what the client is told instead."""
        self.outcome, self.status, self.error = error.outcome, error.status, error

    def note_failure(self, error: GatewayError) -> None:
        """Note what went wrong upstream. What is not upstream's failure is not noted."""
        if isinstance(error, UpstreamFailed):
            self.failures.append(error.kind)

    def unix_ns(self, moment: float) -> int:
        """Return a moment of this request in nanoseconds of Unix time."""
        return self.started_ns + round((moment - self.started) * 1e9)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the response headers that name the request, in Anthropic's spelling too where it is theirs."""
        name = self.id.encode()
        headers = [(b"x-request-id", name)]
        return [*headers, (b"request-id", name)] if self.dialect == "anthropic" else headers


class Observer(Protocol):
    """Is told of each request when it has ended."""

    def finished(self, record: RequestRecord) -> None:
        """Read the record. It does not change any more. To be quick: requests are being answered meanwhile."""
        ...
