"""The GGUF reader against the ``gguf`` package, and against headers that lie."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from pagedlab.errors import CorruptFile, ModelError, UnsupportedModel
from pagedlab.models.gguf import GGUFFile
from tests.models.independent import read_by_gguf_package

Formats = gguf.GGMLQuantizationType
STRING, ARRAY, UINT32, UINT8 = 8, 9, 4, 0


@pytest.mark.parametrize("kind", [Formats.F32, Formats.F16, Formats.BF16, Formats.Q4_0, Formats.Q4_1, Formats.Q8_0])
def test_every_format_decodes_to_the_bits_that_the_gguf_package_gives(kind: Formats, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    # More than one piece of 65,536 values, and a last piece that is not whole.
    values = rng.normal(size=(2100, 64)).astype(np.float32) * rng.uniform(0, 100, size=(2100, 1)).astype(np.float32)
    stored = gguf.quantize(values, kind)
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tensor("one", stored, raw_dtype=kind)
    writer.add_tensor("two", stored[:3], raw_dtype=kind)
    finish(writer)
    file, expected = GGUFFile(tmp_path / "model.gguf"), gguf.dequantize(stored, kind)
    assert file.tensors["one"].shape == (2100, 64)
    assert file.tensors["one"].format.name == kind.name
    for name, rows in (("one", 2100), ("two", 3)):
        decoded = file.tensor(name)
        assert decoded.dtype == np.float32
        assert np.array_equal(decoded.view(np.uint32), expected[:rows].view(np.uint32))


def test_every_type_of_metadata_reads_as_it_was_written(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    written: dict[str, object] = {"general.architecture": "llama"}
    for kind, value in {
        "uint8": 255, "int8": -128, "uint16": 2**16 - 1, "int16": -(2**15), "uint32": 2**32 - 1, "int32": -(2**31),
        "uint64": 2**64 - 1, "int64": -(2**63), "float32": 0.5, "float64": 0.1, "bool": True, "string": "ü 🙂",
    }.items():  # fmt: skip
        getattr(writer, f"add_{kind}")(f"a.{kind}", value)
        written[f"a.{kind}"] = value
    for name, values in {"strings": ["", "ö", "x" * 300], "ints": [1, -2, 3], "floats": [0.5, 1.5]}.items():
        writer.add_array(f"a.{name}", values)
        written[f"a.{name}"] = values
    finish(writer)
    assert GGUFFile(tmp_path / "model.gguf").metadata == written


def test_smollm2_reads_as_the_gguf_package_reads_it(smollm2_path: Path) -> None:
    ours, theirs = GGUFFile(smollm2_path), read_by_gguf_package(smollm2_path)
    fields = {name: field for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert ours.metadata == {name: field.contents() for name, field in fields.items()}
    assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        expected = gguf.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(ours.tensor(tensor.name).view(np.uint32), expected.view(np.uint32)), tensor.name


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: str, shape: list[int], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def header(pairs: list[bytes], tensors: list[bytes], data: int = 256, counts: tuple[int, int] | None = None) -> bytes:
    num_tensors, num_pairs = counts or (len(tensors), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", 3, num_tensors, num_pairs) + b"".join(pairs) + b"".join(tensors)
    return head + bytes(-len(head) % 32 + data)


LIES: dict[str, Callable[[], bytes]] = {
    "an empty file": lambda: b"",
    "not a GGUF file": lambda: b"PK\x03\x04" * 100,
    "only a magic number": lambda: b"GGUF",
    "more tensors than can be": lambda: header([], [], counts=(2**60, 0)),
    "more pairs than can be": lambda: header([], [], counts=(0, 2**60)),
    "more pairs than there are": lambda: header([], [], counts=(0, 7)),
    "a string longer than the file": lambda: header([pair("k", STRING, struct.pack("<Q", 2**62))], []),
    "a string that is not UTF-8": lambda: header([pair("k", STRING, struct.pack("<Q", 2) + b"\xff\xfe")], []),
    "a list longer than the file": lambda: header([pair("k", ARRAY, struct.pack("<IQ", UINT8, 2**21))], []),
    "a list longer than any": lambda: header([pair("k", ARRAY, struct.pack("<IQ", UINT32, 2**50))], []),
    "a million empty strings too many": lambda: header(
        [pair("k", ARRAY, struct.pack("<IQ", STRING, 3 * 2**20))], [], data=8 * 3 * 2**20
    ),
    "a list of lists": lambda: header([pair("k", ARRAY, struct.pack("<IQ", ARRAY, 1))], []),
    "a value of unknown type": lambda: header([pair("k", 77, b"")], []),
    "a key twice": lambda: header([pair("k", UINT8, b"1")] * 2, []),
    "an alignment of nothing": lambda: header([pair("general.alignment", UINT32, struct.pack("<I", 0))], []),
    "an alignment of three": lambda: header([pair("general.alignment", UINT32, struct.pack("<I", 3))], []),
    "an alignment of two gigabytes": lambda: header([pair("general.alignment", UINT32, struct.pack("<I", 2**31))], []),
    "an alignment in words": lambda: header([pair("general.alignment", STRING, text("32"))], []),
    "a tensor without dimensions": lambda: header([], [tensor("t", [])]),
    "a tensor with too many dimensions": lambda: header([], [tensor("t", [1] * 5)]),
    "a tensor of no rows": lambda: header([], [tensor("t", [4, 0])]),
    "a tensor whose size overflows 64 bits": lambda: header([], [tensor("t", [2**63, 2**63, 2**63, 2**63])]),
    "a tensor beyond the end": lambda: header([], [tensor("t", [4], offset=256)]),
    "a tensor larger than the file": lambda: header([], [tensor("t", [4, 1000])]),
    "a tensor off its alignment": lambda: header([], [tensor("t", [4], offset=4)]),
    "half a quantised block": lambda: header([], [tensor("t", [16, 2], kind=8)]),
    "two tensors that overlap": lambda: header([], [tensor("t", [32]), tensor("u", [32], offset=96)]),
    "two tensors of one name": lambda: header([], [tensor("t", [8]), tensor("t", [8], offset=32)]),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_header_that_lies_is_refused_before_memory_is_spent_on_it(lie: Callable[[], bytes], tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(lie())
    tracemalloc.start()
    try:
        with pytest.raises(ModelError):
            GGUFFile(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**24


def test_a_header_of_the_same_make_that_does_not_lie_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(header([pair("k", UINT8, b"1")], [tensor("t", [32]), tensor("u", [4, 8], offset=128)]))
    assert {name: info.shape for name, info in GGUFFile(path).tensors.items()} == {"t": (32,), "u": (8, 4)}


@pytest.mark.parametrize("length", [10, 100, 1000, 20_000, -1])
def test_a_truncated_file_is_called_incomplete(length: int, smollm2_path: Path, tmp_path: Path) -> None:
    with smollm2_path.open("rb") as whole:
        beginning = whole.read(2_000_000 if length < 0 else length)
    (tmp_path / "model.gguf").write_bytes(beginning)
    with pytest.raises(CorruptFile, match="incomplete"):
        GGUFFile(tmp_path / "model.gguf")


def test_a_format_that_cannot_be_read_is_named_with_those_that_can(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(header([], [tensor("t", [256], kind=12)]))
    with pytest.raises(UnsupportedModel, match=r"Q4_K tensors; F32, F16, Q4_0, Q4_1, Q8_0, BF16 can be read"):
        GGUFFile(path)


def test_an_old_version_is_unsupported_and_not_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 1, 0, 0))
    with pytest.raises(UnsupportedModel, match="version 1"):
        GGUFFile(path)


def test_a_file_that_is_not_there_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        GGUFFile(tmp_path / "nowhere.gguf")
