"""What is asked of the real llama-server under a grammar, and what it writes: its own converter, its own sampler."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from conftest import clean_environment
from gbnf import Grammar
from hypothesis import HealthCheck, given, settings
from test_toolcalls_normalise import schemas

from gateway.events import ToolCall
from gateway.request import GenerationRequest, Json, ToolChoice
from gateway.toolcalls.asking import ask_arguments, ask_arguments_again, ask_which_tool, read_choice
from gateway.toolcalls.grammar_formats import PATTERNS
from gateway.toolcalls.grammar_schema import TIGHT, WIDE, Bounds, grammar_schema
from gateway.toolcalls.toolbox import compile_tools
from gateway.upstream.wire import encode_request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Engine = httpx.Client


@pytest.fixture(scope="module")
def engine(model_path: Path) -> Iterator[Engine]:
    argv = [
        sys.executable,
        "-m",
        "server_supervisor.xllamacpp_server",
        "-m",
        str(model_path),
        "--port",
        "0",
        "-c",
        "4096",
    ]
    process = subprocess.Popen([*argv, "--parallel", "1"], env=clean_environment(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = next(line for line in process.stderr if "listening on " in line)
    url = line.partition("listening on ")[2].partition(",")[0].strip()
    reader = threading.Thread(target=process.stderr.read)  # or it would block on a full pipe
    reader.start()
    try:
        with httpx.Client(base_url=url, timeout=100) as client:
            yield client
    finally:
        process.kill()
        process.wait(15)
        reader.join(15)
        process.stderr.close()


def grammar_of(engine: Engine, schema: Json) -> Grammar:
    """Return the grammar that the server makes of a schema; it refuses those that it cannot convert or parse."""
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "verbose": True, "response_format": asked}
    answer = engine.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, (answer.text, schema)
    return Grammar(answer.json()["__verbose"]["generation_settings"]["grammar"])


def declare(parameters: Any, name: str = "f") -> Json:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def share_of_noise_that_is_valid(engine: Engine, schema: Json, bounds: Bounds, times: int = 100) -> float:
    grammar = grammar_of(engine, grammar_schema(schema, bounds))
    tools = compile_tools([declare(schema)])
    random = Random(1)
    written = [grammar.sample(random) for _ in range(times)]
    for text in written:
        assert set(json.loads(text)) >= set(schema.get("required", ()))
    return sum(not tools.check(ToolCall("1", "f", text)) for text in written) / times


EVERYTHING: Json = {
    "properties": {
        **{f"is {name}": {"type": "string", "format": name} for name in (*PATTERNS, "uuid")},
        "code": {"type": "string", "pattern": r"^[\w.-]+/[\w.-]+$"},
        "found": {"type": "string", "pattern": "abc"},
        "long": {"type": "string", "minLength": 270, "maxLength": 350},
        "any": {},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        "span": {"type": "integer", "minimum": -5, "maximum": 1234},
        "choice": {"enum": ['a"b', "c\\d", "\n", 1, None, {"x": [1.5]}]},
        "pair": {"prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 3},
        "flags": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 3},
        "step": {"type": "integer", "multipleOf": 5, "minimum": 3, "maximum": 33},
        'we-ird ]^k"': {"type": "null"},
        "union": {
            "anyOf": [{"type": "object", "properties": {"x": {"const": 1}}, "required": ["x"]}, {"type": "null"}]
        },
        "tree": {"$ref": "#/$defs/tree"},
    },
    "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
    "additionalProperties": False,
}
EVERYTHING["required"] = list(EVERYTHING["properties"])


def test_noise_under_the_grammar_is_valid(engine: Engine) -> None:
    # numbers may be larger than any; TIGHT has none
    assert share_of_noise_that_is_valid(engine, EVERYTHING, TIGHT) == 1
    assert share_of_noise_that_is_valid(engine, EVERYTHING, WIDE) > 0.5


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=15)
@given(schema=schemas)
def test_the_server_takes_any_schema_that_is_written_out(engine: Engine, schema: Json) -> None:
    grammar = grammar_of(engine, grammar_schema(schema, WIDE))
    json.loads(grammar.sample(Random(1)))


def ask(engine: Engine, request: GenerationRequest) -> tuple[str, Json]:
    """Return the text and the usage of the answer to a request as the gateway sends it."""
    body = msgspec.json.decode(encode_request(request)) | {"stream": False}
    del body["stream_options"]
    answer = engine.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"], answer.json()["usage"]


def test_asking_again_gives_valid_arguments_and_keeps_the_prompt_cached(engine: Engine) -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 30},
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
        },
        "required": ["city", "days"],
        "additionalProperties": False,
    }
    tools = [declare(schema, "weather"), declare({}, "clock")]
    box = compile_tools(tools)
    question = "What will the weather be in Paris in the next three days? " + "Please be exact. " * 4
    request = GenerationRequest(
        messages=[{"role": "user", "content": question}],
        tools=tools,
        tool_choice=ToolChoice("required"),
        max_tokens=100,
        sampling={"temperature": 0.8, "seed": 1},
    )
    said, first = ask(engine, replace(request, max_tokens=8))
    which, usage = ask(engine, ask_which_tool(request, box, said))
    assert read_choice(box, which) is not None
    assert usage["prompt_tokens_details"]["cached_tokens"] >= first["prompt_tokens"] - 16
    weather = box.tools["weather"]
    broken = ToolCall("a1", "weather", '{"city":"Paris"}')
    for asked in (
        ask_arguments(request, weather, said),
        ask_arguments_again(request, weather, broken, box.check(broken), bounds=TIGHT, max_tokens=60),
    ):
        arguments, usage = ask(engine, asked)
        assert box.check(ToolCall("1", "weather", arguments)) == []
        assert usage["prompt_tokens_details"]["cached_tokens"] >= first["prompt_tokens"] - 16
