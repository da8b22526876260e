"""As much of llama-server as the gateway and its supervisor see, a few milliseconds a token, with faults on request.

Faults of a start are flags, see `main`; faults while it serves are signals, see `FAULTS_BY_SIGNAL`. All others, such
as SIGKILL and SIGSTOP, need no help.

One thread does everything, like llama-server's main loop: while it is stopped, or blocked by its own log, no token
comes and nobody is answered; once it runs again, its slots have moved before anyone can ask. It imports little, so
that it starts soon: a run starts it hundreds of times.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import selectors
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN_SECONDS = 0.004
FLOOD_BYTES = 1 << 20  # of each sort
EXIT_CODE_OF_A_FAILED_START = 1

LOADING = b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
LAST_CHUNK = b"0\r\n\r\n"

# as b11549 prints them
NO_SOCKET = "0.00.003.089 E srv         start: couldn't bind HTTP server socket, hostname: {}, port: 9931"
NO_MODEL = "0.00.006.363 E gguf_init_from_file: failed to open GGUF file '{}' ({})"
NO_MEMORY = "0.09.112.204 E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 512 MiB on device 0: out of memory"
LOST_DEVICE = "0.00.214.900 E srv    load_model: the device is gone"


def word(number: int) -> str:
    """Return an answer's piece of this number, counted from 0: it can be seen when one is missing."""
    return f"word{number} "


def write_all(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def say(text: str) -> None:
    write_all(f"{text}\n".encode())


# --- the wire format ----------------------------------------------------------------------------------------------


def whole(status: int, body: bytes) -> bytes:
    head = b"HTTP/1.1 %d Whatever\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return head % (status, len(body)) + body


def event(payload: bytes) -> bytes:
    """Return an event of a stream, in an HTTP chunk of its own."""
    line = b"data: " + payload + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(line), line)


def usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}


def streamed_answer(tokens: int) -> Iterator[bytes]:
    """Yield what is sent at each token, in a stream."""

    def chunk(choices: list[Any], **extra: Any) -> bytes:
        shared = {"id": "chatcmpl-1", "created": 1, "model": "faulty", "object": "chat.completion.chunk"}
        return event(json.dumps({**shared, "choices": choices, **extra}).encode())

    def delta(finish_reason: str | None = None, **content: Any) -> bytes:
        return chunk([{"index": 0, "delta": content, "finish_reason": finish_reason}])

    yield STREAM_HEAD + delta(role="assistant", content=None) + delta(content=word(0))
    for number in range(1, tokens):
        yield delta(content=word(number))
    yield delta("length") + chunk([], usage=usage(tokens)) + event(b"[DONE]") + LAST_CHUNK


def whole_answer(tokens: int) -> Iterator[bytes]:
    """Yield what is sent at each token, in one piece: nothing, until the last."""
    yield from itertools.repeat(b"", tokens)
    content = "".join(word(number) for number in range(tokens))
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "length"}
    yield whole(200, json.dumps({"id": "chatcmpl-1", "choices": [choice], "usage": usage(tokens)}).encode())


# --- the server -----------------------------------------------------------------------------------------------------


class Generation:
    """A slot that is busy."""

    def __init__(self, pieces: Iterator[bytes], task: int) -> None:
        self.pieces = pieces
        self.task = task
        self.decoded = 0

    def position(self) -> dict[str, Any]:
        return {"is_processing": True, "id_task": self.task, "next_token": [{"n_decoded": self.decoded}]}


class Server:
    """One socket, and everything that is connected to it."""

    def __init__(self, flags: argparse.Namespace) -> None:
        self.flags = flags
        self.selector = selectors.DefaultSelector()
        self.received: dict[socket.socket, bytes] = {}
        self.running: dict[socket.socket, Generation] = {}
        self.tasks = itertools.count()

    @property
    def loading(self) -> bool:
        """Whether the model is still being read."""
        until = self.flags.load_until
        return self.flags.exit_in_load or (until is not None and not os.access(until, os.F_OK))

    def serve(self) -> None:
        """Answer until a signal ends it."""
        with listen(self.flags.host) as listener:
            self.selector.register(listener, selectors.EVENT_READ)
            next_token = time.monotonic()
            while True:
                for key, _ in self.selector.select(max(0.0, next_token - time.monotonic()) if self.running else None):
                    if key.fileobj is listener:
                        self.accept(listener)
                    else:
                        self.receive(key.fileobj)  # type: ignore[arg-type]  # nothing else is registered
                if time.monotonic() >= next_token:
                    next_token = time.monotonic() + TOKEN_SECONDS
                    self.decode()

    def accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        self.received[connection] = b""
        self.selector.register(connection, selectors.EVENT_READ)

    def receive(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(1 << 16)
        except OSError:
            data = b""
        if not data or connection in self.running:  # the other side has left
            self.close(connection)
            return
        self.received[connection] += data
        head, _, body = self.received[connection].partition(b"\r\n\r\n")
        if b"\r\n\r\n" not in self.received[connection] or len(body) < content_length(head):
            return
        self.answer(connection, head.split(b" ", 2)[1].decode(), body)

    def answer(self, connection: socket.socket, path: str, body: bytes) -> None:
        if path == "/v1/chat/completions" and not self.loading:
            request = json.loads(body)
            pieces = (streamed_answer if request.get("stream") else whole_answer)(request["max_tokens"])
            self.running[connection] = Generation(pieces, next(self.tasks))
            return
        self.send(connection, whole(503, LOADING) if self.loading else whole(200, self.tell(path)))
        self.close(connection)
        if self.flags.exit_in_load and self.loading:
            say(LOST_DEVICE)
            sys.exit(EXIT_CODE_OF_A_FAILED_START)

    def tell(self, path: str) -> bytes:
        """Return the answer to a small question."""
        if path == "/metrics":
            return b"# TYPE llamacpp:prompt_tokens_total counter\nllamacpp:prompt_tokens_total 75\n"
        busy = [generation.position() for generation in self.running.values()]
        idle = [{"is_processing": False}] * (self.flags.parallel - len(busy))
        answers = {
            "/health": {"status": "ok"},
            "/slots": [{"id": number, **slot} for number, slot in enumerate(busy + idle)],
            "/v1/models": {"object": "list", "data": [{"id": self.flags.alias, "created": 1, "object": "model"}]},
            "/props": {
                "model_path": self.flags.model,
                "model_alias": self.flags.alias,
                "total_slots": self.flags.parallel,
                "default_generation_settings": {"n_ctx": self.flags.ctx_size // self.flags.parallel},
                "build_info": "b11549-faulty",
            },
        }
        return json.dumps(answers[path]).encode()

    def decode(self) -> None:
        """Give each slot its next token."""
        for connection, generation in list(self.running.items()):
            generation.decoded += 1
            piece = next(generation.pieces, None)
            if piece is None or not self.send(connection, piece):
                self.close(connection)

    def send(self, connection: socket.socket, data: bytes) -> bool:
        """Send it, and say whether somebody is there to take it."""
        try:
            connection.sendall(data)
        except OSError:
            return False
        return True

    def close(self, connection: socket.socket) -> None:
        self.selector.unregister(connection)
        self.received.pop(connection)
        self.running.pop(connection, None)
        connection.close()


def content_length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next((int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")), 0)


def listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(path)
    except OSError:
        say(NO_SOCKET.format(path))
        sys.exit(EXIT_CODE_OF_A_FAILED_START)
    listener.listen(128)
    return listener


# --- faults ---------------------------------------------------------------------------------------------------------


def flood_the_log(journal: str) -> None:
    """Print megabytes of lines, then megabytes without one line's end, faster than anyone reads."""
    line = b"0.08.000.000 W srv  update_slots: " + b"x" * 65 + b"\n"
    write_all(line * (FLOOD_BYTES // len(line)))
    write_all(b"x" * FLOOD_BYTES)
    write_all(b"\n")
    note(journal, "flooded")


def run_out_of_memory(_: str) -> None:
    """Say so and end, as ggml does in the middle of a batch."""
    say(NO_MEMORY)
    os._exit(1)


FAULTS_BY_SIGNAL: dict[signal.Signals, Callable[[str], None]] = {
    signal.SIGUSR1: flood_the_log,
    signal.SIGUSR2: run_out_of_memory,
}


def note(journal: str, what: str) -> None:
    """Add a line to the test's journal."""
    file = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(file, f"{what} {os.getpid()}\n".encode())
    os.close(file)


def read_model(path: str) -> None:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        say(NO_MODEL.format(path, error.strerror))
        sys.exit(EXIT_CODE_OF_A_FAILED_START)


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    # llama-server's own; those that make no difference here are taken and ignored
    parser.add_argument("--model")
    parser.add_argument("--alias")
    parser.add_argument("--parallel", type=int)
    parser.add_argument("--ctx-size", type=int)
    parser.add_argument("--host", help="the Unix socket to listen on")
    # the test's
    parser.add_argument("--journal", help="a file that gets a line for each start and each flood")
    parser.add_argument("--load-until", metavar="FILE", help="be loading for as long as it is missing")
    parser.add_argument("--exit-in-load", action="store_true", help="end once somebody has been told that it loads")
    parser.add_argument("--lose-bind-race", action="store_true", help="let somebody else bind the socket first")
    parser.add_argument("--lose-model", action="store_true", help="remove the model file before it is read")
    flags, _ = parser.parse_known_args()
    for number, fault in FAULTS_BY_SIGNAL.items():
        signal.signal(number, lambda *_, fault=fault: fault(flags.journal))
    note(flags.journal, "started")
    if flags.lose_bind_race:
        # This other server ends with us, but the file of its socket stays: the next one to start will find it.
        listen(flags.host).listen()
    if flags.lose_model:
        os.unlink(flags.model)  # noqa: PTH108 -- pathlib would make every start slower
    read_model(flags.model)
    Server(flags).serve()


if __name__ == "__main__":
    main()
