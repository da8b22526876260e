"""Messages dialect: a conversation in Anthropic's words, and what llama-server gets of it."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic_dialect import generation

from gateway.errors import InvalidRequest

PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
PNG_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
CACHED = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": blocks[0] if isinstance(blocks[0], str) else list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": blocks[0] if isinstance(blocks[0], str) else list(blocks)}


def text(words: str, **extra: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **extra}


def use(call_id: str, name: str = "weather", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def result(call_id: str, content: Any = None, **extra: Any) -> dict[str, Any]:
    given = {} if content is None else {"content": content}
    return {"type": "tool_result", "tool_use_id": call_id, **given, **extra}


def call(call_id: str, arguments: str = "{}", name: str = "weather") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(call_id: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "content": content, "tool_call_id": call_id}


def messages(*given: Any, **fields: Any) -> list[Any]:
    """Return what llama-server gets of these messages."""
    return generation(messages=list(given), **fields).messages


def refusal(*given: Any, **fields: Any) -> tuple[str | None, str]:
    with pytest.raises(InvalidRequest) as caught:
        generation(messages=list(given), **fields)
    return caught.value.param, caught.value.message


# -- texts and turns


def test_texts_may_be_strings_or_blocks() -> None:
    assert messages(user("Hi"), assistant("Hello"), user(text("How"), text("are you?", **CACHED))) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "How\nare you?"},
    ]


def test_a_last_message_of_the_models_is_one_to_go_on_with() -> None:
    assert messages(user("Count"), assistant(text("One, t"), text("wo")))[-1] == {
        "role": "assistant",
        "content": "One, two",
    }


def test_consecutive_messages_of_one_role_are_one_turn() -> None:
    assert messages(user("A"), user(text("B"), PNG), assistant("C"), assistant("D"), user("E")) == [
        {"role": "user", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "\nB"}, PNG_PART]},
        {"role": "assistant", "content": "CD"},
        {"role": "user", "content": "E"},
    ]


@pytest.mark.parametrize("system", ["Be kind.", [text("Be"), text("kind.", **CACHED)]])
def test_the_system_prompt_comes_first(system: Any) -> None:
    expected = "Be kind." if isinstance(system, str) else "Be\nkind."
    assert messages(user("Hi"), system=system) == [
        {"role": "system", "content": expected},
        {"role": "user", "content": "Hi"},
    ]


def test_the_header_that_changes_with_every_request_is_left_out() -> None:
    billing = text("x-anthropic-billing-header: cc_version=2.1.197.f13; cc_entrypoint=cli;")
    assert messages(user("Hi"), system=[billing, text("Be kind.")]) == messages(user("Hi"), system="Be kind.")
    assert messages(user("Hi"), system=[billing]) == messages(user("Hi"))
    assert messages({"role": "system", "content": [billing]}, user("Hi")) == messages(user("Hi"))


def test_system_messages_stay_where_they_are_and_those_at_the_start_are_one() -> None:
    first, later = ({"role": "system", "content": words} for words in ("Be brief.", "Be long."))
    assert messages(first, user("Hi"), later, user("Ho"), system="Be kind.") == [
        {"role": "system", "content": "Be kind.\nBe brief."},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "Be long."},
        {"role": "user", "content": "Ho"},
    ]


def test_messages_without_anything_in_them_are_no_conversation() -> None:
    assert refusal({"role": "user", "content": []}) == ("messages", "Invalid 'messages': there is nothing in them.")


def test_a_beginning_of_the_answer_alone_is_no_conversation() -> None:
    """Gemma 4's template cannot be rendered with it."""
    nothing = "Invalid 'messages': there is nothing in them but the beginning of the answer."
    assert refusal(assistant("Hello")) == ("messages", nothing)
    assert messages(assistant("Hello"), system="Be kind.")[-1] == {"role": "assistant", "content": "Hello"}


# -- images and documents


def test_images_are_embedded_or_linked() -> None:
    linked = {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}
    built = generation(messages=[user(text("See"), PNG, linked)])
    linked_part = {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}
    assert built.messages == [{"role": "user", "content": [{"type": "text", "text": "See"}, PNG_PART, linked_part]}]
    assert [(image.where, image.part) for image in built.images] == [
        ("messages[0].content[1].source.data", PNG_PART),
        ("messages[0].content[2].source.url", linked_part),
    ]
    assert built.images[1].part is built.messages[0]["content"][2]


def test_documents_and_search_results_are_read_as_text() -> None:
    plain = {"type": "text", "media_type": "text/plain", "data": "Once upon a time."}
    parts = {"type": "content", "content": [text("One"), text("Two")]}
    found = {"type": "search_result", "source": "https://a.example", "title": "A", "content": [text("Found.")]}
    assert messages(
        user(
            {"type": "document", "source": plain, "title": "Tale", "context": "For children", "citations": None},
            {"type": "document", "source": parts},
            {"type": "document", "source": {"type": "content", "content": "Three"}},
            found,
        )
    ) == [
        {
            "role": "user",
            "content": "Tale\nFor children\nOnce upon a time.\nOne\nTwo\nThree\nA\nhttps://a.example\nFound.",
        }
    ]


def test_an_image_within_a_document_is_shown() -> None:
    document = {"type": "document", "source": {"type": "content", "content": [text("See"), PNG]}}
    built = generation(messages=[user(document)])
    assert built.messages == [{"role": "user", "content": [{"type": "text", "text": "See"}, PNG_PART]}]
    assert [image.where for image in built.images] == ["messages[0].content[0].source.content[1].source.data"]


def test_other_documents_are_refused() -> None:
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}
    assert refusal(user({"type": "document", "source": pdf})) == (
        "messages[0].content[0].source.type",
        "Invalid 'messages[0].content[0].source.type': the served model reads documents as text only, not 'base64'.",
    )


@pytest.mark.parametrize("kind", ["server_tool_use", "web_search_tool_result", "container_upload", "compaction"])
def test_blocks_of_other_kinds_are_refused_by_name(kind: str) -> None:
    param, message = refusal(user("Hi"), assistant({"type": kind, "id": "s", "name": "web_search", "input": {}}))
    assert param == "messages[1].content[0].type"
    assert kind in message


# -- tools


def test_results_follow_their_calls_in_the_order_of_the_calls() -> None:
    assert messages(
        user("Weather?"),
        assistant(text("Let me see."), use("toolu_a", city="Paris"), use("toolu_b", days=[1, 2.0])),
        user(text("There:"), result("toolu_b", "rain"), result("toolu_a", [text("sun"), text("25 °C")]), text("So?")),
    ) == [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [call("toolu_a", '{"city":"Paris"}'), call("toolu_b", '{"days":[1,2.0]}')],
        },
        tool("toolu_a", "sun\n25 °C"),
        tool("toolu_b", "rain"),
        {"role": "user", "content": "There:\nSo?"},
    ]


def test_results_in_several_messages_are_results_of_one_turn() -> None:
    note = {"role": "system", "content": "Hurry."}
    split = [assistant(use("a")), assistant(use("b")), note, user(result("b", "2")), user(result("a", "1"))]
    assert messages(user("Go"), *split) == [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": "", "tool_calls": [call("a"), call("b")]},
        tool("a", "1"),
        tool("b", "2"),
        {"role": "system", "content": "Hurry."},
    ]


def test_a_chain_of_calls() -> None:
    chain = [assistant(use("a")), user(result("a", "1")), assistant(use("b")), user(result("b", "2"))]
    assert messages(user("Go"), *chain, assistant("Done.")) == [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": "", "tool_calls": [call("a")]},
        tool("a", "1"),
        {"role": "assistant", "content": "", "tool_calls": [call("b")]},
        tool("b", "2"),
        {"role": "assistant", "content": "Done."},
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (result("a"), ""),
        (result("a", []), ""),
        (result("a", "gone", is_error=True), "Error: gone"),
        (result("a", "error: gone", is_error=True), "error: gone"),
        (result("a", is_error=True), "Error: "),
        (result("a", "fine", is_error=False, **CACHED), "fine"),
    ],
)
def test_results_may_be_empty_or_failures(given: Any, expected: str) -> None:
    assert messages(user("Go"), assistant(use("a")), user(given))[-1] == tool("a", expected)


def test_an_image_in_a_result_is_shown_in_the_users_next_turn() -> None:
    built = generation(
        messages=[
            user("Go"),
            assistant(use("a"), use("b")),
            user(result("b", [text("chart"), PNG]), result("a", [PNG]), text("What is it?")),
        ]
    )
    assert built.messages[2:] == [
        tool("a", "[image, see below]"),
        tool("b", "chart\n[image, see below]"),
        {"role": "user", "content": [PNG_PART, PNG_PART, {"type": "text", "text": "What is it?"}]},
    ]
    assert [image.where for image in built.images] == [
        "messages[2].content[1].content[0].source.data",
        "messages[2].content[0].content[1].source.data",
    ]


def test_a_call_without_a_result_is_refused_in_anthropics_words() -> None:
    param, message = refusal(user("Go"), assistant(text("Well"), use("a"), use("b")), user(result("a", "1")))
    assert param == "messages[1].content[2].id"
    assert "`tool_use` ids were found without `tool_result` blocks immediately after: b." in message
    assert refusal(user("Go"), assistant(use("a")))[0] == "messages[1].content[0].id"


@pytest.mark.parametrize(
    "given",
    [
        [user("Go"), user(text("x"), result("a", "1"))],
        [user("Go"), assistant("No."), user(text("x"), result("a", "1"))],
        [user("Go"), assistant(use("b")), user(result("b", "2"), result("a", "1"))],
        [assistant(use("a")), user(result("a", "1")), assistant("No."), user(text("x"), result("a", "1"))],
    ],
)
def test_a_result_without_its_call_is_refused_in_anthropics_words(given: list[Any]) -> None:
    param, message = refusal(*given)
    assert param == f"messages[{len(given) - 1}].content[1].tool_use_id"
    assert "unexpected `tool_use_id` found in `tool_result` blocks: a." in message


def test_ids_are_unique_within_a_turn() -> None:
    assert refusal(user("Go"), assistant(use("a"), use("a")), user(result("a", "1"))) == (
        "messages[1].content[0].id",
        "Invalid 'messages[1].content[0].id': `tool_use` ids must be unique: a.",
    )
    twice = refusal(user("Go"), assistant(use("a")), user(result("a", "1"), result("a", "2")))
    assert twice[0] == "messages[2].content[1].tool_use_id"


# -- thoughts


def test_a_thought_that_was_sealed_here_comes_back_with_its_call() -> None:
    thinking = {"type": "thinking", "thinking": "Hm", "signature": "sealed:I should look."}
    assert messages(user("Go"), assistant(thinking, text("So:"), use("a")), user(result("a", "1")))[1] == {
        "role": "assistant",
        "content": "So:",
        "reasoning_content": "I should look.",
        "tool_calls": [call("a")],
    }


def test_a_thought_that_was_not_shown_comes_back_too() -> None:
    hidden = {"type": "thinking", "thinking": "", "signature": "sealed:One"}
    redacted = {"type": "redacted_thinking", "data": "sealed:Two"}
    assert messages(user("Go"), assistant(hidden, redacted, text("Yes")))[1]["reasoning_content"] == "One\nTwo"


@pytest.mark.parametrize("foreign", ["EqQBCgIYAhIM", ""])
def test_thoughts_of_other_providers_are_left_out(foreign: str) -> None:
    thinking = {"type": "thinking", "thinking": "Hm", "signature": foreign}
    redacted = {"type": "redacted_thinking", "data": foreign}
    assert messages(user("Go"), assistant(thinking, redacted, text("Yes")), user("Why?")) == [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": "Yes"},
        {"role": "user", "content": "Why?"},
    ]
