r"""Pieces of patterns in the subset of regular expressions that llama.cpp turns into grammars.

In that subset (common/json-schema-to-grammar.cpp) a pattern describes the JSON text between the quotes, not the string
that it stands for, so that `.` would take a quote and break the JSON. These pieces take only what may stand there as it
is. Within a set, `\xHH` is understood and `\d` is not; repetitions multiply, and 2000 are the most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Ranges = list[tuple[int, int]]

LAST = 0x10FFFF
_NEVER: Ranges = [(0x00, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F), (0xD800, 0xDFFF)]
"""Characters that JSON writes as an escape, and halves of characters."""

BLOCK = 100
"""Long repetitions are built of blocks of so many: (x{100}){0,99}x{0,199} has hundreds of rules, not ten thousand."""

MOST_BLOCKS = 1900

_CODE = "([0-9a-cefA-CEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2})"
CHARACTER = rf'([^"\\\x7F\x00-\x1F]|[\\](["\\bfnrt]|u{_CODE}))'
"""Any character of a string, as itself or escaped; no halves of characters."""


def complement(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return the characters that are in none of the ranges."""
    found: Ranges = []
    at = 0
    for first, last in sorted(ranges):
        if first > at:
            found.append((at, first - 1))
        at = max(at, last + 1)
    if at <= LAST:
        found.append((at, LAST))
    return found


def plain(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return those of the characters that stand in JSON text as they are."""
    return complement([*complement(ranges), *_NEVER])


ANY = plain([(0, LAST)])


def one_of(ranges: Ranges) -> str:
    """Write a set of characters."""
    return "[" + "".join(_range(first, last) for first, last in ranges) + "]"


def _range(first: int, last: int) -> str:
    return _in_set(first) if first == last else f"{_in_set(first)}-{_in_set(last)}"


def _in_set(code: int) -> str:
    if code < 0x80:  # noqa: PLR2004  # ASCII
        return chr(code) if chr(code).isalnum() else f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"  # noqa: PLR2004  # four digits


def repeat(item: str, least: int, most: int) -> str:
    """Write `item` repeated. It is a set, a group or one character.

    Raises:
        ValueError: It is repeated more often than can be written.
    """
    return _exactly(item, least) + _up_to(item, most - least)


def _exactly(item: str, times: int) -> str:
    blocks, rest = divmod(times, BLOCK) if times > 2 * BLOCK else (0, times)
    return (_times(f"({item}{{{BLOCK}}})", f"{blocks}", blocks) if blocks else "") + _times(item, f"{rest}", rest)


def _up_to(item: str, times: int) -> str:
    if times <= 2 * BLOCK:
        return _times(item, f"0,{times}", times)
    blocks, rest = divmod(times, BLOCK)
    block = f"({item}{{{BLOCK}}})"
    return _times(block, f"0,{blocks - 1}", blocks - 1) + _times(item, f"0,{BLOCK + rest}", BLOCK + rest)


def _times(item: str, count: str, most: int) -> str:
    if most > MOST_BLOCKS:
        raise ValueError(count)
    if not most:
        return ""
    return item if count == "1" else f"{item}{{{count}}}"
