"""Images through `warmgate serve` with an image projector, read by the real llama-server.

The projector is Gemma 4's kind with random weights: what is decoded, and how many tokens it takes, is real.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import END_SECONDS, KEY, Warmgate
from pictures import bmp, data_url, gif, jpeg, png

from contract.scenes import SERVED

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECTOR = Path(__file__).with_name("model") / "projector.gguf"
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
DIALECTS = pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])

PIXELS = 48
"""Of a token's side: three patches of 16."""

MARKS = 2
"""`<|image>` and `<image|>`; this model's vocabulary may take more than a token for each."""


@pytest.fixture(scope="module")
def seeing() -> Iterator[Warmgate]:
    """Return a `warmgate serve` with the contract model and a projector."""
    arguments = (*SERVED, "--set", f"mmproj={PROJECTOR}", "--set", "slots=2")
    process = Warmgate("serve", "--port", "0", *arguments, env={"WARMGATE_API_KEYS": f"tests:{KEY}"})
    try:
        yield process.ready()
    finally:
        process.process.kill()
        process.process.wait(END_SECONDS)


def body_for(path: str, *urls: str) -> dict[str, Any]:
    """Return a request in the path's dialect: a text, then the images."""
    common: dict[str, Any] = {"model": "contract", "temperature": 0}
    images: list[dict[str, Any]]
    if path == RESPONSES:
        images = [{"type": "input_image", "image_url": url} for url in urls]
        content = [{"type": "input_text", "text": "Hello"}, *images]
        return common | {"max_output_tokens": 4, "input": [{"role": "user", "content": content}]}
    if path == MESSAGES:
        images = [{"type": "image", "source": _source(url)} for url in urls]
    else:
        images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [{"type": "text", "text": "Hello"}, *images]
    return common | {"max_tokens": 4, "messages": [{"role": "user", "content": content}]}


def _source(url: str) -> dict[str, str]:
    media_type, _, data = url.removeprefix("data:").partition(";base64,")
    return {"type": "base64", "media_type": media_type, "data": data}


def prompt_tokens(warmgate: Warmgate, path: str, *urls: str) -> int:
    with warmgate.client() as client:
        response = client.post(path, json=body_for(path, *urls))
    assert response.status_code == 200, response.text
    usage = response.json()["usage"]
    if path == MESSAGES:
        return int(usage["input_tokens"] + usage.get("cache_read_input_tokens", 0))
    return int(usage["input_tokens" if path == RESPONSES else "prompt_tokens"])


def side(tokens: int) -> int:
    return tokens * PIXELS


@DIALECTS
def test_an_image_takes_as_many_tokens_as_its_size_says(seeing: Warmgate, path: str) -> None:
    nothing = prompt_tokens(seeing, path)
    one = prompt_tokens(seeing, path, data_url(png((side(10), side(8)))))
    more = prompt_tokens(seeing, path, data_url(png((side(10), side(12)))))
    assert one - nothing - 10 * 8 in range(MARKS, 33)
    assert more - one == 10 * 4


@DIALECTS
def test_several_images_take_the_sum(seeing: Warmgate, path: str) -> None:
    nothing = prompt_tokens(seeing, path)
    first, second = data_url(png((side(10), side(8)))), data_url(png((side(9), side(9)), grey=7))
    one = prompt_tokens(seeing, path, first) - nothing
    other = prompt_tokens(seeing, path, second) - nothing
    assert prompt_tokens(seeing, path, first, second, first) - nothing == one + other + one


@pytest.mark.parametrize(
    "url",
    [
        data_url(png((1, 1))),
        data_url(gif(), "image/gif"),
        data_url(bmp((200, 100)), "image/bmp"),
        data_url(bmp((200, 100), upside_down=True), "image/bmp"),
        data_url(jpeg((200, 100)), "image/jpeg"),
        data_url(jpeg((200, 100)), "image/png"),
        data_url(png((1, 8000))),
        data_url(png((8000, 1))),
    ],
)
def test_every_kind_and_shape_that_passes_is_decoded(seeing: Warmgate, url: str) -> None:
    assert prompt_tokens(seeing, CHAT, url) > prompt_tokens(seeing, CHAT) + 70


def test_an_image_that_only_the_engine_finds_damaged_is_the_clients_mistake(seeing: Warmgate) -> None:
    unknown_filter = png((4, 3), rows=b"\x09\0\0\0\0" * 3)
    with seeing.client() as client:
        response = client.post(CHAT, json=body_for(CHAT, data_url(unknown_filter)))
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


@DIALECTS
def test_what_may_not_be_fetched_never_reaches_the_engine(seeing: Warmgate, path: str) -> None:
    url = "http://169.254.169.254/latest/meta-data/"
    body = body_for(path, *([] if path == MESSAGES else [url]))
    if path == MESSAGES:
        body["messages"][0]["content"].append({"type": "image", "source": {"type": "url", "url": url}})
    with seeing.client() as client:
        response = client.post(path, json=body)
    assert response.status_code == 400
    assert "expected a URL that begins with https://" in response.json()["error"]["message"]


@DIALECTS
def test_without_a_projector_an_image_is_refused_by_name(contract_warmgate: Warmgate, path: str) -> None:
    with contract_warmgate.client() as client:
        response = client.post(path, json=body_for(path, data_url(png())))
    assert response.status_code == 400
    assert "without an image projector" in response.json()["error"]["message"]


def test_a_token_count_counts_images(seeing: Warmgate) -> None:
    body = body_for(MESSAGES, data_url(png((side(10), side(8)))))
    del body["max_tokens"], body["temperature"]
    with seeing.client() as client:
        response = client.post(f"{MESSAGES}/count_tokens", json=body)
    assert response.status_code == 200, response.text
    assert response.json()["input_tokens"] == prompt_tokens(seeing, MESSAGES, data_url(png((side(10), side(8)))))
