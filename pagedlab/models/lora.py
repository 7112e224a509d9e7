"""LoRA: one base model, many adapters, and in one step each row with its own.

An adapter adds to a projection W the product of two thin matrices, ``W x + scaling * B (A x)`` with ``A: [r, in]`` and
``B: [out, r]`` (arXiv:2106.09685). The wide product is the same for everybody, so rows of all adapters share it; only
the thin ones are computed adapter by adapter, over its own rows (Punica, arXiv:2310.18547; S-LoRA, 2311.03285).
Keys and values come out different under each adapter: pages that one has filled are no prefix for another.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pagedlab.errors import CorruptFile, ModelError, UnsupportedModel
from pagedlab.models.config import ModelConfig
from pagedlab.models.llama import LlamaModel
from pagedlab.models.numbers import as_float, check_count, check_number, require
from pagedlab.models.safetensors_folder import SafetensorsFiles, Shape, read_json_object


@dataclass(frozen=True, eq=False)
class LoraAdapter:
    name: str
    rank: int
    #: projection, by its name in the model -> ``A: [r, in]`` and ``scaling * B: [out, r]``
    factors: Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class LoraBatch:
    """Which rows of a step belong to which adapter. A row that none of them names is the base model's alone."""

    groups: tuple[tuple[LoraAdapter, Tensor], ...]  #: an adapter and its rows, ``[n]`` int64

    @classmethod
    def of_chunks(
        cls, chunks: Iterable[tuple[LoraAdapter | None, int]], device: torch.device | str = "cpu"
    ) -> LoraBatch | None:
        """From the step's chunks in their order: each one's adapter and number of rows. None: no row has an adapter."""
        rows: dict[LoraAdapter, list[int]] = {}
        start = 0
        for adapter, num_rows in chunks:
            if adapter is not None:
                rows.setdefault(adapter, []).extend(range(start, start + num_rows))
            start += num_rows
        groups = [(adapter, torch.tensor(mine, device=device)) for adapter, mine in rows.items()]
        return cls(tuple(groups)) if groups else None

    def add_to(self, product: Tensor, x: Tensor, projection: str) -> Tensor:
        """``product: [T, out]``, the base's of ``x: [T, in]``, with what each adapter adds to its rows, in place."""
        for adapter, rows in self.groups:
            if projection in adapter.factors:
                a, b = adapter.factors[projection]
                product.index_add_(0, rows, F.linear(F.linear(x[rows], a), b))
        return product


#: Settings that have done their work when training ends.
_OF_TRAINING = {
    "auto_mapping", "base_model_name_or_path", "corda_config", "eva_config", "inference_mode", "layers_pattern",
    "loftq_config", "lora_dropout", "megatron_core", "peft_version", "qalora_group_size", "revision", "runtime_config",
    "task_type",
}  # fmt: skip
_READ = {"peft_type", "r", "lora_alpha", "use_rslora", "target_modules", "layers_to_transform", "init_lora_weights"}
#: Other initialisations take something out of the base's weights, and the adapter fits only what is left of them.
_INITIALISATIONS = [True, False, "gaussian", "eva", "orthogonal"]
#: Only plain projections of whole rows: no embedding, no head, no expert.
_ADAPTABLE = r"layers\.(\d+)\.(?:self_attn|mlp)\.\w+_proj"


def load_adapter(
    folder: Path, config: ModelConfig, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> LoraAdapter:
    """An adapter as PEFT writes it: ``adapter_config.json`` and ``adapter_model.safetensors``.

    Raises UnsupportedModel for anything that is more than LoRA on the projections of a layer (DoRA, biases, trained
    embeddings …), CorruptFile for numbers and shapes that cannot be, ModelError for what is not there.
    Source: https://huggingface.co/docs/peft/developer_guides/checkpoint
    """
    settings = read_json_object(folder / "adapter_config.json")
    _refuse_unknown(settings)
    rank = check_count("LoRA rank r", require(settings, "r"), 2**12)
    alpha = check_number("lora_alpha", as_float(require(settings, "lora_alpha")))
    scaling = alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        raise ModelError(f"{folder} holds no {path.name}; weights in other files are not read")
    files = SafetensorsFiles([path])
    shapes = _adaptable(config)
    named = _projections_named(files.shapes)
    _check_targets(settings, named, shapes)
    factors = {}
    for projection, names in named.items():
        out_features, in_features = shapes[projection]
        pair = []
        for letter, shape in (("A", (rank, in_features)), ("B", (out_features, rank))):
            if letter not in names:
                raise CorruptFile(f"the adapter has no lora_{letter} for {projection}")
            if files.shapes[names[letter]] != shape:
                raise CorruptFile(
                    f"lora_{letter} of {projection} has shape {list(files.shapes[names[letter]])}; "
                    f"{list(shape)} is expected"
                )
            pair.append(files.tensor(names[letter]).to(dtype=dtype, device=device))
        factors[projection] = (pair[0], pair[1] * scaling)
    return LoraAdapter(folder.resolve().name, rank, factors)


def _refuse_unknown(settings: Mapping[str, Any]) -> None:
    if settings.get("peft_type") != "LORA":
        raise UnsupportedModel(f"the adapter's peft_type is {settings.get('peft_type')!r}; pagedlab reads 'LORA'")
    if settings.get("init_lora_weights", True) not in _INITIALISATIONS:
        raise UnsupportedModel(
            f"the adapter's init_lora_weights is {settings['init_lora_weights']!r}, which changes the base model too; "
            "save it with PEFT's path_initial_model_for_weight_conversion first"
        )
    for name in sorted(settings.keys() - _OF_TRAINING - _READ):
        if settings[name] not in (None, False, "none", [], {}):
            raise UnsupportedModel(f"the adapter's {name} is {settings[name]!r:.200}; pagedlab does not run that")


def _adaptable(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """The projections that an adapter can add to, each with its ``(out, in)``."""
    with torch.device("meta"):
        parameters = dict(LlamaModel(config).named_parameters())
    weights = {name.removesuffix(".weight"): weight.shape for name, weight in parameters.items()}
    return {name: (shape[0], shape[1]) for name, shape in weights.items() if re.fullmatch(_ADAPTABLE, name)}


def _projections_named(stored: Mapping[str, Shape]) -> dict[str, dict[str, str]]:
    """``base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`` -> ``layers.0.self_attn.q_proj``, A."""
    named: dict[str, dict[str, str]] = {}
    for name in stored:
        match = re.fullmatch(r"base_model\.model\.(?:model\.)?(.+)\.lora_([AB])\.weight", name)
        if match is None:
            raise UnsupportedModel(f"the adapter holds weights {name}, which plain LoRA has no place for")
        named.setdefault(match[1], {})[match[2]] = name
    return named


def _check_targets(settings: Mapping[str, Any], named: Iterable[str], shapes: Iterable[str]) -> None:
    """Whether the projections in the file are those that ``target_modules`` names, and all of them."""
    found, known = set(named), set(shapes)
    if unknown := found - known:
        raise UnsupportedModel(f"the adapter changes {min(unknown)}; pagedlab adapts the projections of layers only")
    targets, layers = require(settings, "target_modules"), settings.get("layers_to_transform")
    if isinstance(targets, str):  # a regular expression; the file itself says what it matched
        return
    if not (isinstance(targets, list) and all(isinstance(target, str) for target in targets)):
        raise CorruptFile(f"the adapter's target_modules are {targets!r:.200}; a list of names is expected")
    expected = set()
    for target in targets:
        hits = {name for name in known if f".model.{name}".endswith("." + target)}
        if not hits:
            raise UnsupportedModel(f"the adapter's target_modules name {target!r}; this model has no such projection")
        expected |= hits
    if layers is not None:
        chosen = layers if isinstance(layers, list) else [layers]
        expected = {name for name in expected if int(name.split(".")[1]) in chosen}
    if expected != found:
        name = min(expected ^ found)
        raise CorruptFile(f"target_modules {'name' if name in expected else 'do not name'} {name}; the file disagrees")
