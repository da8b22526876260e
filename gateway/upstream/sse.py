"""Server-sent events, as llama-server writes them: `data: PAYLOAD` or `: comment`, each ended by an empty line."""

from __future__ import annotations

from gateway.errors import UpstreamFailed

LONGEST_EVENT = 16 << 20  # bytes


class SSEDecoder:
    """Cuts a byte stream into event payloads, wherever the chunks happen to end."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the payloads of the events that `data` completes; comments are dropped.

        Raises:
            UpstreamFailed: One event is longer than `LONGEST_EVENT`.
        """
        *events, self._rest = (self._rest + data).split(b"\n\n")
        if not events and len(self._rest) > LONGEST_EVENT:
            raise UpstreamFailed("llama-server sent an event without an end.")
        return [event[6:] for event in events if event.startswith(b"data: ")]
