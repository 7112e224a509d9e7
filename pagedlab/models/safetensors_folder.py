"""SafetensorsFiles: named tensors in one file or in several, such as the shards of a Hugging Face model folder.

A .safetensors file is the length of its header (8 bytes), the header (JSON), and the tensors' bytes. The safetensors
package maps and reads it; the header is checked here first, so that damage is named and nothing large is believed.
Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from pagedlab.errors import CorruptFile, ModelError, UnsupportedModel

#: Some 60,000 tensors take as much; a large mixture of experts has 36,000.
_MAX_JSON_BYTES = 2**23
_ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}

Shape = tuple[int, ...]


class SafetensorsFiles:
    """``shapes`` of all tensors, under the names in the files; a tensor is read when asked for."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.shapes: dict[str, Shape] = {}
        self._files: dict[str, Any] = {}
        for path in paths:
            shapes = read_header(path)
            if twice := shapes.keys() & self.shapes.keys():
                raise CorruptFile(f"tensor {min(twice)!r} stands in two files of {path.parent}")
            self.shapes |= shapes
            try:
                self._files |= dict.fromkeys(shapes, safe_open(path, framework="pt"))
            except SafetensorError as error:
                raise CorruptFile(f"{path.name} is damaged: {error}. Fetch it again") from error

    def tensor(self, name: str) -> Tensor:
        """A view of the mapped file, in the type that it stores."""
        tensor: Tensor = self._files[name].get_tensor(name)
        return tensor


class SafetensorsFolder(SafetensorsFiles):
    """The tensors of a model folder: in ``model.safetensors``, or in the shards that its index names."""

    def __init__(self, folder: Path) -> None:
        index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
        if not index.is_file() and not single.is_file():
            raise ModelError(
                f"{folder} holds neither {single.name} nor {index.name}; weights in other files are not read"
            )
        super().__init__(_files_in_index(index) if index.is_file() else [single])


def read_header(path: Path) -> dict[str, Shape]:
    """The shape of each tensor in one .safetensors file, once all that its header claims has proved possible."""
    try:
        file_size = path.stat().st_size
        with path.open("rb") as file:
            header_size = int.from_bytes(file.read(8), "little")
            if file_size < 8 or header_size > min(_MAX_JSON_BYTES, file_size - 8):
                raise CorruptFile(f"{path.name} claims a header of {header_size} bytes; the file has {file_size}")
            header = parse_json_object(file.read(header_size), path.name)
    except (OSError, ValueError) as error:  # ValueError: a name from an index that no file can have
        raise ModelError(f"{path} cannot be read: {error}") from error
    header.pop("__metadata__", None)
    spans = {name: _span(name, entry, path.name) for name, entry in header.items()}
    for (name, (_, end)), (next_name, (begin, _)) in pairwise(sorted(spans.items(), key=lambda item: item[1])):
        if end > begin:
            raise CorruptFile(f"tensors {name!r} and {next_name!r} overlap in {path.name}")
    needed = max((end for _, end in spans.values()), default=0)
    if needed > file_size - 8 - header_size:
        raise CorruptFile(
            f"{path.name} has {file_size} bytes where its header describes {8 + header_size + needed}: "
            "it is incomplete. Fetch it again"
        )
    return {name: tuple(entry["shape"]) for name, entry in header.items()}


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a small JSON file."""
    try:
        if (size := path.stat().st_size) > _MAX_JSON_BYTES:
            raise CorruptFile(f"{path.name} has {size} bytes; {_MAX_JSON_BYTES} is the most that is believed")
        return parse_json_object(path.read_bytes(), path.name)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error}") from error


def parse_json_object(text: bytes, name: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"{name} holds JSON that cannot be read: {error}") from error
    if not isinstance(parsed, dict):
        raise CorruptFile(f"{name} holds a JSON {type(parsed).__name__}; an object is expected")
    return parsed


def _files_in_index(index: Path) -> list[Path]:
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise CorruptFile(f"{index.name} does not map tensor names to files")
    names = sorted(set(weight_map.values()))
    if outside := [name for name in names if Path(name).name != name]:
        raise CorruptFile(f"{index.name} names {outside[0]!r}, which is not a file beside it")
    return [index.parent / name for name in names]


def _span(name: str, entry: Any, file_name: str) -> tuple[int, int]:
    """Where a tensor's bytes begin and end, counted from the end of the header."""
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
            if dtype not in _ITEM_BYTES:
                raise UnsupportedModel(
                    f"tensor {name!r} of {file_name} is {dtype}; {', '.join(_ITEM_BYTES)} can be read"
                )
            possible = begin >= 0 and all(type(size) is int and size > 0 for size in shape)
            if possible and end - begin == math.prod(shape) * _ITEM_BYTES[dtype]:
                return begin, end
    raise CorruptFile(f"{file_name} describes tensor {name!r} in a way that cannot be: {str(entry)[:200]}")
