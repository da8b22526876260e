"""Reads a GBNF grammar and writes random texts of it: what a model of pure noise would answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

Piece = Callable[[Random], str]

_TOKEN = re.compile(
    r'\s*(?:(?P<literal>"(?:\\.|[^"\\])*")|(?P<set>\[\^?(?:\\.|[^\]\\])*\])|(?P<name>[a-zA-Z][a-zA-Z0-9-]*)'
    r"|(?P<count>\{\d+(?:,\d*)?\})|(?P<sign>[()|?*+]))"
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}
MORE = 3
"""How often something without an end is repeated at most, beyond its least."""


class Grammar:
    """The rules of one grammar."""

    def __init__(self, text: str) -> None:
        self._rules: dict[str, Piece] = {}
        for line in text.splitlines():
            name, _, body = line.partition(" ::= ")
            if body:
                self._rules[name] = _Parser(body, self._rules).alternatives()

    def sample(self, random: Random, rule: str = "response-format-schema") -> str:
        return self._rules[rule](random)


class _Parser:
    def __init__(self, body: str, rules: dict[str, Piece]) -> None:
        self._tokens = [(match.lastgroup, match[match.lastgroup or 0]) for match in _TOKEN.finditer(body)]
        self._rules = rules
        self._at = 0

    def _peek(self) -> tuple[str | None, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else (None, "")

    def alternatives(self) -> Piece:
        found = [self._sequence()]
        while self._peek()[1] == "|":
            self._at += 1
            found.append(self._sequence())
        return lambda random: random.choice(found)(random)

    def _sequence(self) -> Piece:
        found: list[Piece] = []
        while (token := self._peek())[0] and token not in {("sign", "|"), ("sign", ")")}:
            found.append(self._repeated(self._item()))
        return lambda random: "".join(piece(random) for piece in found)

    def _item(self) -> Piece:
        kind, token = self._peek()
        self._at += 1
        if kind == "literal":
            text = _ESCAPE.sub(_unescape, token[1:-1])
            return lambda _: text
        if kind == "set":
            return _set(token)
        if kind == "name":
            return lambda random: self._rules[token](random)  # noqa: PLW0108  # rules may come later
        assert token == "("
        inner = self.alternatives()
        assert self._peek()[1] == ")"
        self._at += 1
        return inner

    def _repeated(self, item: Piece) -> Piece:
        kind, token = self._peek()
        if kind == "count":
            least, comma, most = token[1:-1].partition(",")
            low, high = int(least), int(most) if most else int(least) + (MORE if comma else 0)
        elif kind == "sign" and token in "?*+":
            low, high = {"?": (0, 1), "*": (0, MORE), "+": (1, 1 + MORE)}[token]
        else:
            return item
        self._at += 1

        def repeat(random: Random) -> str:
            # the ends are where mistakes are; long texts are seldom worth their time
            times = random.choice([low, min(high, low + MORE), high if high < 20 else low])
            return "".join(item(random) for _ in range(times))

        return self._repeated(repeat)


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    return chr(int(code, 16)) if code else _CONTROLS.get(match[4], match[4])


def _set(token: str) -> Piece:
    negated = token.startswith("[^")
    body = token[2 if negated else 1 : -1]
    members = [
        (_unescape(found), True) if (found := _ESCAPE.fullmatch(part[0])) else (part[0], False)
        for part in re.finditer(_ESCAPE.pattern + "|.", body, re.DOTALL)
    ]
    ranges: list[tuple[int, int]] = []
    while members:
        char, _ = members.pop(0)
        if len(members) > 1 and members[0] == ("-", False):
            members.pop(0)
            ranges.append((ord(char), ord(members.pop(0)[0])))
        else:
            ranges.append((ord(char), ord(char)))

    def draw(random: Random) -> str:
        if negated:
            usual = [code for code in (*range(0x20, 0x7F), 0xE9, 0x1F600) if not any(a <= code <= b for a, b in ranges)]
            return chr(random.choice(usual))
        first, last = random.choice(ranges)
        return chr(random.choice([first, last, random.randint(first, last)]))

    return draw
