"""How long a GPU server takes from nothing to a first token: from its weights, from host memory, or out of its sleep.

    python tests/bench/coldstart_gpu.py --profile gemma-4-26b-a4b [--model PATH --llama-server PATH] --cycles 20

Needs an NVIDIA GPU with driver 570 or newer. For each size of context it starts `warmgate serve --park-after` with a
cold and with a warm page cache, lets it be parked and restored, and then runs the same llama-server alone with
`--sleep-idle-seconds`, which throws its weights away and reads them again. With `--cycles` one client asks the same
question at random moments, until the server has been parked so often: each answer must be the same.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench.gpu_limits import drop_from_page_cache, pcie_rates, read_rate

from snapshot.nvml import Nvml
from snapshot.process_tree import process_tree, resident_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
KEY = "sk-bench"
POLL_SECONDS = 0.01
END_SECONDS = 30
PARK_AFTER_SECONDS = 0.5
PARKINGS = 2
WORDS = "The harbour lay in the evening light, and the boats came home one after the other. " * 20
QUESTION: dict[str, Any] = {
    "messages": [{"role": "user", "content": f"{WORDS}\nGo on."}],
    "max_tokens": 24,
    "temperature": 0,
    "logprobs": True,
    "chat_template_kwargs": {"enable_thinking": False},
}


class Server:
    """One `warmgate serve`, or a llama-server alone.

    Attributes:
        began: When it was started, by `time.perf_counter`.
        client: Of its API.
    """

    def __init__(self, command: list[str], client: httpx.Client, log: Path, **environment: str) -> None:
        self.client = client
        self.began = time.perf_counter()
        self._log = log.open("w")
        self.process = subprocess.Popen(
            command, stdout=self._log, stderr=subprocess.STDOUT, env={**os.environ, **environment}
        )

    def health(self) -> dict[str, Any]:
        """Return what it says of itself; nothing if it does not answer."""
        with contextlib.suppress(httpx.TransportError):
            answer: dict[str, Any] = self.client.get("/health").json()
            return answer
        if self.process.poll() is not None:
            raise SystemExit(f"it ended with {self.process.returncode}; see {self._log.name}")
        return {}

    def wait_for(self, *states: str) -> dict[str, Any]:
        """Wait for one of the states, and return what is said then."""
        while (health := self.health()).get("state", health.get("status")) not in states:
            time.sleep(POLL_SECONDS)
        return health

    def first_token(self) -> float:
        """Ask for a stream, and return the seconds until something was said."""
        began = time.perf_counter()
        first = None
        with self.client.stream("POST", "/v1/chat/completions", json=QUESTION | {"stream": True}) as response:
            for line in response.iter_lines():
                if first is None and line.startswith("data: {") and _says_something(json.loads(line[6:])):
                    first = time.perf_counter() - began
        if first is None:
            raise SystemExit(f"no token came; see {self._log.name}")
        return first

    def engine(self) -> int:
        """Return the process id of its llama-server."""
        return next(pid for pid in process_tree(self.process.pid) if "--alias" in arguments_of(pid))

    def end(self) -> float:
        """End it, and return the seconds that it took."""
        began = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(END_SECONDS)
        self._log.close()
        return time.perf_counter() - began


def _says_something(chunk: dict[str, Any]) -> bool:
    deltas = [choice["delta"] for choice in chunk.get("choices", ())]
    return any(delta.get("content") or delta.get("reasoning_content") for delta in deltas)


def arguments_of(pid: int) -> list[str]:
    """Return a process's command line."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    return []


class Bench:
    """What is measured, and where it is written as it comes."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self._serve = [sys.executable, "-c", "from app.cli import main; main()", "serve", "--port", str(args.port)]
        for flag in ("profile", "model", "llama_server"):
            if value := getattr(args, flag):
                self._serve += [f"--{flag.replace('_', '-')}", str(value)]
        for change in args.set:
            self._serve += ["--set", change]
        self._url = f"http://127.0.0.1:{args.port}"
        self._folder = folder
        self._nvml = Nvml()
        self._empty = self._nvml.free_bytes()
        self._json: Path | None = args.json
        self.results: dict[str, Any] = {}

    def gpu_mib(self) -> int:
        """Return how much GPU memory is in use since the start of all this."""
        return sum(then - now for then, now in zip(self._empty, self._nvml.free_bytes(), strict=True)) // MIB

    def note(self, name: str, result: object) -> None:
        """Keep a result, print it and write all of them."""
        self.results[name] = result
        print(f"{name}: {json.dumps(result)}", flush=True)
        if self._json:
            self._json.write_text(json.dumps(self.results, indent=1))

    @contextlib.contextmanager
    def serving(self, *flags: str) -> Iterator[Server]:
        """Run `warmgate serve`, and kill it at the end if it has not been ended."""
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=self._url, headers=headers, timeout=120) as client:
            log = self._folder / f"serve-{len(list(self._folder.iterdir()))}.log"
            server = Server([*self._serve, *flags], client, log, WARMGATE_API_KEYS=f"bench:{KEY}")
            try:
                yield server
            finally:
                server.process.kill()
                server.process.wait()

    def starts(self, ctx: int) -> list[str]:
        """Measure starts and parkings with so much context for each slot. Returns llama-server's command line."""
        size = ("--set", f"ctx_per_slot={ctx}")
        with self.serving(*size) as server:  # says which file it reads, and makes the driver ready
            server.wait_for("ready")
            command = arguments_of(server.engine())
            server.end()
        self._model = Path(command[command.index("--model") + 1])
        for cache in ("cold", "warm"):
            if cache == "cold":
                drop_from_page_cache(self._model)
            with self.serving(*size, "--park-after", str(PARK_AFTER_SECONDS)) as server:
                self.note(f"{ctx} weights, {cache} page cache", self._start(server))
                if cache == "warm":
                    self._parkings(ctx, server)
                self.note(f"{ctx} SIGTERM, {cache}", server.end())
        return command

    def _start(self, server: Server) -> dict[str, Any]:
        health = server.wait_for("ready", "parking", "parked")
        ready = time.perf_counter() - server.began
        return {
            "command_to_ready": ready,
            "phases": health["phases"],
            "first_token": server.first_token(),
            "gpu_mib": self.gpu_mib(),
            "host_mib": resident_bytes(server.engine()) // MIB,
        }

    def _parkings(self, ctx: int, server: Server) -> None:
        for number in range(PARKINGS):
            server.wait_for("parked")
            parked = {"gpu_mib": self.gpu_mib(), "host_mib": resident_bytes(server.engine()) // MIB}
            first = server.first_token()
            phases = server.health()["phases"]
            self.note(f"{ctx} parked {number}", {"first_token": first, "phases": phases, **parked})
        server.wait_for("parked")  # so that its end is that of a parked server

    def asleep(self, ctx: int, command: list[str]) -> None:
        """Measure the same llama-server alone, which throws its weights away when it is idle."""
        path = self._folder / "llama.sock"
        command = [*command, "--sleep-idle-seconds", "1"]
        command[command.index("--host") + 1] = str(path)
        # llama-server closes a connection after a stream without saying so
        transport = httpx.HTTPTransport(uds=str(path), limits=httpx.Limits(max_keepalive_connections=0))
        with httpx.Client(transport=transport, base_url="http://llama-server", timeout=120) as client:
            server = Server(command, client, self._folder / f"asleep-{ctx}.log")
            try:
                server.wait_for("ok")
                server.first_token()
                for cache in ("warm", "cold"):
                    self._until_asleep(server)
                    if cache == "cold":
                        drop_from_page_cache(self._model)
                    asleep = {"gpu_mib": self.gpu_mib(), "host_mib": resident_bytes(server.process.pid) // MIB}
                    self.note(f"{ctx} asleep, {cache} page cache", {"first_token": server.first_token(), **asleep})
            finally:
                server.process.kill()
                server.process.wait()
                path.unlink(missing_ok=True)

    def _until_asleep(self, server: Server) -> None:
        while not server.client.get("/props").json()["is_sleeping"]:
            time.sleep(POLL_SECONDS)

    def cycles(self, count: int, seconds: float, longest_pause: float) -> None:
        """Ask the same question at random moments, until the server was parked `count` times or the time is over."""
        chance = random.Random(1)
        answers: list[dict[str, Any]] = []
        with self.serving("--park-after", str(PARK_AFTER_SECONDS), "--log-level", "debug") as server:
            server.wait_for("ready", "parking", "parked")
            reference = [self._ask(server), self._ask(server)][1]
            ends = time.monotonic() + seconds
            while self._parked(server) < count and time.monotonic() < ends:
                time.sleep(chance.uniform(0, longest_pause))
                answers.append(self._ask(server))
                self._note_cycles(server, reference, answers)
            server.wait_for("parked")
            self.note("SIGTERM while parked", server.end())
        if any(answer["status"] != httpx.codes.OK or answer["said"] != reference["said"] for answer in answers):
            raise SystemExit("an answer was lost, or another one")

    def _note_cycles(self, server: Server, reference: dict[str, Any], answers: list[dict[str, Any]]) -> None:
        by_state: dict[str, list[float]] = {}
        for answer in answers:
            by_state.setdefault(answer["state"], []).append(round(answer["seconds"], 2))
        moved = [
            abs(a - b) for answer in answers for a, b in zip(answer["logprobs"], reference["logprobs"], strict=False)
        ]
        self.note(
            "cycles",
            {
                "parkings": self._parked(server),
                "asked": len(answers),
                "answered": sum(answer["status"] == httpx.codes.OK for answer in answers),
                "same_text": sum(answer["said"] == reference["said"] for answer in answers),
                "largest_move_of_a_logprob": max(moved, default=0.0),
                "least_cached_tokens": min(answer["cached"] for answer in answers),
                "seconds_by_state_at_arrival": by_state,
            },
        )

    def _parked(self, server: Server) -> int:
        return Path(server._log.name).read_text().count("parking -> parked")

    def _ask(self, server: Server) -> dict[str, Any]:
        state = server.health()["state"]
        began = time.perf_counter()
        response = server.client.post("/v1/chat/completions", json=QUESTION)
        seconds = time.perf_counter() - began
        answer = response.json()
        if response.status_code != httpx.codes.OK:
            return {"status": response.status_code, "said": answer, "logprobs": [], "cached": 0} | {
                "state": state,
                "seconds": seconds,
            }
        choice = answer["choices"][0]
        return {
            "status": response.status_code,
            "said": [choice["message"].get("reasoning_content"), choice["message"].get("content")],
            "logprobs": [token["logprob"] for token in (choice.get("logprobs") or {}).get("content") or ()],
            "cached": answer["usage"]["prompt_tokens_details"]["cached_tokens"],
            "state": state,
            "seconds": seconds,
        }

    def limits(self) -> None:
        """Measure disk, page cache and PCIe."""
        drop_from_page_cache(self._model)
        rates = {"disk": read_rate(self._model), "page_cache": read_rate(self._model)}
        self.note("limits, GiB/s", rates | pcie_rates())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--llama-server", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="as `warmgate serve` takes it")
    parser.add_argument("--contexts", type=int, nargs="*", default=[65536, 16384], help="tokens for each slot")
    parser.add_argument("--cycles", type=int, default=0, help="how often to park under a trickle of requests")
    parser.add_argument("--cycle-seconds", type=float, default=600, help="and for how long at most")
    parser.add_argument("--longest-pause", type=float, default=12, help="seconds between two of these requests")
    parser.add_argument("--port", type=int, default=8377)
    parser.add_argument("--json", type=Path, help="where to write every result")
    parser.add_argument("--logs", type=Path, help="where the servers' logs are kept")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wg-") as folder:
        logs = args.logs or Path(folder)
        logs.mkdir(parents=True, exist_ok=True)
        bench = Bench(args, logs)
        for ctx in args.contexts:
            bench.asleep(ctx, bench.starts(ctx))
        if args.contexts:
            bench.limits()
        if args.cycles:
            bench.cycles(args.cycles, args.cycle_seconds, args.longest_pause)


if __name__ == "__main__":
    main()
