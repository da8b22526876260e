"""The contract model's vocabulary: Gemma 4's control tokens, every byte, and pieces of words that were learnt.

It is a SentencePiece-like vocabulary that llama.cpp reads as tokenizer model `llama` (src/llama-vocab.cpp,
`llm_tokenizer_spm`): of all neighbours whose concatenation is a token, the pair with the highest score is joined first.
No token spans two chunks of `CHUNK`, so that each chunk can be encoded for itself, and remembered.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
"""Token types, as GGUF numbers them."""

# In Gemma 4's order. Those that its parser reads are user-defined there, so that they show in the text.
SPECIAL: Final[Mapping[str, int]] = {
    "<pad>": CONTROL,
    "<eos>": CONTROL,
    "<bos>": CONTROL,
    "<unk>": UNKNOWN,
    "<mask>": CONTROL,
    "<|tool>": CONTROL,
    "<tool|>": CONTROL,
    "<|tool_call>": USER_DEFINED,
    "<tool_call|>": USER_DEFINED,
    "<|tool_response>": CONTROL,
    "<tool_response|>": USER_DEFINED,
    '<|"|>': USER_DEFINED,
    "<|think|>": CONTROL,
    "<|channel>": USER_DEFINED,
    "<channel|>": USER_DEFINED,
    "<|turn>": CONTROL,
    "<turn|>": CONTROL,
    "<|image>": CONTROL,
    "<image|>": CONTROL,
    "<|image|>": CONTROL,
    "<|audio|>": CONTROL,
    "<|video|>": CONTROL,
}
PAD, EOS, BOS, UNK = range(4)

SPACE = "\u2581"
CHUNK: Final = re.compile(rf"{SPACE}?[A-Za-z]+|{SPACE}?[^{SPACE}\n]|{SPACE}|\n")
_SPLIT: Final = re.compile("(" + "|".join(re.escape(token) for token in sorted(SPECIAL, key=len, reverse=True)) + ")")
_LETTERS: Final = "".join(chr(code) for code in range(0x21, 0x7F)) + SPACE + "\n\u2014\u2019\u2026"


def chunks(text: str) -> list[str]:
    """Split ordinary text, without control tokens, into what is encoded separately."""
    return CHUNK.findall(text.replace(" ", SPACE))


class Tokenizer:
    """Text to token ids, exactly as llama-server does it.

    Attributes:
        tokens: All tokens by id.
        types: Their types.
        scores: Their scores: the earlier a piece was learnt, the sooner it is joined.
    """

    def __init__(self, pieces: Iterable[str]) -> None:
        learnt = list(pieces)
        self.tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *_LETTERS, *learnt]
        plain = len(_LETTERS) + len(learnt)
        self.types = [*SPECIAL.values(), *[BYTE] * 256, *[NORMAL] * plain]
        self.scores = [*[0.0] * (len(SPECIAL) + 256), *[-1e6] * len(_LETTERS), *(-float(n) for n in range(len(learnt)))]
        self._bytes = len(SPECIAL)
        self._ids = {token: number for number, token in enumerate(self.tokens)}
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for part in _SPLIT.split(text):
            if part in SPECIAL:
                ids.append(self._ids[part])
            else:
                for chunk in chunks(part):
                    ids += self._encode_chunk(chunk)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(self.tokens[number] for number in ids).replace(SPACE, " ")

    def spell(self, text: str) -> list[int]:
        """Encode ordinary text letter by letter, as it may come out of a grammar."""
        return [number for letter in text.replace(" ", SPACE) for number in self._fall_back(letter)]

    def _encode_chunk(self, chunk: str) -> list[int]:
        if (known := self._known.get(chunk)) is not None:
            return known
        symbols = list(chunk)
        while pairs := [
            (self.scores[number], -place)
            for place in range(len(symbols) - 1)
            if (number := self._ids.get(symbols[place] + symbols[place + 1])) is not None
        ]:
            place = -max(pairs)[1]
            symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]
        ids = [number for symbol in symbols for number in self._fall_back(symbol)]
        if len(self._known) < 300_000:
            self._known[chunk] = ids
        return ids

    def _fall_back(self, symbol: str) -> list[int]:
        if (number := self._ids.get(symbol)) is not None:
            return [number]
        return [self._bytes + byte for byte in symbol.replace(SPACE, " ").encode()]


FIRST_LEARNT: Final = len(SPECIAL) + 256 + len(_LETTERS)
"""Where in the vocabulary the learnt pieces begin."""


def learn(weighted: Mapping[str, int], size: int) -> list[str]:
    """Learn `size` pieces by byte-pair encoding.

    Args:
        weighted: Texts without control tokens, and how often each counts.
        size: How many pieces.
    """
    counts: Counter[str] = Counter()
    for text, weight in weighted.items():
        for chunk in chunks(text):
            counts[chunk] += weight
    pairs = _Pairs([(list(chunk), count) for chunk, count in counts.items() if len(chunk) > 1])
    letters = set(_LETTERS)
    pieces: dict[str, None] = {}
    while len(pieces) < size:
        joined = pairs.join_commonest()
        if set(joined) <= letters:
            pieces[joined] = None
    return list(pieces)


class _Pairs:
    """Words in the making, and how often which two of their pieces stand side by side."""

    def __init__(self, words: list[tuple[list[str], int]]) -> None:
        self._words = words
        self._counts: Counter[tuple[str, str]] = Counter()
        self._places: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        for number in range(len(words)):
            self._count(number, 1)

    def _count(self, number: int, sign: int) -> None:
        symbols, count = self._words[number]
        for pair in itertools.pairwise(symbols):
            self._counts[pair] += sign * count
            self._places[pair].add(number)

    def join_commonest(self) -> str:
        first, second = best = max(self._counts, key=lambda pair: (self._counts[pair], pair))
        for number in self._places[best].copy():
            symbols, _ = self._words[number]
            self._count(number, -1)
            place = 0
            while place < len(symbols) - 1:
                if (symbols[place], symbols[place + 1]) == best:
                    symbols[place : place + 2] = [first + second]
                place += 1
            self._count(number, 1)
        del self._counts[best]
        return first + second
