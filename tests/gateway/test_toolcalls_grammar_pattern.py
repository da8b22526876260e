from __future__ import annotations

import json
import re

import jsonschema_rs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.toolcalls.grammar_formats import NATIVE, PATTERNS
from gateway.toolcalls.grammar_pattern import translate_pattern
from gateway.toolcalls.grammar_text import CHARACTER, repeat
from gateway.toolcalls.schemas import FORMATS

ANY = r"[\x20-\x21\x23-\x5B\x5D-\x7E\u0080-\uD7FF\uE000-\U0010FFFF]"

TRANSLATED = [
    ("^[a-z]+$", "^[a-z][a-z]{0,8}$"),
    ("^[a-z]*$", "^[a-z]{0,9}$"),
    (r"^\d{3}-\d{4}$", r"^[0-9]{3}[\x2D][0-9]{4}$"),
    (r"^#?([a-f0-9]{6}|[a-f]{3})$", r"^[\x23]{0,1}(([0-9a-f]{6}|[a-f]{3}))$"),
    ("^a$|^b$", "^([a]|[b])$"),
    ("^(a|)b$", "^(([a])?)[b]$"),
    ("ab", f"^{ANY}{{0,9}}[a][b]{ANY}{{0,9}}$"),
    ("^ab", f"^[a][b]{ANY}{{0,9}}$"),
    ("^.$", f"^{ANY}$"),
    (r"^(?=.*\d)(?!x).{2,4}$", f"^{ANY}{{2}}{ANY}{{0,2}}$"),
    (r"^\bab\b$", "^[a][b]$"),
    ("^(?:a)(?<n>b)$", "^([a])([b])$"),
    (r"^[\w.-]{2}?$", r"^[\x2D-\x2E0-9A-Z\x5Fa-z]{2}$"),
    (r"^\u00e9\x41\$$", r"^[\u00E9][A][\x24]$"),
    ('^[a"\\\\]$', "^[a]$"),
]


@pytest.mark.parametrize(("pattern", "translated"), TRANSLATED)
def test_a_pattern_is_said_in_the_subset(pattern: str, translated: str) -> None:
    assert translate_pattern(pattern, least=0, most=9) == translated


UNSAID = [
    r"^(a)\1$",
    r"^\p{L}$",
    '^"$',
    "^\\\\$",
    "^\n$",
    "^a)$",
    "^(a$",
    "^[a$",
    "^*$",
    "^a{999999}$",
    "^a^b$",
    "^(?i)a$",
    "^$",
]
UNSAID += ["(" * 2000, "^" + "[a-c]x" * 2000 + "$"]


@pytest.mark.parametrize("pattern", UNSAID)
def test_what_cannot_be_said_is_none(pattern: str) -> None:
    assert translate_pattern(pattern, least=0, most=9) is None


@pytest.mark.parametrize(
    ("pattern", "least", "most", "translated"),
    [
        ("^[a-z]*$", 2, 5, "^[a-z]{2}[a-z]{0,3}$"),
        ("^[a-z]+$", 3, 3, "^[a-z]{3}$"),
        ("^[a-z]{1,4}$", 2, 9, "^[a-z]{2}[a-z]{0,2}$"),
    ],
)
def test_a_patterns_length_is_kept_where_it_is_one_repetition(
    pattern: str, least: int, most: int, translated: str
) -> None:
    assert translate_pattern(pattern, least=least, most=most) == translated


@given(st.integers(0, 600), st.integers(0, 20_000))
def test_a_long_repetition_is_built_of_blocks_and_is_exact(least: int, more: int) -> None:
    written = re.compile(repeat("[a]", least, least + more))
    for length, fits in (
        (least, True),
        (least + more, True),
        (least + more + 1, False),
        (least - 1, False),
        (least + more // 2, True),
    ):
        if length >= 0:
            assert bool(written.fullmatch("a" * length)) == fits
    assert all(int(count) <= 1900 for count in re.findall(r"\d+", written.pattern))


parts = st.sampled_from(
    [
        "a",
        "b+",
        "c?",
        "[a-c]",
        "[^a]",
        r"\d",
        r"\w{2}",
        r"\S",
        ".",
        "(a|bc)",
        "(?:x|y)*",
        "(?=a)",
        r"\.",
        "-",
        "[x.-]",
        "é",
        "a{1,3}",
    ]
)


@given(
    st.lists(parts, min_size=1, max_size=5).map("".join),
    st.sampled_from(["^{}$", "^{}", "{}$", "{}", "^{}$|^q$"]),
    st.data(),
)
def test_what_the_translation_matches_the_pattern_matches(middle: str, frame: str, data: st.DataObject) -> None:
    pattern = frame.format(middle)
    assume("(?=" not in pattern)  # left out on purpose
    translated = translate_pattern(pattern, least=0, most=4)
    assert translated is not None
    ascii_ = re.sub(r"\\u[^\]]*", "é", translated)  # sets of a million characters take Hypothesis a minute
    text = data.draw(st.from_regex(ascii_.replace("$", r"\Z"), fullmatch=True))
    assert jsonschema_rs.validator_for({"pattern": pattern}).is_valid(text)
    assert not set('"\\\n') & set(text)


def test_every_format_that_is_checked_can_be_written() -> None:
    assert NATIVE | set(PATTERNS) == FORMATS


@pytest.mark.parametrize("name", sorted(PATTERNS))
@given(data=st.data())
def test_what_is_written_for_a_format_is_of_that_format(name: str, data: st.DataObject) -> None:
    translated = translate_pattern(PATTERNS[name], least=0, most=99)
    assert translated is not None
    text = data.draw(st.from_regex(translated.replace("$", r"\Z"), fullmatch=True))
    assert jsonschema_rs.Draft202012Validator({"format": name}, validate_formats=True).is_valid(text), text


@pytest.mark.parametrize("name", sorted(PATTERNS))
@settings(max_examples=5)  # each is nearly the same
@given(data=st.data())
def test_the_longest_that_is_written_for_a_format_is_of_that_format(name: str, data: st.DataObject) -> None:
    longest = re.sub(r"\{\d+,(\d+)\}", r"{\1}", PATTERNS[name]).replace("$", r"\Z")
    text = data.draw(st.from_regex(longest, fullmatch=True))
    assert jsonschema_rs.Draft202012Validator({"format": name}, validate_formats=True).is_valid(text), text


@given(st.from_regex(CHARACTER, fullmatch=True))
def test_a_character_is_one_in_json(text: str) -> None:
    assume(not 0xD800 <= ord(text[0]) <= 0xDFFF)
    [_] = json.loads(f'"{text}"')
