"""A pattern of JSON Schema -> one that llama.cpp turns into a grammar.

Where it cannot be said exactly it is widened: look-around and word boundaries are left out. What comes back is checked
against the client's own pattern anyway. Unbounded repetitions get a bound, and a pattern that may match anywhere in a
text gets a bounded rest of any characters around it.
"""

from __future__ import annotations

import re

from gateway.toolcalls.grammar_text import ANY, LAST, Ranges, complement, one_of, plain, repeat

MOST_LETTERS = 8000
"""Of a translated pattern."""

_DIGITS: Ranges = [(0x30, 0x39)]
_WORD: Ranges = [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)]
_SPACES: Ranges = [(0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x2028, 0x2029)]
_CLASSES = {
    "d": _DIGITS,
    "w": _WORD,
    "s": _SPACES,
    "D": complement(_DIGITS),
    "W": complement(_WORD),
    "S": complement(_SPACES),
}
_CONTROLS = {"t": 0x09, "n": 0x0A, "v": 0x0B, "f": 0x0C, "r": 0x0D, "0": 0x00}
_CODE = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\}")
_COUNT = re.compile(r"\{(\d{1,6})(?:(,)(\d{1,6})?)?\}")
_GROUP = re.compile(r"\?:|\?P?<(?![=!])\w+>")
_LOOK = re.compile(r"\?<?[=!]")


class _Untranslatable(Exception):
    """The pattern has no equivalent."""


def translate_pattern(pattern: str, *, least: int, most: int) -> str | None:
    """Return the equivalent of a pattern, anchored at both ends, or None if there is none.

    Args:
        pattern: As in JSON Schema, ECMAScript's regular expressions.
        least: The string's `minLength`; kept where the pattern is one repetition.
        most: The bound of a repetition that has none.
    """
    try:
        found = _Translator(pattern, least, most).whole()
    except (_Untranslatable, ValueError, RecursionError):
        return None
    return f"^{found}$" if found and len(found) <= MOST_LETTERS else None


class _Translator:
    """Reads the pattern and writes the equivalent as it goes."""

    def __init__(self, pattern: str, least: int, most: int) -> None:
        self._pattern = pattern
        self._least = least
        self._most = most
        self._at = 0

    def whole(self) -> str:
        alone = self._alone()
        if alone is not None:
            return alone
        found = self._alternatives(outermost=True)
        if self._at < len(self._pattern):
            raise _Untranslatable  # a parenthesis too many
        return found

    def _alone(self) -> str | None:
        """Return a pattern that is one repeated character between anchors, with the length's bounds in it."""
        if not self._pattern.startswith("^") or not self._pattern.endswith("$"):
            return None
        self._at = 1
        try:
            item = self._item()
            least, most = self._count() if item else (1, 1)
        except _Untranslatable:
            item, least, most = "", 1, 1
        whole = self._at == len(self._pattern) - 1 and item.startswith("[") and most >= self._least
        self._at = 0
        return repeat(item, max(least, self._least), most) if whole else None

    def _alternatives(self, *, outermost: bool = False) -> str:
        found = [self._sequence(outermost=outermost)]
        while self._take("|"):
            found.append(self._sequence(outermost=outermost))
        filled = list(dict.fromkeys(one for one in found if one))
        if not filled:
            return ""
        together = filled[0] if len(filled) == 1 else f"({'|'.join(filled)})"
        return together if all(found) else f"({together})?"

    def _sequence(self, *, outermost: bool) -> str:
        padding = repeat(one_of(ANY), 0, self._most) if outermost else ""
        found = "" if self._take("^") else padding
        while (next_ := self._peek()) and next_ not in "|)":
            if next_ == "$":
                self._at += 1
                if not outermost or self._peek() not in {"", "|"}:
                    raise _Untranslatable
                return found
            item = self._item()
            least, most = self._count()
            found += repeat(item, least, most) if item else ""
        return found + padding

    def _item(self) -> str:
        """Read what a count may follow: a set, a group or one character. Empty for what is left out."""
        next_ = self._peek()
        self._at += 1
        if next_ == "(":
            return self._group()
        if next_ == "[":
            return self._set(self._members())
        if next_ == ".":
            return one_of(ANY)
        if next_ == "\\":
            return self._escape()
        if not next_ or next_ in "^$*+?{":
            raise _Untranslatable
        return self._set([(ord(next_), ord(next_))])

    def _set(self, ranges: Ranges) -> str:
        usable = plain(ranges)
        if not usable:
            raise _Untranslatable
        return one_of(usable)

    def _group(self) -> str:
        left_out = _LOOK.match(self._pattern, self._at)
        opening = left_out or _GROUP.match(self._pattern, self._at)
        if opening:
            self._at = opening.end()
        elif self._peek() == "?":
            raise _Untranslatable
        inner = self._look_around() if left_out else self._alternatives()
        if not self._take(")"):
            raise _Untranslatable
        return f"({inner})" if inner else ""

    def _look_around(self) -> str:
        """Skip to the parenthesis that ends it: what it asks for is left to the validator."""
        depth = 0
        while next_ := self._peek():
            if next_ == ")" and not depth:
                break
            depth += (next_ == "(") - (next_ == ")")
            self._at += 1
            if next_ == "\\":
                self._at += 1
            elif next_ == "[":
                self._members()
        return ""

    def _escape(self) -> str:
        next_ = self._peek()
        if next_ in {"b", "B"}:
            self._at += 1
            return ""
        return self._set(self._escaped())

    def _escaped(self) -> Ranges:
        next_ = self._peek()
        if code := _CODE.match(self._pattern, self._at):
            self._at = code.end()
            point = int(code[1] or code[2] or code[3], 16)
            if point > LAST:
                raise _Untranslatable
            return [(point, point)]
        self._at += 1
        if next_ in _CLASSES:
            return _CLASSES[next_]
        if next_ in _CONTROLS:
            return [(_CONTROLS[next_], _CONTROLS[next_])]
        if not next_ or next_.isalnum():  # back references, properties, control letters
            raise _Untranslatable
        return [(ord(next_), ord(next_))]

    def _members(self) -> Ranges:
        negated = self._take("^")
        found: Ranges = []
        while (next_ := self._peek()) != "]":
            if not next_:
                raise _Untranslatable
            first = self._member()
            if (
                self._peek() == "-"
                and self._peek(1) not in {"]", ""}
                and len(first) == 1
                and first[0][0] == first[0][1]
            ):
                self._at += 1
                last = self._member()
                if len(last) != 1 or last[0][0] < first[0][0]:
                    raise _Untranslatable
                first = [(first[0][0], last[0][1])]
            found += first
        self._at += 1
        return complement(found) if negated else found

    def _member(self) -> Ranges:
        next_ = self._peek()
        self._at += 1
        if next_ != "\\":
            return [(ord(next_), ord(next_))]
        if self._take("b"):
            return [(0x08, 0x08)]
        return self._escaped()

    def _count(self) -> tuple[int, int]:
        least, most = 1, 1
        if counted := _COUNT.match(self._pattern, self._at):
            self._at = counted.end()
            least = int(counted[1])
            most = int(counted[3]) if counted[3] else max(least, self._most) if counted[2] else least
        elif (next_ := self._peek()) and next_ in "*+?":
            self._at += 1
            least, most = (1 if next_ == "+" else 0), (1 if next_ == "?" else self._most)
        else:
            return least, most
        self._take("?")  # as few as possible: that changes what a search finds, not what matches
        return least, min(most, max(least, self._most))

    def _peek(self, ahead: int = 0) -> str:
        return self._pattern[self._at + ahead : self._at + ahead + 1]

    def _take(self, token: str) -> bool:
        if not self._pattern.startswith(token, self._at):
            return False
        self._at += len(token)
        return True
