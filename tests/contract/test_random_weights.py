"""The tool-call contract with the worst model that there can be: the contract model's file with drawn weights.

It writes noise, as far as a grammar lets it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import jsonschema_rs
import pytest
from bench.random_model import make_random_model
from conftest import END_SECONDS, KEY, Warmgate

from contract.playing import CHAT, play
from contract.scenes import MODEL, SERVED, tools
from contract.test_tool_calls import BOTH, CALLED, EVERYWHERE, REQUIRED, named, strict

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS = "What is the weather in Paris?"
CITIES = ["Paris", "Bergen", "Lima", "Quito", "Oslo", "Rome"]
PLACE = {"type": "object", "properties": {"city": {"enum": CITIES}}, "required": ["city"]}


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warmgate]:
    """Return one `warmgate serve` with random weights."""
    model = tmp_path_factory.mktemp("noise") / "random.gguf"
    make_random_model(MODEL, model)
    args = ("--port", "0", "--model", str(model), *SERVED[2:])
    process = Warmgate("serve", *args, env={"WARMGATE_API_KEYS": f"tests:{KEY}"})
    try:
        yield process.ready()
    finally:
        process.process.kill()
        process.process.wait(END_SECONDS)


@BOTH
@EVERYWHERE
@pytest.mark.parametrize("is_named", [False, True], ids=["required", "named"])
def test_a_required_call_comes_even_from_noise(noise: Warmgate, path: str, is_named: bool, stream: bool) -> None:
    declared = strict(tools("get_weather", "set_timer"))
    choice = named(path, "get_weather") if is_named else REQUIRED[path]
    with noise.client() as client:
        found = play(client, path, WORDS, declared, stream=stream, tool_choice=choice)
    ((name, arguments),) = found.calls
    schema = next(each["function"]["parameters"] for each in declared if each["function"]["name"] == name)
    assert jsonschema_rs.is_valid(schema, arguments)
    assert (found.text, found.ending) == ("", CALLED[path])
    assert name == "get_weather" or not is_named


@pytest.mark.parametrize("thinking", [True, False], ids=["thinking", "not thinking"])
def test_only_a_template_that_is_told_not_to_think_leaves_no_room_for_a_thought(
    noise: Warmgate, thinking: bool
) -> None:
    """With room, noise spells the mark of a thought, which no budget ends: so it is asked without (b11549)."""
    engine = noise.engine().cmdline()
    transport = httpx.HTTPTransport(uds=engine[engine.index("--host") + 1])
    thoughts = []
    with httpx.Client(transport=transport, base_url="http://llama-server", timeout=60) as client:
        for city in CITIES:
            body = {
                "messages": [{"role": "user", "content": f"What is the weather in {city}?"}],
                "response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": PLACE}},
                "chat_template_kwargs": {"enable_thinking": thinking},
                "reasoning_budget_tokens": 0,
                "max_tokens": 100,
                "temperature": 0,
            }
            said = client.post(CHAT, json=body).json()["choices"][0]["message"]
            thoughts.append("reasoning_content" in said)
            assert said["content"] == "" if thoughts[-1] else jsonschema_rs.is_valid(PLACE, json.loads(said["content"]))
    assert any(thoughts) == thinking
