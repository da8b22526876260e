"""What the routes need of a dialect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway import events
    from gateway.dialects.complete import CompleteAnswer
    from gateway.errors import GatewayError
    from gateway.request import GenerationRequest


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """What every piece of an answer repeats.

    Attributes:
        id: Unique, without the dialect's prefix.
        created: Unix time.
        model: The served model's name.
        fingerprint: The engine's build.
    """

    id: str
    created: int
    model: str
    fingerprint: str


class StreamRenderer(Protocol):
    """Writes one streamed answer. Each method returns bytes of an event stream."""

    def render(self, batch: Sequence[events.Event], choice: int = 0) -> bytes:
        """Write a batch of events of one choice; those of several come in any order."""
        ...

    def end(self) -> bytes:
        """Write what closes a complete answer."""
        ...

    def error(self, error: GatewayError) -> bytes:
        """Write what tells the client that the answer broke off."""
        ...


class ParsedRequest(Protocol):
    """A checked request and the way its answer is to be written.

    Attributes:
        generation: What is to be generated.
        stream: Whether the answer is wanted as a stream.
        choices: How many answers are wanted; 1 but for OpenAI's `n`.
    """

    generation: GenerationRequest
    stream: bool
    choices: int

    def stream_renderer(self, head: AnswerHead) -> StreamRenderer:
        """Return the writer of a streamed answer."""
        ...

    def body(self, head: AnswerHead, answers: Sequence[CompleteAnswer]) -> bytes:
        """Write the answer in one piece, from as many answers as there are choices."""
        ...


class Dialect(Protocol):
    """One client API.

    Attributes:
        path: Where it is served.
        api: Whose it is: `openai` or `anthropic`.
        route: Its name in metrics.
        keep_alive: What is sent on a stream that would be silent for too long, also before anything else is.
    """

    path: str
    api: str
    route: str
    keep_alive: bytes

    def parse(self, body: bytes) -> ParsedRequest:
        """Check a request body.

        Raises:
            InvalidRequest: It names the field.
        """
        ...

    def error_body(self, error: GatewayError) -> dict[str, Any]:
        """Render an error that is sent instead of an answer."""
        ...

    def stream_error(self, error: GatewayError) -> bytes:
        """Write an error on a stream that has held nothing but keep-alives so far."""
        ...
