"""From files to a LoadedModel: every weight present, of the right shape, and assigned without a further copy."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from pagedlab.errors import CorruptFile, ModelError, UnsupportedModel
from pagedlab.models.config import ModelConfig
from pagedlab.models.gguf import Array, GGUFFile
from pagedlab.models.llama import LlamaModel
from pagedlab.models.safetensors_folder import SafetensorsFolder, Shape, read_json_object
from pagedlab.models.tokenizer import Tokenizer
from pagedlab.progress import progress_bar
from pagedlab_kernels.cpu.groups import PANEL, Groups


@dataclass(frozen=True)
class LoadedModel:
    name: str
    config: ModelConfig
    model: LlamaModel
    tokenizer: Tokenizer | None  #: None: the model is served token ids


class WeightSource(Protocol):
    """Tensors under the names of LlamaModel's parameters."""

    @property
    def shapes(self) -> Mapping[str, Shape]: ...
    def tensor(self, name: str) -> Tensor: ...
    def groups(self, name: str) -> Groups | None:
        """Of a matrix that is stored in groups, those."""


def load_gguf(
    path: Path,
    *,
    name: str | None = None,
    dtype: torch.dtype = torch.float32,
    keep_groups: bool = False,
    progress: bool = True,
) -> LoadedModel:
    """``keep_groups``: matrices that the file holds in as many bits as ``LlamaModel.to_int4`` gives them stay so."""
    name = name or path.stem
    file = GGUFFile(path)
    config = ModelConfig.from_gguf(file.metadata, tie_word_embeddings="output.weight" not in file.tensors)
    tokenizer = Tokenizer.from_gguf(file.metadata, config) if "tokenizer.ggml.model" in file.metadata else None
    source = _GGUFWeights(file, config)
    model = build_model(config, source, dtype, name=name, keep_groups=keep_groups, progress=progress)
    return LoadedModel(name, config, model, tokenizer)


def load_folder(
    folder: Path, *, name: str | None = None, dtype: torch.dtype = torch.float32, progress: bool = True
) -> LoadedModel:
    """A folder as Hugging Face's ``save_pretrained`` writes it."""
    name = name or folder.resolve().name
    generation = folder / "generation_config.json"
    config = ModelConfig.from_huggingface(
        read_json_object(folder / "config.json"), read_json_object(generation) if generation.is_file() else None
    )
    tokenizer = Tokenizer.from_folder(folder, config) if (folder / "tokenizer.json").is_file() else None
    model = build_model(config, _FolderWeights(SafetensorsFolder(folder)), dtype, name=name, progress=progress)
    return LoadedModel(name, config, model, tokenizer)


def build_model(
    config: ModelConfig,
    source: WeightSource,
    dtype: torch.dtype,
    *,
    name: str,
    keep_groups: bool = False,
    progress: bool = False,
) -> LlamaModel:
    """The model with the weights of ``source``; ModelError if one is missing, misshapen or has no place in it."""
    with torch.device("meta"):  # shapes without memory
        model = LlamaModel(config)
    expected = {key: tuple(parameter.shape) for key, parameter in model.named_parameters()}
    _check_shapes(expected, source.shapes, config)
    linears = {f"{linear.name}.weight": linear for linear in model.linears()} if keep_groups else {}
    tensors = {}
    with progress_bar(f"Loading {name}", sum(map(math.prod, expected.values())), show=progress) as advance:
        for key, shape in expected.items():
            groups = source.groups(key) if key in linears and shape[0] % PANEL == 0 else None
            if groups is not None and groups.bits <= linears[key].group_bits:
                linears[key].keep_groups(groups)
            else:
                tensors[key] = source.tensor(key).to(dtype)
            advance(math.prod(shape))
    model.load_state_dict(tensors, assign=True, strict=False)  # each is one of them, or in groups
    return model


def _check_shapes(expected: Mapping[str, Shape], found: Mapping[str, Shape], config: ModelConfig) -> None:
    for key, shape in expected.items():
        if key not in found:
            raise ModelError(f"the weights of {key} are missing; {len(found)} tensors are there")
        if found[key] != shape:
            raise CorruptFile(f"the weights of {key} have shape {list(found[key])}; {list(shape)} is expected")
    for key in found.keys() - expected.keys():
        # A tied head may be stored twice; old checkpoints keep RoPE's angles, which are computed here.
        if not (key.endswith("rotary_emb.inv_freq") or (key == "lm_head.weight" and config.tie_word_embeddings)):
            raise UnsupportedModel(f"the file holds weights {key}, which this model has no place for")


class _FolderWeights:
    def __init__(self, folder: SafetensorsFolder) -> None:
        self._folder = folder
        self._stored = {_name_from_huggingface(name): name for name in folder.shapes}
        self.shapes = {ours: folder.shapes[stored] for ours, stored in self._stored.items()}

    def tensor(self, name: str) -> Tensor:
        return self._folder.tensor(self._stored[name])

    def groups(self, name: str) -> None:
        return None


#: Mixtral's names of what everybody else calls otherwise.
_MIXTRAL_NAMES = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}


def _name_from_huggingface(name: str) -> str:
    """``model.layers.7.block_sparse_moe.experts.5.w1.weight`` -> ``layers.7.mlp.experts.5.gate_proj.weight``."""
    name = name.removeprefix("model.").replace(".block_sparse_moe.", ".mlp.")
    return re.sub(r"(?<=\.)w[123](?=\.weight$)", lambda match: _MIXTRAL_NAMES[match[0]], name)


_GGUF_NAMES = {
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


class _GGUFWeights:
    def __init__(self, file: GGUFFile, config: ModelConfig) -> None:
        self._file, self._config = file, config
        self._stored = {_name_from_gguf(name): name for name in file.tensors}
        self.shapes = {ours: file.tensors[stored].shape for ours, stored in self._stored.items()}

    def tensor(self, name: str) -> Tensor:
        return self._rows(name, self._file.tensor(self._stored[name]))

    def groups(self, name: str) -> Groups | None:
        stored = self._file.groups(self._stored[name])
        if stored is None:
            return None
        codes, scales, least = stored
        return Groups(
            self._rows(name, codes), self._rows(name, scales), None if least is None else self._rows(name, least)
        )

    def _rows(self, name: str, stored: Array) -> Tensor:
        """``[out, …]``, in our order."""
        rows = torch.from_numpy(stored)
        if name.endswith("q_proj.weight"):
            return _halves_together(rows, self._config.num_heads)
        if name.endswith("k_proj.weight"):
            return _halves_together(rows, self._config.num_kv_heads)
        return rows


def _name_from_gguf(name: str) -> str:
    """``blk.7.attn_q.weight`` -> ``layers.7.self_attn.q_proj.weight``; an unknown name stays as it is."""
    match = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.weight", name)
    if match is None or match[2] not in _GGUF_NAMES:
        return name
    layer = "" if match[1] is None else f"layers.{match[1]}."
    return f"{layer}{_GGUF_NAMES[match[2]]}.weight"


def _halves_together(rows: Tensor, num_heads: int) -> Tensor:
    """Undo the row order of llama.cpp, whose RoPE pairs neighbours: 0, D/2, 1, D/2 + 1 … -> 0, 1, … D - 1."""
    pairs = rows.unflatten(0, (num_heads, -1, 2))  # [H, D / 2, 2, in]
    return pairs.transpose(1, 2).reshape(rows.shape)
