"""Answers that are to have a schema, in each dialect; and schemas that llama-server cannot take."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from contract.playing import CHAT, DIALECTS, MESSAGES, RESPONSES, play
from contract.scenes import SCENES

if TYPE_CHECKING:
    from conftest import Warmgate

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
NAME = {"type": "string", "maxLength": 20}
CITY = {"type": "object", "properties": {"city": NAME}, "required": ["city"]}
TWINS = {"type": "object", "properties": {"city": NAME, "twin": {"$ref": "#"}}, "required": ["city", "twin"]}
REPEATED = {"type": "array", "items": NAME, "minItems": 10**6}


def form(path: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that ask for an answer of a schema."""
    forms: dict[str, dict[str, Any]] = {
        CHAT: {"response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}},
        RESPONSES: {"text": {"format": {"type": "json_schema", "name": "city", "schema": schema}}},
        MESSAGES: {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
    }
    return forms[path]


@BOTH
@pytest.mark.parametrize("path", DIALECTS)
def test_an_answer_after_a_schema_is_that_json_alone(contract_warmgate: Warmgate, path: str, stream: bool) -> None:
    with contract_warmgate.client() as client:
        found = play(client, path, SCENES["json"].trigger, stream=stream, **form(path, CITY))
    assert not found.error
    assert jsonschema_rs.is_valid(CITY, json.loads(found.text))


@pytest.mark.parametrize("path", DIALECTS)
def test_a_schema_may_refer_to_itself(contract_warmgate: Warmgate, path: str) -> None:
    """This one has no end, so the answer's comes with `max_tokens`."""
    with contract_warmgate.client() as client:
        found = play(client, path, SCENES["json"].trigger, stream=False, **form(path, TWINS))
    assert not found.error
    assert re.match(r'\{"city": "[^"]*", "twin": ?\{"city": "[^"]*", "twin": ?\{', found.text)


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (CITY | {"minLength": 5, "maxLength": 2}, "schema.minLength': it is above maxLength."),
        (REPEATED, "llama-server cannot make a grammar of this JSON Schema: "),
    ],
    ids=["would take all memory", "too large"],
)
def test_a_schema_without_a_grammar_is_refused(
    contract_warmgate: Warmgate, schema: dict[str, Any], words: str, path: str
) -> None:
    said = {"input": "Hi"} if path == RESPONSES else {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 50}
    with contract_warmgate.client() as client:
        answer = client.post(path, json={"model": "contract"} | said | form(path, schema))
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert words in answer.json()["error"]["message"]
