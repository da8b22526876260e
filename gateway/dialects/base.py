"""What the routes need of a dialect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.errors import GatewayError
    from gateway.events import Event
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

    def render(self, batch: Sequence[Event]) -> bytes:
        """Write a batch of events."""
        ...

    def end(self) -> bytes:
        """Write what closes a complete answer."""
        ...

    def error(self, error: GatewayError) -> bytes:
        """Write what tells the client that the answer broke off."""
        ...


class BodyRenderer(Protocol):
    """Collects one answer and writes it as a single JSON body."""

    def add(self, batch: Sequence[Event]) -> None:
        """Collect a batch of events."""
        ...

    def body(self) -> bytes:
        """Write the answer."""
        ...


class ParsedRequest(Protocol):
    """A checked request and the way its answer is to be written."""

    generation: GenerationRequest
    stream: bool

    def stream_renderer(self, head: AnswerHead) -> StreamRenderer:
        """Return the writer of a streamed answer."""
        ...

    def body_renderer(self, head: AnswerHead) -> BodyRenderer:
        """Return the writer of an answer in one piece."""
        ...


class Dialect(Protocol):
    """One client API.

    Attributes:
        path: Where it is served.
        route: Its name in metrics.
    """

    path: str
    route: str

    def parse(self, body: bytes) -> ParsedRequest:
        """Check a request body.

        Raises:
            InvalidRequest: It names the field.
        """
        ...

    def error_body(self, error: GatewayError) -> dict[str, Any]:
        """Render an error that is sent instead of an answer."""
        ...
