"""Gemma 4's own way of writing a call: `call:NAME{key:<|"|>text<|"|>,n:1,list:[true],obj:{k:null}}`.

Keys stand bare and values are JSON, but for texts, which stand between marks and are not escaped. The grammar is
llama.cpp's (common/parsers/gemma4.cpp); beyond it, keys and texts in plain or marked quotes are taken too.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.toolcalls.marks import QUOTE

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_DEPTH = 64

_HEAD = re.compile(r"call:([a-zA-Z0-9_.-]+)(?=\{)")
_HEAD_BEGUN = re.compile(r"c?|ca|cal|call|call:[a-zA-Z0-9_.-]*")
_SPACE = re.compile(r"\s*")
_BARE_KEY = re.compile(r"""[^\s:{}\[\],<"][^:{}<"]*""")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?(?![0-9.])")
_NUMBER_BEGUN = re.compile(r"[-+0-9.eE]*")
_LITERALS = {"true": True, "false": False, "null": None}
_scan_text = json.JSONDecoder(strict=False).raw_decode


_LONGEST_TOKEN = 16


class NotACall(Exception):
    """The text is not in this syntax, or not to its end.

    Attributes:
        unfinished: Whether more text could still make a call of it.
    """

    def __init__(self, *, unfinished: bool) -> None:
        super().__init__()
        self.unfinished = unfinished


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """A call found in a text.

    Attributes:
        name: What is called.
        arguments: The arguments' object.
        end: Where in the text it ends.
    """

    name: str
    arguments: dict[str, Any]
    end: int


def parse_call(text: str, at: int = 0) -> WrittenCall:
    """Read the call that begins at `at` with the word `call:`.

    Raises:
        NotACall: None does, or it does not end.
    """
    head = _HEAD.match(text, at)
    if head is None:
        raise NotACall(unfinished=_HEAD_BEGUN.fullmatch(text, at) is not None)
    reader = _Reader(text, head.end())
    arguments = reader.object(0)
    return WrittenCall(head[1], arguments, reader.at)


class _Reader:
    """Reads values one after another. `at` is where it stands."""

    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self.at = at

    def value(self, depth: int) -> Any:
        if depth > MOST_DEPTH:
            raise NotACall(unfinished=False)
        begin = self._text[self.at : self.at + 1]
        if begin == "{":
            return self.object(depth)
        if begin == "[":
            return self._array(depth)
        if begin in {"<", '"'} and begin:
            return self._quoted()
        return self._plain()

    def object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._expect("{")
        self._skip()
        if self._take("}"):
            return found
        while True:
            key = self._key()
            self._expect(":")
            self._skip()
            found[key] = self.value(depth + 1)
            self._skip()
            if self._take("}"):
                return found
            self._expect(",")
            self._skip()

    def _array(self, depth: int) -> list[Any]:
        found: list[Any] = []
        self._expect("[")
        self._skip()
        if self._take("]"):
            return found
        while True:
            found.append(self.value(depth + 1))
            self._skip()
            if self._take("]"):
                return found
            self._expect(",")
            self._skip()

    def _key(self) -> str:
        if self._text[self.at : self.at + 1] in {"<", '"'}:
            key = self._quoted()
            self._skip()
            return key
        found = _BARE_KEY.match(self._text, self.at)
        if found is None:
            raise self._failure()
        self.at = found.end()
        return found[0].rstrip()

    def _quoted(self) -> str:
        if self._take(QUOTE):
            end = self._text.find(QUOTE, self.at)
            if end < 0:
                raise NotACall(unfinished=True)
            found, self.at = self._text[self.at : end], end + len(QUOTE)
            return found
        try:
            plain, self.at = _scan_text(self._text, self.at)
        except ValueError:
            # a text in plain quotes that does not end, or breaks JSON's rules: told apart at the answer's end
            unfinished = self._text[self.at : self.at + 1] == '"'
            raise NotACall(unfinished=unfinished or self._failure().unfinished) from None
        return str(plain)

    def _plain(self) -> Any:
        for word, value in _LITERALS.items():
            if self._take(word):
                return value
        found = _NUMBER.match(self._text, self.at)
        if found is None:
            begun = _NUMBER_BEGUN.fullmatch(self._text, self.at) is not None
            raise NotACall(unfinished=begun or self._failure().unfinished)
        self.at = found.end()
        number = json.loads(found[0])
        if number in {float("inf"), float("-inf")}:
            raise NotACall(unfinished=False)
        return number

    def _skip(self) -> None:
        self.at = _SPACE.match(self._text, self.at).end()  # type: ignore[union-attr]  # it matches nothing too

    def _take(self, token: str) -> bool:
        if not self._text.startswith(token, self.at):
            return False
        self.at += len(token)
        return True

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise self._failure()

    def _failure(self) -> NotACall:
        """Return the failure at this place: near the text's end it may be a token that is still to come."""
        return NotACall(unfinished=len(self._text) - self.at <= _LONGEST_TOKEN)


def write_call(name: str, arguments: Mapping[str, Any]) -> str:
    """Write a call as Gemma's template does. Texts that hold the quotation mark cannot be written."""
    return f"call:{name}{_write(dict(arguments))}"


def _write(value: Any) -> str:
    if isinstance(value, str):
        return f"{QUOTE}{value}{QUOTE}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_write(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_write, value)) + "]"
    return json.dumps(value)
