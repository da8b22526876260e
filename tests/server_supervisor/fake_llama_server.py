"""As much of llama-server as its supervisor sees, with faults on request. See `main` for the flags.

It is run by path and imports little, so that it starts in 20 ms. Tests get its command line from `supervising`.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import socket
import sys

LOADING = b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'
HEALTHY = b'{"status":"ok"}'
ANSWER = b'{"choices":[{"message":{"role":"assistant","content":"Hi"}}]}'
SLOTS = b'[{"id":0,"is_processing":true,"id_task":7,"n_prompt_tokens":%d}]'
ASSERTION = 'llama.cpp/common/sampling.cpp:258: GGML_ASSERT(false && "unknown trigger type") failed'


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def write_all(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(path)
    except OSError:
        say(f"0.00.003.089 E srv         start: couldn't bind HTTP server socket, hostname: {path}, port: 9931")
        sys.exit(1)
    listener.listen()
    return listener


def read_request(connection: socket.socket) -> str:
    """Return the request's target."""
    with connection.makefile("rb") as stream:
        target = stream.readline().split()[1].decode()
        length = 0
        while header := stream.readline().strip().lower():
            if header.startswith(b"content-length:"):
                length = int(header.partition(b":")[2])
        stream.read(length)
    return target


def respond(connection: socket.socket, status: int, body: bytes) -> None:
    head = f"HTTP/1.1 {status} Whatever\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)


def serve(flags: argparse.Namespace) -> None:
    """Answer one connection after the other, as long as there is no signal."""
    loading = flags.loading_polls
    tokens = 0
    with listen(flags.host) as listener:
        say("listening")
        while True:
            connection, _ = listener.accept()
            with connection:
                target = read_request(connection)
                if target == "/props":
                    respond(connection, 200, flags.props.encode())
                elif target == "/slots":
                    if flags.slots == "moving":
                        tokens += 1
                    if flags.slots != "silent":
                        respond(connection, 200, SLOTS % tokens)
                elif target == "/health":
                    if loading == 0:
                        # like llama-server, which installs its handlers only once it has loaded
                        signal.signal(signal.SIGTERM, flags.on_sigterm)
                    respond(connection, *((503, LOADING) if loading else (200, HEALTHY)))
                    loading -= loading > 0
                elif flags.abort_in_warm_up:
                    say(ASSERTION)
                    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                    os.abort()
                else:
                    respond(connection, flags.answer, ANSWER)


def leave(*_: object) -> None:
    os._exit(0)


def tell(number: int, _: object) -> None:
    say(f"got {signal.Signals(number).name}")


def start_grandchild(*, escaped: bool) -> None:
    if os.fork() == 0:
        if escaped:
            os.setsid()
        say(f"grandchild {os.getpid()}")
        while True:
            signal.pause()


def count_start(path: str) -> int:
    """Note a start in a file, and return how many there were before."""
    starts = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    earlier = os.fstat(starts).st_size // len(b"one\n")
    os.write(starts, b"one\n")
    os.close(starts)
    return earlier


def with_faults_of(flags: argparse.Namespace, earlier: int, parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the flags for a start that has so many before it."""
    if flags.exit_once_served and earlier == 1:
        sys.exit(flags.exit_once_served)
    return parser.parse_args(["--host", flags.host]) if flags.only_first and earlier else flags


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--host", help="the Unix socket to listen on; without it, wait for signals")
    parser.add_argument("--starts", help="a file that gets one line for each start")
    parser.add_argument("--only-first", action="store_true", help="of all starts, only the first has these faults:")
    parser.add_argument("--print", metavar="TEXT", help="before anything else")
    parser.add_argument("--flood", type=int, default=0, metavar="BYTES", help="print so many without a newline")
    parser.add_argument("--grandchild", choices=["plain", "escaped"], help="fork another process, perhaps out of reach")
    parser.add_argument("--exit", type=int, metavar="CODE", help="end at once")
    parser.add_argument("--loading-polls", type=int, default=0, metavar="N", help="be unhealthy so often; -1: for ever")
    parser.add_argument("--answer", type=int, default=200, metavar="STATUS", help="of a chat completion")
    parser.add_argument("--exit-once-served", metavar="TEXT", help="of all starts, the second prints it and ends")
    parser.add_argument("--props", default="{}", metavar="JSON", help="what to say of itself")
    parser.add_argument("--slots", choices=["still", "moving", "silent"], default="still", help="how its slots fare")
    parser.add_argument("--abort-in-warm-up", action="store_true", help="at the first chat completion")
    parser.add_argument("--ignore-sigterm", action="store_true")
    flags = parser.parse_args()
    if flags.starts:
        flags = with_faults_of(flags, count_start(flags.starts), parser)
    flags.on_sigterm = tell if flags.ignore_sigterm else leave
    if flags.ignore_sigterm:
        signal.signal(signal.SIGTERM, tell)
        signal.signal(signal.SIGCONT, tell)
    if flags.print:
        say(flags.print)
    if flags.flood:
        write_all(b"x" * flags.flood)
        say("\nflooded")
    if flags.grandchild:
        start_grandchild(escaped=flags.grandchild == "escaped")
    if flags.exit is not None:
        sys.exit(flags.exit)
    if flags.host:
        serve(flags)
    say("waiting")
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
