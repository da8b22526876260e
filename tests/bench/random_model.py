"""A model with random weights: the worst there can be. Its tokenizer and its chat template are another model's.

The file is GGUF with weights in Q8_0: blocks of 32 signed bytes behind the scale that they share. The scales and the
one-dimensional tensors (norms) stay, so that the numbers keep their size; every byte is drawn.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

ALIGNMENT: Final = 32
SCALE_BYTES: Final = 2
BLOCK_WEIGHTS: Final = 32
BLOCK_BYTES: Final = SCALE_BYTES + BLOCK_WEIGHTS
Q8_0: Final = 8
TEXT: Final = 8
ARRAY: Final = 9
SCALARS: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value by its type."""


class Tensor(NamedTuple):
    """Where a tensor's data lies in the file, in bytes, and of what type it is."""

    kind: int
    weights: int
    offset: int


class Header:
    """Reads what stands before the data.

    Attributes:
        tensors: The tensors, in the file's order.
    """

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data
        self._at = 4  # behind "GGUF"
        _version, tensors, values = self._take("<IQQ")
        for _ in range(values):
            self._skip_text()
            self._skip_value(*self._take("<I"))
        found = [self._tensor() for _ in range(tensors)]
        start = -(-self._at // ALIGNMENT) * ALIGNMENT
        self.tensors = [tensor._replace(offset=tensor.offset + start) for tensor in found]

    def _take(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return found

    def _skip_text(self) -> None:
        (length,) = self._take("<Q")
        self._at += length

    def _skip_value(self, kind: int) -> None:
        if kind == TEXT:
            self._skip_text()
        elif kind == ARRAY:
            of, length = self._take("<IQ")
            for _ in range(length):
                self._skip_value(of)
        else:
            self._at += SCALARS[kind]

    def _tensor(self) -> Tensor:
        self._skip_text()
        (dimensions,) = self._take("<I")
        shape = self._take(f"<{dimensions}Q")
        kind, offset = self._take("<IQ")
        return Tensor(kind, math.prod(shape), offset)


def make_random_model(source: Path, target: Path, seed: int = 1) -> None:
    """Write a model like `source` whose weights are random. The same seed gives the same file."""
    data = bytearray(source.read_bytes())
    random = Random(seed)
    for tensor in Header(data).tensors:
        if tensor.kind == Q8_0:
            for i in range(tensor.weights // BLOCK_WEIGHTS):
                block = tensor.offset + i * BLOCK_BYTES
                data[block + SCALE_BYTES : block + BLOCK_BYTES] = random.randbytes(BLOCK_WEIGHTS)
    target.write_bytes(data)
