"""What can stand between a client and llama-server, each started as it is meant to be used, one process wide.

Each streamed answer takes a connection of its own to the upstream, because llama-server closes it afterwards. All but
the bare proxy check a bearer key. Contenders have the last core to themselves, upstream and client the others: where
they share one they wait for each other, and the busiest waits longest.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
from bench.stamped_streams import Question

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).parents[2]
BIN: Final = Path(sys.executable).parent
LITELLM: Final = ROOT / ".venv" / "litellm"
KEY: Final = "sk-bench-4d1f0c"
MODEL: Final = "fast"
DIRECT: Final = "direct"
START_SECONDS: Final = 60.0
PAUSE_SECONDS: Final = 0.005

TOOLS: Final = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Does what {name} says.",
            "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
        },
    }
    for name in ("read_file", "write_file", "list_files", "search_files")
]


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to ask.

    Attributes:
        name: What it is called in the table.
        port: Where it listens, on 127.0.0.1.
        process: Whose CPU time and memory count, children included.
        path: Where it is asked.
        fields: What its requests say besides the prompt.
    """

    name: str
    port: int
    process: psutil.Process
    path: str = "/v1/chat/completions"
    fields: Mapping[str, Any] = field(default_factory=dict)
    _spent: dict[str, int] = field(default_factory=dict)  # nanoseconds by thread

    def question(self, tokens: int, pace: int) -> Question:
        """Return a request for so many pieces, so many a second; 0 for as fast as they are taken.

        At a pace the next request comes a little after the answer's end, as over a network: what a contender does
        with an answer that is over is not what the next one's first piece is to be measured with.
        """
        prompt = f"tokens={tokens} pace={pace}"
        said = {"input": prompt} if "responses" in self.path else {"messages": [{"role": "user", "content": prompt}]}
        body = json.dumps({"model": MODEL, "stream": True, **said, **self.fields}).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        pause = PAUSE_SECONDS if pace else 0.0
        keeps = self.name != DIRECT
        return Question("127.0.0.1", self.port, head.encode() + body, tokens, keeps=keeps, pause=pause)

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its processes and threads, more exactly than by the clock's ticks."""
        for process in [self.process, *self.process.children(recursive=True)]:
            for schedstat in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    self._spent[schedstat.parent.name] = int(schedstat.read_text().split()[0])
        return sum(self._spent.values()) / 1e9  # of those that have ended, too

    def memory_mib(self) -> float:
        """Return what its processes hold in memory; pages that they share count in each."""
        processes = [self.process, *self.process.children(recursive=True)]
        return sum(process.memory_info().rss for process in processes) / 2**20


@dataclass(frozen=True, slots=True)
class Upstream:
    """The fast upstream.

    Attributes:
        port: Of 127.0.0.1.
        socket: The same as a Unix socket.
        process: It.
    """

    port: int
    socket: Path
    process: psutil.Process


class Stage:
    """Starts processes and ends them. What they write goes to files beside their configuration."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *argv: str | Path, **env: str) -> psutil.Process:
        """Start a process."""
        with (self._folder / f"{name}.log").open("wb") as log:
            started = subprocess.Popen(
                argv, env={"PATH": "/usr/sbin:/usr/bin:/bin", "HOME": str(self._folder), **env}, stdout=log, stderr=log
            )
        self._started.append(started)
        return psutil.Process(started.pid)

    def end(self) -> None:
        """End all of them."""
        for started in self._started:
            started.terminate()
        for started in self._started:
            try:
                started.wait(10)
            except subprocess.TimeoutExpired:
                started.kill()

    def upstream(self) -> Upstream:
        """Compile and start the fast upstream."""
        program, path = self._folder / "fast_upstream", self._folder / "upstream.sock"
        subprocess.run(["cc", "-O2", "-o", program, Path(__file__).with_name("fast_upstream.c")], check=True)
        process = self.start("upstream", program, path)
        log = self._folder / "upstream.log"
        _wait(lambda: log.read_text().strip().isdigit(), "the fast upstream")
        return Upstream(int(log.read_text()), path, process)

    def nginx(self, upstream: Upstream) -> Iterator[Contender]:
        """Start nginx, before both sockets."""
        ports = {"nginx": free_port(), "nginx, Unix socket": free_port()}
        targets = (f"127.0.0.1:{upstream.port}", f"unix:{upstream.socket}:")
        servers = "".join(
            NGINX_SERVER % (port, KEY, target) for port, target in zip(ports.values(), targets, strict=True)
        )
        (self._folder / "nginx.conf").write_text(NGINX % (getpass.getuser(), servers))
        process = self.start("nginx", "nginx", "-p", self._folder, "-c", "nginx.conf")
        for name, port in ports.items():
            _wait_http(port, name)
            yield Contender(name, port, process)

    def litellm(self, upstream: Upstream) -> Iterator[Contender]:
        """Start LiteLLM's proxy, from an environment of its own, which is made if it is not there."""
        if not (LITELLM / "bin" / "litellm").exists():
            print("installing LiteLLM's proxy into .venv/litellm (once) ...", file=sys.stderr)
            uv = ROOT / ".venv" / "uv" / "bin" / "uv"
            subprocess.run([uv, "venv", "--quiet", "--clear", LITELLM], check=True)
            python = LITELLM / "bin" / "python"
            subprocess.run([uv, "pip", "install", "--quiet", "--python", python, "litellm[proxy]"], check=True)
        parameters = {"model": f"openai/{MODEL}", "api_base": f"http://127.0.0.1:{upstream.port}/v1", "api_key": "none"}
        config = {
            "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
            "general_settings": {"master_key": KEY},
            "litellm_settings": {"telemetry": False},
        }
        (self._folder / "litellm.yaml").write_text(json.dumps(config))  # JSON is YAML
        port = free_port()
        argv: list[str | Path] = ["--config", self._folder / "litellm.yaml", "--host", "127.0.0.1", "--port", str(port)]
        quiet = {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        process = self.start("litellm", LITELLM / "bin" / "litellm", *argv, **quiet)
        _wait_http(port, "LiteLLM", "/health/liveliness")
        yield Contender("LiteLLM", port, process)

    def plain_proxy(self, upstream: Upstream) -> Iterator[Contender]:
        """Start the plain proxy."""
        yield self._on_uvicorn("FastAPI + httpx", "plain_proxy", upstream)

    def bare_proxy(self, upstream: Upstream) -> Iterator[Contender]:
        """Start the proxy that does nothing."""
        yield self._on_uvicorn("bare ASGI", "bare_proxy", upstream, "--lifespan", "off")

    def _on_uvicorn(self, name: str, module: str, upstream: Upstream, *flags: str) -> Contender:
        port = free_port()
        argv: list[str | Path] = ["--host", "127.0.0.1", "--port", str(port), "--no-access-log", *flags]
        argv += ["--app-dir", Path(__file__).parent]
        env = {"UPSTREAM": f"http://127.0.0.1:{upstream.port}", "KEY": KEY, "PYTHONPATH": str(ROOT)}
        process = self.start(module, BIN / "uvicorn", f"{module}:app", *argv, **env)
        _wait_http(port, name)
        return Contender(name, port, process)

    def warmgate(self, upstream: Upstream) -> Iterator[Contender]:
        """Start warmgate, before both sockets, with all that it does by default."""
        process, port = self._warmgate(f"http://127.0.0.1:{upstream.port}")
        yield Contender("warmgate", port, process)
        yield Contender("warmgate, tools", port, process, fields={"tools": TOOLS})
        yield Contender("warmgate, Responses", port, process, path="/v1/responses")
        yield Contender("warmgate, Messages", port, process, path="/v1/messages", fields={"max_tokens": 100_000})
        process, port = self._warmgate(f"unix:{upstream.socket}")
        yield Contender("warmgate, Unix socket", port, process)

    def _warmgate(self, target: str) -> tuple[psutil.Process, int]:
        port = free_port()
        argv = ["gateway", "--upstream", target, "--port", str(port)]
        process = self.start(f"warmgate-{port}", BIN / "warmgate", *argv, WARMGATE_API_KEYS=f"bench:{KEY}")
        _wait_http(port, "warmgate", "/readyz")
        return process, port


@contextlib.contextmanager
def contenders(only: Sequence[str] = ()) -> Iterator[Sequence[Contender]]:
    """Run all of them before one fast upstream, inside the context; or those whose names begin so."""
    with tempfile.TemporaryDirectory(prefix="warmgate-bench-") as folder:
        stage = Stage(Path(folder))
        starts = {
            "nginx": stage.nginx,
            "warmgate": stage.warmgate,
            "bare ASGI": stage.bare_proxy,
            "FastAPI + httpx": stage.plain_proxy,
            "LiteLLM": stage.litellm,
        }
        try:
            upstream = stage.upstream()
            started = [
                contender
                for name, start in starts.items()
                if not only or any(each.startswith(name) or name.startswith(each) for each in only)
                for contender in start(upstream)
            ]
            _apart(upstream.process, started)
            chosen = [each for each in started if not only or each.name.startswith(tuple(only))]
            yield [Contender(DIRECT, upstream.port, upstream.process), *chosen]
        finally:
            stage.end()


def _apart(upstream: psutil.Process, started: Sequence[Contender]) -> None:
    """Give the last core to the contenders, and the others to the upstream and to us."""
    *others, last = sorted(os.sched_getaffinity(0))
    if not others:
        return
    for contender in started:
        for process in (contender.process, *contender.process.children(recursive=True)):
            for thread in process.threads():
                os.sched_setaffinity(thread.id, {last})
    for process in (upstream, psutil.Process()):
        os.sched_setaffinity(process.pid, others)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_http(port: int, name: str, path: str = "/health") -> None:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
                return True
        except urllib.error.HTTPError as error:
            return error.code == 401
        except OSError:
            return False

    _wait(answers, name)


def _wait(condition: Any, name: str) -> None:
    until = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > until:
            sys.exit(f"{name} did not start.")
        time.sleep(0.05)


NGINX: Final = """\
user %s;
daemon off;
pid nginx.pid;
error_log stderr;
worker_processes 1;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
%s
}
"""
NGINX_SERVER: Final = """\
    server {
        listen 127.0.0.1:%d;
        keepalive_requests 1000000;
        location / {
            if ($http_authorization != "Bearer %s") { return 401; }
            proxy_pass http://%s;
            proxy_http_version 1.1;
            proxy_buffering off;
        }
    }
"""
