"""llama.cpp's own HTTP server out of the PyPI wheel `xllamacpp`, started with llama-server's command line.

`python -m server_supervisor.xllamacpp_server --model FILE ...` stands in for the `llama-server` binary: the same
flags, the same log on stderr, the same exit codes, so that the supervisor speaks one language. What is different:

* `LLAMA_ARG_*` variables and config.ini files are not read: the command line is all there is.
* /props and the log say build `b0-unknown`; `--version` says which llama.cpp it is.
* Without `--model` it ends, where llama-server would become a router.

As in llama-server, a socket file that an earlier process left behind makes the bind fail ("couldn't bind HTTP server
socket", exit code 1) and our own stays behind too: whoever starts us unlinks it.
"""

from __future__ import annotations

import difflib
import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

from server_supervisor.llama_flags import FLAGS, HELP, REFUSED, VERSION, Flag, Params

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WHEEL: Final = "xllamacpp"
DEFAULT_PORT: Final = 9931  # llama-server's; the wheel's own default is any free port
HELP_COLUMN: Final = 40
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_BY_NAME: Final = {name: flag for flag in FLAGS for name in (*flag.names, *flag.off)}


class UsageError(Exception):
    """The command line is refused; its text says why in llama-server's words."""


def parse_args(argv: Sequence[str]) -> list[tuple[Flag, object]]:
    """Read a command line as llama-server does: `--flag value`, `_` for `-` in long names, the last one wins.

    Raises:
        UsageError: A flag is unknown, or its value is missing or bad.
    """
    settings: list[tuple[Flag, object]] = []
    words = iter(argv)
    for word in words:
        name = word.replace("_", "-") if word.startswith("--") else word
        if (flag := _BY_NAME.get(name)) is None:
            raise UsageError(_unknown(name))
        if not flag.metavar:
            settings.append((flag, name not in flag.off))
        elif (text := next(words, None)) is None:
            raise _bad_value(name, flag, "expected value for argument")
        else:
            settings.append((flag, _read(name, flag, text)))
    return settings


def _read(name: str, flag: Flag, text: str) -> object:
    try:
        return flag.read(text)
    except ValueError as error:
        raise _bad_value(name, flag, f"invalid value '{text}': {error}") from error


def _unknown(name: str) -> str:
    # The first line is llama-server's to the letter: the supervisor reads the flag out of it.
    error = f"error: invalid argument: {name}"
    if reason := REFUSED.get(name):
        return f"{error}\nhint: {reason}"
    near = difflib.get_close_matches(name, _BY_NAME, n=1, cutoff=0.7)
    return f"{error}\nhint: did you mean {near[0]}?" if near else error


def _bad_value(name: str, flag: Flag, problem: str) -> UsageError:
    return UsageError(f'error while handling argument "{name}": {problem}\n\nusage:\n{_usage(flag)}')


def _usage(flag: Flag) -> str:
    spelled = f"{', '.join((*flag.names, *flag.off))} {flag.metavar}".rstrip()
    first = spelled.ljust(HELP_COLUMN) if len(spelled) < HELP_COLUMN else f"{spelled}\n{' ' * HELP_COLUMN}"
    return first + flag.help


def build_params(settings: Iterable[tuple[Flag, object]]) -> Params:
    """Return `xllamacpp.CommonParams` as llama-server would make them from these settings.

    Raises:
        UsageError: No model is given, or a value cannot be handed to the wheel.
    """
    params = _load_wheel().CommonParams()
    params.n_parallel = -1  # auto: 4 slots on one unified KV buffer. Any explicit number leaves it divided.
    params.port = DEFAULT_PORT
    for flag, value in settings:
        try:
            flag.put(params, value)
        except ValueError as error:  # a path that is not UTF-8
            raise _bad_value(flag.names[0], flag, str(error)) from error
    if not params.model.path:
        raise UsageError("error: --model is required: xllamacpp has no router mode")
    # Of what llama-server does after parsing, this alone matters here: templates that can keep the reasoning of
    # earlier turns are asked to. The wheel itself resolves the numbers of threads, slots and names.
    params.default_template_kwargs = {"preserve_reasoning": "true"} | params.default_template_kwargs
    return params


def _load_wheel() -> Any:
    try:
        return importlib.import_module(WHEEL)
    except ImportError as error:
        raise UsageError(f"error: the engine needs the {WHEEL} wheel (pip install {WHEEL}): {error}") from error


def version_text() -> str:
    """Return version and build in the two lines that llama-server prints."""
    wheel = _load_wheel()
    build = wheel.BUILD_INFO  # its build_number is 0, as it is not compiled in a git checkout of llama.cpp
    return (
        f"version: {wheel.__version__.rpartition('.')[2]} ({WHEEL} {wheel.__version__})\n"
        f"built with {build['compiler']} for {build['build_target']}\n"
    )


class StopSignals:
    """SIGTERM and SIGINT, from now on as something to wait for.

    They are waited for on a pipe, because the kernel may hand a signal to any of the server's threads, and a lock
    held by the main thread would not notice.
    """

    def __init__(self) -> None:
        self._received, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup)
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: None)

    def wait(self) -> None:
        """Block until one has come. The next one kills: a stop that hangs can still be ended."""
        os.read(self._received, 1)
        kill_on_stop_signals()


def kill_on_stop_signals() -> None:
    """Let SIGTERM and SIGINT end the process at once, whatever it does."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def serve(params: Params) -> int:
    """Load the model, serve until SIGTERM or SIGINT, and return the exit code."""
    # The constructor binds, loads, and holds the GIL for as long as that takes: no Python handler would run.
    kill_on_stop_signals()
    try:
        server = _load_wheel().Server(params)
    except RuntimeError:  # its text is always the same; the log has just told why
        return 1
    stop = StopSignals()
    _wait_for_main_loop(server, params)
    sys.stderr.write(f"{WHEEL}: listening on {server.listening_address}, SIGTERM stops\n")
    stop.wait()
    # The destructor stops the main loop, closes the sockets and joins every thread. As in llama-server b11549 an
    # open stream delays that until its next ping (--sse-ping-interval), and an open request that is not streamed
    # until its client leaves: the supervisor's SIGKILL ends both.
    del server
    return 0


def _wait_for_main_loop(server: Any, params: Params) -> None:
    """Return once the server's main loop runs.

    The constructor returns a moment before it does, and a destructor that came first would wait for ever: it clears
    a flag that the loop then sets (server-queue.cpp, `terminate` and `start_loop`). So something is asked that only
    the loop can answer, the cheapest there is.
    """
    if params.endpoint_metrics:
        server.handle_metrics()
    else:
        server.handle_completions({"prompt": "", "max_tokens": 1})


def run(argv: Sequence[str]) -> int:
    """Do what the command line asks and return the exit code.

    Raises:
        UsageError: The command line is refused. Nothing has been loaded.
    """
    settings = parse_args(argv)
    asked = [flag for flag, _ in settings]
    if VERSION in asked:
        sys.stderr.write(version_text())
        return 0
    if HELP in asked:
        sys.stdout.writelines(f"{_usage(flag)}\n" for flag in FLAGS)
        return 0
    return serve(build_params(settings))


def main() -> int:
    """Run with this process's command line."""
    try:
        return run(sys.argv[1:])
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
