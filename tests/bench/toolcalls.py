"""Calls of tools that must be made: valid, refused or broken, asked of llama-server directly and through the gateway.

Run by `make bench SUITE=toolcalls`. One question for each schema of the corpus, with `tool_choice` "required" and with
the tool named; which way is asked first takes turns. The time that it may take is looked at within a question, too,
and what it cuts short is not counted. Fails if the gateway lets anything else through than valid calls and refusals.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import httpx
import jsonschema_rs

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench.random_model import make_random_model
from bench.toolcall_results import Question, ResultLog
from bench.toolcall_table import REFUSED, VALID, Result, broken, table
from conftest import KEY, Warmgate
from contract.scenes import MODEL, SERVED

from gateway.toolcalls.policy import REPAIR_CALLS
from gateway.toolcalls.schemas import compile_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TOOLS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "schemas" / "schemas.json").read_text())
MODELS = ("smollm2", "contract", "random")
CHOICES = ("required", "named")
MOST_TOKENS = 256
TIMEOUT_SECONDS = 600
HEADER = "x-warmgate-tool-calls"


def question(tool: dict[str, Any], choice: str) -> dict[str, Any]:
    """Return the request that makes a model call a tool."""
    named = {"type": "function", "function": {"name": tool["name"]}}
    words = f"Use the tool {tool['name']} now. What it is for: {tool['description']}"
    return {
        "messages": [{"role": "user", "content": words}],
        "tools": [{"type": "function", "function": tool}],
        "tool_choice": named if choice == "named" else choice,
        "max_tokens": MOST_TOKENS,
        "temperature": 0,
    }


class OutOfTime(Exception):
    """The time for the benchmark was over before the answer came: it says nothing about the answer."""


def ask(client: httpx.Client, tool: dict[str, Any], choice: str, ends: float) -> Result:
    """Ask, and say what a client got.

    Args:
        client: Of llama-server, or of the gateway.
        tool: What is to be called.
        choice: How that is said.
        ends: When the benchmark's time is over, as `time.monotonic` counts.

    Raises:
        OutOfTime: It is.
    """
    began = time.monotonic()
    timeout = min(TIMEOUT_SECONDS, ends - began)
    if timeout <= 0:
        raise OutOfTime
    try:
        response = client.post("/v1/chat/completions", json=question(tool, choice), timeout=timeout)
    except httpx.HTTPError as error:
        if time.monotonic() >= ends:
            raise OutOfTime from None
        return Result(type(error).__name__, time.monotonic() - began)
    seconds = time.monotonic() - began
    attempts = re.search(r"attempts=(\d+)", response.headers.get(HEADER, ""))
    body = response.json()
    return Result(
        outcome(response.status_code, body, tool),
        seconds,
        body.get("usage", {}).get("completion_tokens"),
        int(attempts[1]) if attempts else None,
        body.get("error", {}).get("message", ""),
    )


def outcome(status: int, body: dict[str, Any], tool: dict[str, Any]) -> str:
    """Return what an answer is: a valid call, a refusal, or words for anything else."""
    if status != httpx.codes.OK:
        return REFUSED if body.get("error", {}).get("code") == "tool_call_invalid" else f"error {status}"
    calls = body["choices"][0]["message"].get("tool_calls") or []
    if not calls:
        return "no call"
    return VALID if all(is_valid(call["function"], tool) for call in calls) else "invalid call"


def is_valid(call: dict[str, Any], tool: dict[str, Any]) -> bool:
    """Return whether a call fits the schema, for the library as it is and with the formats that the gateway checks."""
    try:
        arguments = json.loads(call["arguments"])
    except ValueError:
        return False
    schema = tool["parameters"]
    accepted = jsonschema_rs.validator_for(schema).is_valid(arguments) and compile_schema(schema).accepts(arguments)
    return call["name"] == tool["name"] and accepted


@contextlib.contextmanager
def contenders(served: Sequence[str], repair_tokens: int) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Serve a model; yield clients of the llama-server directly, and of the gateway before it."""
    env = {"WARMGATE_API_KEYS": f"bench:{KEY}", "WARMGATE_TOOL_CALL_MAX_TOKENS": str(repair_tokens)}
    roomy = ("--set", "ctx_per_slot=8192")  # the largest tool takes more than 4096 tokens
    gate = Warmgate("serve", "--port", "0", *served, *roomy, env=env).ready()
    try:
        engine = gate.engine().cmdline()
        transport = httpx.HTTPTransport(uds=engine[engine.index("--host") + 1])
        with httpx.Client(transport=transport, base_url="http://llama-server") as direct, gate.client() as through:
            yield direct, through
    finally:
        gate.end()


def measure(
    model: str, clients: tuple[httpx.Client, httpx.Client], tools: Sequence[dict[str, Any]], log: ResultLog, ends: float
) -> None:
    """Ask for a call of each tool in both ways, unless the log has it already, until the time is over."""
    direct, through = clients
    with contextlib.suppress(OutOfTime):
        for turn, tool in enumerate(tools):
            # who comes second finds the prompt in the server's cache
            order = (direct, through) if turn % 2 == 0 else (through, direct)
            for choice in CHOICES:
                asked = Question(model, choice, tool["name"])
                if asked not in log.pairs:
                    by_way = {client: ask(client, tool, choice, ends) for client in order}
                    log.add(asked, (by_way[direct], by_way[through]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=len(TOOLS), help="how many of the schemas")
    parser.add_argument("--seconds", type=float, default=3600, help="how long at most; the models share it")
    parser.add_argument("--models", nargs="*", choices=MODELS, default=MODELS, help="none: only print the table")
    parser.add_argument("--repair-tokens", type=int, default=REPAIR_CALLS.max_tokens, help="of each answer to a repair")
    parser.add_argument("--results", type=Path, help="where to write each answer when it has come, and go on from")
    args = parser.parse_args()
    # drawn and not the first ones, so that a run that is cut short is a fair sample
    tools = Random(1).sample(TOOLS, len(TOOLS))[: args.limit]
    log = ResultLog(args.results)
    with tempfile.TemporaryDirectory() as folder:
        random = Path(folder) / "random.gguf"
        make_random_model(MODEL, random)
        served = {"smollm2": SERVED[2:], "contract": SERVED, "random": ("--model", str(random), *SERVED[2:])}
        for model in args.models:
            with contenders(served[model], args.repair_tokens) as clients:
                measure(model, clients, tools, log, time.monotonic() + args.seconds / len(args.models))
    runs = log.runs()
    print(table(runs))
    if failed := sum(broken(pairs) for pairs in runs.values()):
        sys.exit(f"{failed} answers through the gateway were neither valid nor refused")


if __name__ == "__main__":
    main()
