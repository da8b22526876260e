"""Reads what a GGUF model file says about itself, and never its tensors.

The format is described in https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; the limits that
llama.cpp puts on it are those of `gguf_init_from_reader` in ggml/src/gguf.cpp (as in xllamacpp 2026.10.11549).

What can be wrong with a model file:

    ModelFileError
    ├── ModelUnreadableError    not there, a directory, no permission, a failing disk
    ├── NotAModelError          something else: a web page, a Git LFS pointer, a safetensors file
    ├── UnsupportedModelError   a GGUF that llama.cpp does not load as it is
    ├── TruncatedModelError     the end is missing
    └── CorruptModelError       the bytes contradict themselves, or their checksum
"""

from __future__ import annotations

import math
import os
import re
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias

from rich.filesize import decimal as human_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MAGIC = b"GGUF"
SUPPORTED_VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32  # bytes
MAX_DIMENSIONS = 4  # GGML_MAX_DIMS

# The file decides none of these: a hostile header must cost neither memory nor time. Real ones are far
# below: some 15 MB with a vocabulary of 262,144, some 50 keys, and a few thousand tensors.
MAX_HEADER_BYTES = 64 * 1024 * 1024
MAX_ENTRIES = 65_536  # keys, and tensors
MAX_TUPLE_LENGTH = 4096  # longer arrays belong to the tokenizer, and nobody here asks for them

_READ_BYTES = 4 * 1024 * 1024
_LENGTH = struct.Struct("<Q")
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: ("uint8", "B"),
    1: ("int8", "b"),
    2: ("uint16", "H"),
    3: ("int16", "h"),
    4: ("uint32", "I"),
    5: ("int32", "i"),
    6: ("float32", "f"),
    7: ("bool", "?"),
    10: ("uint64", "Q"),
    11: ("int64", "q"),
    12: ("float64", "d"),
}


class GgmlType(NamedTuple):
    """How a tensor type lays out its elements: in blocks of so many elements, each so many bytes."""

    name: str
    block_elements: int
    block_bytes: int


# GGML_QUANT_SIZES in llama.cpp's gguf-py/gguf/constants.py (as in xllamacpp 2026.10.11549). Numbers missing
# here were given to types that GGUF files may no longer hold.
GGML_TYPES: Mapping[int, GgmlType] = MappingProxyType(
    {
        0: GgmlType("F32", 1, 4),
        1: GgmlType("F16", 1, 2),
        2: GgmlType("Q4_0", 32, 18),
        3: GgmlType("Q4_1", 32, 20),
        6: GgmlType("Q5_0", 32, 22),
        7: GgmlType("Q5_1", 32, 24),
        8: GgmlType("Q8_0", 32, 34),
        9: GgmlType("Q8_1", 32, 36),
        10: GgmlType("Q2_K", 256, 84),
        11: GgmlType("Q3_K", 256, 110),
        12: GgmlType("Q4_K", 256, 144),
        13: GgmlType("Q5_K", 256, 176),
        14: GgmlType("Q6_K", 256, 210),
        15: GgmlType("Q8_K", 256, 292),
        16: GgmlType("IQ2_XXS", 256, 66),
        17: GgmlType("IQ2_XS", 256, 74),
        18: GgmlType("IQ3_XXS", 256, 98),
        19: GgmlType("IQ1_S", 256, 50),
        20: GgmlType("IQ4_NL", 32, 18),
        21: GgmlType("IQ3_S", 256, 110),
        22: GgmlType("IQ2_S", 256, 82),
        23: GgmlType("IQ4_XS", 256, 136),
        24: GgmlType("I8", 1, 1),
        25: GgmlType("I16", 1, 2),
        26: GgmlType("I32", 1, 4),
        27: GgmlType("I64", 1, 8),
        28: GgmlType("F64", 1, 8),
        29: GgmlType("IQ1_M", 256, 56),
        30: GgmlType("BF16", 1, 2),
        34: GgmlType("TQ1_0", 256, 54),
        35: GgmlType("TQ2_0", 256, 66),
        39: GgmlType("MXFP4", 32, 17),
        40: GgmlType("NVFP4", 64, 36),
        41: GgmlType("Q1_0", 128, 18),
        42: GgmlType("Q2_0", 64, 18),
    }
)

# What people have in their hands when it is not a model, in the order of how often it happens.
_LOOKALIKES = (
    (
        rb"version https://git-lfs",
        "is a Git LFS pointer and not the model itself; run `git lfs pull` in its repository",
    ),
    (
        rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype html|html|head)",
        "is an HTML page and not a model; download the file itself, not the page about it",
    ),
    (
        rb"(?s).{6}\0\0\{",
        "is a safetensors file and not a GGUF; download a GGUF of this model, or convert it",
    ),
    (
        rb"PK\x03\x04",
        "is a ZIP archive, as PyTorch writes them, and not a GGUF; download a GGUF of this model",
    ),
    (
        rb"\x80[\x02-\x05]",
        "is a Python pickle, as PyTorch writes them, and not a GGUF; download a GGUF of this model",
    ),
)
_LOOK_BYTES = 256


class ModelFileError(Exception):
    """A model file that cannot be used; the text is one sentence, and says what to do.

    Attributes:
        path: The file.
        problem: What is wrong with it, as the sentence goes on after the path.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path} {self.problem}."


class ModelUnreadableError(ModelFileError):
    """The operating system does not give us the file."""


class NotAModelError(ModelFileError):
    """The file is there, and is something else than a GGUF."""


class UnsupportedModelError(ModelFileError):
    """The file is a GGUF, and llama.cpp does not load it as it is."""


class TruncatedModelError(ModelFileError):
    """The end of the file is missing, as after a download that broke off."""


class CorruptModelError(ModelFileError):
    """The file's bytes contradict themselves, or their checksum."""


@dataclass(frozen=True, slots=True)
class GgufArray:
    """An array that was stepped over, because it is long or holds strings.

    Attributes:
        element_type: The format's name for it, such as `string` or `float32`.
        length: How many elements it has.
    """

    element_type: str
    length: int


Number: TypeAlias = bool | int | float
Value: TypeAlias = str | Number | tuple[Number, ...] | GgufArray


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies, and how.

    Attributes:
        name: Such as `blk.0.attn_q.weight`.
        shape: The innermost dimension (the row's length) first, as ggml counts them.
        type: Such as `Q4_K`; `type 99` if `GGML_TYPES` does not know it.
        offset: In bytes from the header's `data_offset`.
        n_bytes: The size of the data; `None` if the type is not known.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    n_bytes: int | None


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """All that a model file says about itself.

    Attributes:
        path: The file.
        version: Of the format: 2 or 3.
        metadata: Numeric arrays of at most `MAX_TUPLE_LENGTH` elements are tuples, others a `GgufArray`.
        tensors: In the order of the file.
        alignment: Of each tensor's data, in bytes.
        data_offset: Where the first tensor's data begins, in bytes from the start of the file.
        file_size: In bytes.
    """

    path: Path
    version: int
    metadata: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]
    alignment: int
    data_offset: int
    file_size: int

    @property
    def expected_size(self) -> int:
        """Where the last tensor's data ends, in bytes: a smaller file is truncated."""
        return self.data_offset + max((tensor.offset + (tensor.n_bytes or 0) for tensor in self.tensors), default=0)

    @property
    def architecture(self) -> str:
        """Such as `llama` or `gemma4`, and the prefix of the model's own keys; empty if it is not given."""
        return self._text("general.architecture") or ""

    @property
    def name(self) -> str | None:
        """The model's name as its makers wrote it."""
        return self._text("general.name")

    @property
    def context_length(self) -> int | None:
        """How many tokens of context the model was trained for."""
        return _integer(self.hyperparameter("context_length"))

    @property
    def chat_template(self) -> str | None:
        """The Jinja template that turns messages into a prompt."""
        return self._text("tokenizer.chat_template")

    @property
    def split_count(self) -> int:
        """Over how many files the model is split: 1 for almost every model."""
        return max(1, _integer(self.metadata.get("split.count")) or 1)

    @property
    def split_index(self) -> int:
        """Which of the split files this is, counted from 0."""
        return _integer(self.metadata.get("split.no")) or 0

    def hyperparameter(self, name: str) -> Value | None:
        """Return a value that the architecture defines, such as `block_count`, or `None`."""
        return self.metadata.get(f"{self.architecture}.{name}")

    def _text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None


def read_header(path: Path) -> GgufHeader:
    """Read a model file's header, and check that the data it announces is there.

    Takes some 0.2 s for a vocabulary of 262,144 tokens, and reads at most 4 MiB beyond the header.

    Raises:
        ModelFileError: One of its subclasses, which says what is wrong and what to do.
    """
    with open_model(path) as file:
        reader = _Reader(path, file)
        version = _read_version(reader)
        tensor_count, key_count = reader.unpack("<QQ")
        metadata = _read_metadata(reader, key_count)
        tensors = _read_tensors(reader, tensor_count)
    alignment = _alignment(reader, metadata)
    padding = -reader.position % alignment if tensors else 0
    header = GgufHeader(
        path=path,
        version=version,
        metadata=MappingProxyType(metadata),
        tensors=tensors,
        alignment=alignment,
        data_offset=reader.position + padding,
        file_size=reader.file_size,
    )
    _check_size(header)
    return header


@contextmanager
def open_model(path: Path) -> Iterator[BinaryIO]:
    """Open a model file; whatever the operating system objects to becomes a `ModelFileError`.

    Raises:
        ModelUnreadableError: If the file cannot be opened, or a read from it fails.
    """
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise ModelUnreadableError(path, "does not exist; check the path") from error
    except IsADirectoryError as error:
        raise ModelUnreadableError(path, "is a directory; give the path of a .gguf file in it") from error
    except PermissionError as error:
        problem = "may not be read by this user; change its permissions, or those of its directory"
        raise ModelUnreadableError(path, problem) from error
    except OSError as error:
        problem = f"cannot be read ({error.strerror}); check the path and the disk"
        raise ModelUnreadableError(path, problem) from error


class _Reader:
    """Steps through a header, value by value, with no more of the file in memory than that takes.

    Not a memory map: if the file shrinks or its disk fails, that would end the process with SIGBUS.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file_size = os.fstat(file.fileno()).st_size
        self.position = 0
        self._file = file
        self._buffer = bytearray()

    def look(self, size: int) -> bytes:
        """Return the next bytes, at most `size` of them, and stay in place."""
        self._require(min(self.position + size, self.file_size))
        return bytes(self._buffer[self.position : self.position + size])

    def unpack(self, layout: str) -> tuple[Any, ...]:
        start = self._step(struct.calcsize(layout))
        return struct.unpack_from(layout, self._buffer, start)

    def string(self) -> str:
        (length,) = self.unpack("<Q")
        start = self._step(length)
        # llama.cpp passes bytes through; a name in a wrong encoding is no reason to refuse a model.
        return self._buffer[start : self.position].decode(errors="replace")

    def skip_strings(self, count: int) -> None:
        """Step over strings without making any: a vocabulary and its merges have 780,000 of them."""
        position = self.position
        ready = self._require(position + count * _LENGTH.size)
        for _ in range(count):
            if position + _LENGTH.size > ready:
                ready = self._require(position + _LENGTH.size)
            position += _LENGTH.size + _LENGTH.unpack_from(self._buffer, position)[0]
        self._step(position - self.position)

    def skip(self, size: int) -> None:
        self._step(size)

    def damaged(self, detail: str) -> CorruptModelError:
        # The detail quotes the file's own names, which may be megabytes of anything.
        return CorruptModelError(self.path, f"has a damaged header ({detail:.200}); download it again")

    def _step(self, size: int) -> int:
        start = self.position
        self._require(start + size)
        self.position = start + size
        return start

    def _require(self, end: int) -> int:
        """Have the file up to `end` in the buffer, and return how far it reaches."""
        if end > len(self._buffer):
            if end > MAX_HEADER_BYTES:
                raise self.damaged(f"it claims to be longer than {human_size(MAX_HEADER_BYTES)}")
            self._buffer += self._file.read(max(end - len(self._buffer), _READ_BYTES))
        if end > len(self._buffer):
            there = human_size(self.file_size)
            problem = f"is truncated: it ends after {there}, inside its header; download it again"
            raise TruncatedModelError(self.path, problem)
        return len(self._buffer)


def _read_version(reader: _Reader) -> int:
    if reader.file_size == 0:
        raise TruncatedModelError(reader.path, "is empty; download it again")
    start = reader.look(_LOOK_BYTES)
    if not start.startswith(MAGIC[: len(start)]):
        raise NotAModelError(reader.path, _what_it_is(start))
    _, version = reader.unpack("<4sI")
    if int.from_bytes(version.to_bytes(4, "little"), "big") in SUPPORTED_VERSIONS:
        problem = "is a big-endian GGUF, for another kind of processor; download the little-endian one"
        raise UnsupportedModelError(reader.path, problem)
    if version not in SUPPORTED_VERSIONS:
        problem = f"is GGUF version {version}, and only 2 and 3 can be read; download another conversion"
        raise UnsupportedModelError(reader.path, problem)
    return int(version)


def _what_it_is(start: bytes) -> str:
    for pattern, problem in _LOOKALIKES:
        if re.match(pattern, start):
            return problem
    return f"is not a GGUF file (it begins with {start[:16]!r}); download a GGUF of this model"


def _read_metadata(reader: _Reader, count: int) -> dict[str, Value]:
    _check_count(reader, count, "keys")
    metadata: dict[str, Value] = {}
    for _ in range(count):
        key = reader.string()
        if key in metadata:
            raise reader.damaged(f"the key {key!r} is there twice")
        metadata[key] = _read_value(reader, key)
    return metadata


def _read_value(reader: _Reader, key: str) -> Value:
    (kind,) = reader.unpack("<I")
    if kind == _STRING:
        return reader.string()
    if kind == _ARRAY:
        return _read_array(reader, key)
    value: Number = reader.unpack("<" + _scalar(reader, kind, key)[1])[0]
    return value


def _read_array(reader: _Reader, key: str) -> Value:
    kind, length = reader.unpack("<IQ")
    if kind == _STRING:
        reader.skip_strings(length)
        return GgufArray("string", length)
    name, code = _scalar(reader, kind, key)
    if length <= MAX_TUPLE_LENGTH:
        return reader.unpack(f"<{length}{code}")
    reader.skip(length * struct.calcsize(code))
    return GgufArray(name, length)


def _scalar(reader: _Reader, kind: int, key: str) -> tuple[str, str]:
    # An array of arrays comes here too: no model has one, and llama.cpp refuses it.
    if kind not in _SCALARS:
        raise reader.damaged(f"{key!r} has a value of type {kind}")
    return _SCALARS[kind]


def _read_tensors(reader: _Reader, count: int) -> tuple[TensorInfo, ...]:
    _check_count(reader, count, "tensors")
    return tuple(_read_tensor(reader) for _ in range(count))


def _read_tensor(reader: _Reader) -> TensorInfo:
    name = reader.string()
    (n_dimensions,) = reader.unpack("<I")
    if n_dimensions > MAX_DIMENSIONS:
        raise reader.damaged(f"tensor {name!r} has {n_dimensions} dimensions")
    shape = reader.unpack(f"<{n_dimensions}Q")
    number, offset = reader.unpack("<IQ")
    if number not in GGML_TYPES:
        return TensorInfo(name, shape, f"type {number}", offset, None)
    kind = GGML_TYPES[number]
    row = shape[0] if shape else 1
    if row % kind.block_elements:
        raise reader.damaged(f"tensor {name!r} has rows of {row} elements, not whole blocks of {kind.name}")
    n_bytes = math.prod(shape) // kind.block_elements * kind.block_bytes
    return TensorInfo(name, shape, kind.name, offset, n_bytes)


def _check_count(reader: _Reader, count: int, what: str) -> None:
    if count > MAX_ENTRIES:
        raise reader.damaged(f"it claims {count:,} {what}")


def _alignment(reader: _Reader, metadata: Mapping[str, Value]) -> int:
    value = _integer(metadata.get("general.alignment", DEFAULT_ALIGNMENT))
    if value is None or value < 1 or value.bit_count() != 1:
        raise reader.damaged("its alignment is not a power of two")
    return value


def _check_size(header: GgufHeader) -> None:
    have, want = header.file_size, header.expected_size
    if have >= want:
        return
    amount = f"{human_size(have)} of {human_size(want)}"
    if human_size(have) == human_size(want):
        amount = f"{have:,} of {want:,} bytes"
    raise TruncatedModelError(header.path, f"is truncated: {amount} are there; download it again")


def _integer(value: Value | None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
