"""GGUF: one file with metadata, tokenizer and (quantised) weights, the format of llama.cpp.

Layout: magic, version, counts · key-value pairs · a description of each tensor · padding · the tensors' bytes.
Whatever the header claims is held against the bytes that are there before anything is allocated for it.
Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pagedlab.errors import CorruptFile, ModelError, UnsupportedModel

Array = npt.NDArray[Any]

#: Key-value pairs and array elements that a header may hold: ten times the largest vocabulary known, a second to read.
_MAX_ELEMENTS = 2**21
_MAX_TENSORS = 2**16
_VALUES_AT_ONCE = 2**16
_SCALARS = dict(enumerate("BbHhIif?", 0)) | {10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class TensorFormat:
    """``block_bytes`` bytes hold ``block_size`` values; ``decode`` maps ``[blocks, block_bytes]`` uint8 to float32."""

    name: str
    block_size: int
    block_bytes: int
    decode: Callable[[Array], Array]
    #: of formats in groups: the same -> codes ``[blocks, block_size]`` uint8, scales and least values ``[blocks, 1]``
    #: float16, where value = scale * code + least; None in place of 8-bit codes' least value, which is -128 scales
    groups: Callable[[Array], tuple[Array, Array, Array | None]] | None = None


def _decode_q8_0(blocks: Array) -> Array:
    """A float16 scale, 32 signed bytes: value = scale * q."""
    return _halves(blocks[:, :2]) * blocks[:, 2:].view(np.int8)


def _decode_q4_0(blocks: Array) -> Array:
    """A float16 scale, 32 nibbles: value = scale * (q - 8)."""
    return _halves(blocks[:, :2]) * (_nibbles(blocks[:, 2:]).view(np.int8) - np.int8(8))


def _decode_q4_1(blocks: Array) -> Array:
    """A float16 scale and minimum, 32 nibbles: value = scale * q + minimum."""
    values = _halves(blocks[:, :2]) * _nibbles(blocks[:, 4:])
    values += _halves(blocks[:, 2:4])
    return values


def _groups_q8_0(blocks: Array) -> tuple[Array, Array, None]:
    return blocks[:, 2:] ^ 0x80, _float16(blocks[:, :2]), None


def _groups_q4_0(blocks: Array) -> tuple[Array, Array, Array]:
    scales = _float16(blocks[:, :2])
    return _nibbles(blocks[:, 2:]), scales, np.float16(-8) * scales


def _groups_q4_1(blocks: Array) -> tuple[Array, Array, Array]:
    return _nibbles(blocks[:, 4:]), _float16(blocks[:, :2]), _float16(blocks[:, 2:4])


def _float16(pairs: Array) -> Array:
    """Two bytes a block, ``[blocks, 2]`` -> the float16 in them, ``[blocks, 1]``."""
    return np.ascontiguousarray(pairs).view("<f2")


def _halves(pairs: Array) -> Array:
    """The same as float32."""
    return _float16(pairs).astype(np.float32)


def _nibbles(packed: Array) -> Array:
    """``[blocks, 16]`` bytes -> ``[blocks, 32]``: the low halves of all bytes come before the high halves."""
    return np.concatenate((packed & 0x0F, packed >> 4), axis=1)


def _decode_bf16(raw: Array) -> Array:
    """A bfloat16 is the upper half of a float32."""
    return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)


FORMATS = {
    0: TensorFormat("F32", 1, 4, lambda raw: raw.view("<f4")),
    1: TensorFormat("F16", 1, 2, lambda raw: raw.view("<f2").astype(np.float32)),
    2: TensorFormat("Q4_0", 32, 18, _decode_q4_0, _groups_q4_0),
    3: TensorFormat("Q4_1", 32, 20, _decode_q4_1, _groups_q4_1),
    8: TensorFormat("Q8_0", 32, 34, _decode_q8_0, _groups_q8_0),
    30: TensorFormat("BF16", 1, 2, _decode_bf16),
}
#: Common formats that cannot be read, so that the error can name them.
_OTHER_FORMATS = {6: "Q5_0", 7: "Q5_1", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K"}


@dataclass(frozen=True)
class TensorInfo:
    shape: tuple[int, ...]  #: as torch writes it, [out, in]; the file has the axes the other way round
    format: TensorFormat
    offset: int  #: from the beginning of the file
    nbytes: int


class GGUFFile:
    """``metadata`` and ``tensors`` are read at once; a tensor's bytes are mapped, and decoded when asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata: dict[str, Any] = {}
        self.tensors: dict[str, TensorInfo] = {}
        try:
            with path.open("rb") as file:
                # Private pages, writable but never written back: torch accepts views of them without a copy.
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            raise ModelError(f"{path} cannot be read: {error}") from error
        try:
            self._read_header(_Cursor(self._bytes))
        except CorruptFile as error:
            raise CorruptFile(f"{path.name}: {error}. The file is damaged or incomplete: fetch it again") from None

    def tensor(self, name: str) -> Array:
        """A tensor's values as float32. F32 comes as a view of the mapped file, everything else decoded."""
        info, raw = self.tensors[name], self._blocks(name)
        if info.format is FORMATS[0]:
            return info.format.decode(raw).reshape(info.shape)
        # Piece by piece: what stands between bytes and values stays in the CPU's cache.
        values = np.empty((len(raw), info.format.block_size), np.float32)
        blocks = _VALUES_AT_ONCE // info.format.block_size
        for start in range(0, len(raw), blocks):
            values[start : start + blocks] = info.format.decode(raw[start : start + blocks])
        return values.reshape(info.shape)

    def groups(self, name: str) -> tuple[Array, Array, Array | None] | None:
        """Of a matrix ``[out, in]`` in groups: codes ``[out, in]`` uint8, scales and least values ``[out, in / 32]``
        float16, as the format has them; None of any other."""
        info = self.tensors[name]
        if info.format.groups is None or len(info.shape) != 2:
            return None
        codes, scales, least = info.format.groups(self._blocks(name))
        rows = info.shape[0]
        return codes.reshape(info.shape), scales.reshape(rows, -1), None if least is None else least.reshape(rows, -1)

    def _blocks(self, name: str) -> Array:
        info = self.tensors[name]
        return np.frombuffer(self._bytes, np.uint8, info.nbytes, info.offset).reshape(-1, info.format.block_bytes)

    def _read_header(self, cursor: _Cursor) -> None:
        magic, version, num_tensors, num_pairs = cursor.unpack("<4sIQQ")
        if magic != b"GGUF":
            raise CorruptFile(f"it begins with {magic!r}, not with b'GGUF'")
        if version not in (2, 3):
            raise UnsupportedModel(f"{self.path.name} is GGUF version {version}; versions 2 and 3 can be read")
        if num_tensors > _MAX_TENSORS:
            raise CorruptFile(f"it claims {num_tensors} tensors; {_MAX_TENSORS} is the most that is believed")
        cursor.spend_elements(num_pairs)
        for _ in range(num_pairs):
            key = cursor.string()
            if key in self.metadata:
                raise CorruptFile(f"key {key!r} stands twice")
            self.metadata[key] = cursor.value(cursor.unpack("<I")[0], key)
        alignment = self.metadata.get("general.alignment", 32)
        if not (type(alignment) is int and 8 <= alignment <= 2**16 and alignment.bit_count() == 1):
            raise CorruptFile(
                f"tensors are aligned to {alignment!r} bytes; a power of two from 8 to {2**16} is expected"
            )
        described = [(cursor.string(), *self._read_tensor_info(cursor)) for _ in range(num_tensors)]
        start = -(-cursor.position // alignment) * alignment
        for name, shape, format, offset in described:
            if name in self.tensors:
                raise CorruptFile(f"tensor {name!r} stands twice")
            nbytes = math.prod(shape) // format.block_size * format.block_bytes
            if offset % alignment or start + offset + nbytes > len(self._bytes):
                raise CorruptFile(
                    f"tensor {name!r} takes {nbytes} bytes from byte {start + offset} on; "
                    f"the file has {len(self._bytes)}, and tensors are aligned to {alignment}"
                )
            self.tensors[name] = TensorInfo(shape, format, start + offset, nbytes)
        by_offset = sorted(self.tensors.items(), key=lambda item: item[1].offset)
        for (name, info), (next_name, next_info) in pairwise(by_offset):
            if info.offset + info.nbytes > next_info.offset:
                raise CorruptFile(f"tensors {name!r} and {next_name!r} overlap")

    def _read_tensor_info(self, cursor: _Cursor) -> tuple[tuple[int, ...], TensorFormat, int]:
        (num_dims,) = cursor.unpack("<I")
        if not 1 <= num_dims <= 4:
            raise CorruptFile(f"a tensor has {num_dims} dimensions; 1 to 4 are possible")
        *shape, type_number, offset = cursor.unpack(f"<{num_dims}QIQ")
        format = FORMATS.get(type_number)
        if format is None:
            raise UnsupportedModel(
                f"{self.path.name} holds {_OTHER_FORMATS.get(type_number, f'type {type_number}')} tensors; "
                f"{', '.join(format.name for format in FORMATS.values())} can be read. "
                "Convert the model to one of these, for example with llama-quantize."
            )
        if not all(shape) or shape[0] % format.block_size:
            raise CorruptFile(
                f"a {format.name} tensor has shape {shape}; rows of {format.block_size} values are expected"
            )
        return tuple(reversed(shape)), format, offset


class _Cursor:
    """Reads a header from its beginning; never past the end of the file, nor more elements than are believed."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._elements = 0
        self.position = 0

    def unpack(self, layout: str) -> tuple[Any, ...]:
        start = self._advance(struct.calcsize(layout))
        return struct.unpack_from(layout, self._data, start)

    def string(self) -> str:
        (length,) = self.unpack("<Q")
        start = self._advance(length)
        try:
            return self._data[start : self.position].decode()
        except UnicodeDecodeError:
            raise CorruptFile(f"the string at byte {start} is not UTF-8") from None

    def value(self, type_number: int, key: str) -> Any:
        """A number, a truth value, a string, or a list of these."""
        if type_number == _STRING:
            return self.string()
        if type_number in _SCALARS:
            return self.unpack("<" + _SCALARS[type_number])[0]
        if type_number != _ARRAY:
            raise CorruptFile(f"the value of {key!r} has the unknown type {type_number}")
        element_type, count = self.unpack("<IQ")
        self.spend_elements(count)
        if element_type == _STRING:
            return [self.string() for _ in range(count)]
        if element_type in _SCALARS:
            return list(self.unpack(f"<{count}{_SCALARS[element_type]}"))
        raise CorruptFile(f"{key!r} is a list of values of the unknown type {element_type}")

    def spend_elements(self, count: int) -> None:
        self._elements += count
        if self._elements > _MAX_ELEMENTS:
            raise CorruptFile(
                f"it claims {self._elements} values of metadata; {_MAX_ELEMENTS} is the most that is believed"
            )

    def _advance(self, size: int) -> int:
        """Step over ``size`` bytes and return where they start."""
        start = self.position
        if size > len(self._data) - start:
            raise CorruptFile(f"{size} bytes are claimed at byte {start}; the file has {len(self._data)}")
        self.position = start + size
        return start
