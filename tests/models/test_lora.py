"""Adapters applied row by row, against models into whose weights the same adapters were merged."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from pagedlab.errors import CorruptFile, ModelError, UnsupportedModel
from pagedlab.models.config import ModelConfig
from pagedlab.models.llama import LlamaModel
from pagedlab.models.lora import LoraAdapter, LoraBatch, load_adapter
from pagedlab.models.tiny import TINY_CONFIG, random_model
from tests.models.checkpoints import CHECKPOINTS, random_checkpoint
from tests.models.independent import logits_in_chunks

#: As PEFT 0.18 writes it.
PEFT_CONFIG: dict[str, Any] = {
    "alora_invocation_tokens": None, "alpha_pattern": {}, "arrow_config": None, "auto_mapping": None,
    "base_model_name_or_path": "somebody/base", "bias": "none", "corda_config": None, "ensure_weight_tying": False,
    "eva_config": None, "exclude_modules": None, "fan_in_fan_out": False, "inference_mode": True,
    "init_lora_weights": True, "layer_replication": None, "layers_pattern": None, "layers_to_transform": None,
    "loftq_config": {}, "lora_alpha": 16, "lora_bias": False, "lora_dropout": 0.05, "megatron_config": None,
    "megatron_core": "megatron.core", "modules_to_save": None, "peft_type": "LORA", "peft_version": "0.18.0",
    "qalora_group_size": 16, "r": 4, "rank_pattern": {}, "revision": None, "target_modules": ["q_proj", "v_proj"],
    "target_parameters": None, "task_type": "CAUSAL_LM", "trainable_token_indices": None, "use_dora": False,
    "use_qalora": False, "use_rslora": False,
}  # fmt: skip
ALL_PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
Deltas = dict[str, Tensor]


def write_adapter(folder: Path, model: LlamaModel, *, seed: int = 0, **changes: Any) -> Deltas:
    """A random adapter in PEFT's format -> what it adds to each weight, ``scaling * B @ A``."""
    peft = PEFT_CONFIG | changes
    rank, alpha = peft["r"], peft["lora_alpha"]
    scaling = alpha / math.sqrt(rank) if peft["use_rslora"] else alpha / rank
    generator = torch.Generator().manual_seed(seed)
    stored, deltas = {}, {}
    for name, weight in model.state_dict().items():
        projection = name.removesuffix(".weight")
        if ".experts." in name or projection.rsplit(".", 1)[-1] not in peft["target_modules"]:
            continue
        a = torch.randn(rank, weight.shape[1], generator=generator) * weight.shape[1] ** -0.5
        b = torch.randn(weight.shape[0], rank, generator=generator) * 0.3
        stored[f"base_model.model.model.{projection}.lora_A.weight"] = a
        stored[f"base_model.model.model.{projection}.lora_B.weight"] = b
        deltas[name] = scaling * b.double() @ a.double()
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(peft))
    save_file(stored, folder / "adapter_model.safetensors")
    return deltas


def merged(model: LlamaModel, deltas: Deltas) -> LlamaModel:
    twin = copy.deepcopy(model)
    weights = twin.state_dict()
    for name, delta in deltas.items():
        weights[name] += delta.to(weights[name].dtype)
    return twin


BASE = random_model(TINY_CONFIG, dtype=torch.float64)
CHANGES: list[dict[str, Any]] = [
    {},
    {"r": 3, "lora_alpha": 5, "target_modules": ALL_PROJECTIONS, "seed": 1},
    {"r": 8, "use_rslora": True, "target_modules": ["o_proj", "down_proj"], "init_lora_weights": "gaussian", "seed": 2},
]


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[LoraAdapter | None, LlamaModel]]:
    """No adapter and three others, each with the model that it amounts to."""
    folder = tmp_path_factory.mktemp("adapters")
    pairs: list[tuple[LoraAdapter | None, LlamaModel]] = [(None, BASE)]
    for index, changes in enumerate(CHANGES):
        deltas = write_adapter(folder / str(index), BASE, **changes)
        adapter = load_adapter(folder / str(index), TINY_CONFIG, dtype=torch.float64)
        pairs.append((adapter, merged(BASE, deltas)))
    return pairs


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 3)), min_size=1, max_size=5), st.integers(1, 21))
def test_each_sequence_computes_as_if_its_adapter_were_merged_into_the_model(
    adapters: list[tuple[LoraAdapter | None, LlamaModel]], sequences: list[tuple[int, int]], chunk_size: int
) -> None:
    tokens = [torch.arange(7 * index, 7 * index + length).tolist() for index, (length, _) in enumerate(sequences)]
    chosen = [adapters[which] for _, which in sequences]
    steps = [chunk_size] * -(-max(map(len, tokens)) // chunk_size)
    together = logits_in_chunks(BASE, tokens, steps, 4, adapters=[adapter for adapter, _ in chosen])
    for mine, logits, (_, twin) in zip(tokens, together, chosen, strict=True):
        [alone] = logits_in_chunks(twin, [mine], [len(mine)], 16)
        torch.testing.assert_close(logits, alone, atol=2e-6, rtol=0)


def test_rows_without_an_adapter_are_untouched_to_the_bit(
    adapters: list[tuple[LoraAdapter | None, LlamaModel]],
) -> None:
    base = random_model(TINY_CONFIG)  # in float32, where every change of order shows
    _, first, second, _ = (adapter for adapter, _ in adapters)
    narrow = [narrowed(adapter) for adapter in (first, second) if adapter is not None]
    tokens = [list(range(start, start + 12)) for start in (0, 50, 100)]
    plain = logits_in_chunks(base, tokens, [5, 7], 4)
    served = logits_in_chunks(base, tokens, [5, 7], 4, adapters=[narrow[0], None, narrow[1]])
    assert torch.equal(served[1], plain[1])
    assert not any(torch.allclose(served[index], plain[index], atol=0.1) for index in (0, 2))


def narrowed(adapter: LoraAdapter) -> LoraAdapter:
    factors = {name: (a.float(), b.float()) for name, (a, b) in adapter.factors.items()}
    return LoraAdapter(adapter.name, adapter.rank, factors)


@pytest.mark.parametrize("name", ["Llama with biases", "Qwen3", "Gemma 3", "Mixtral"])
def test_every_family_takes_adapters_on_the_projections_that_it_has(name: str, tmp_path: Path) -> None:
    config = ModelConfig.from_huggingface(random_checkpoint(*CHECKPOINTS[name]).config.to_dict())
    model = random_model(config, dtype=torch.float64)
    targets = ALL_PROJECTIONS[:4] if config.num_experts else ALL_PROJECTIONS
    deltas = write_adapter(tmp_path, model, target_modules=targets)
    assert len(deltas) == len(targets) * config.num_layers
    adapter = load_adapter(tmp_path, config, dtype=torch.float64)
    tokens = list(range(20))
    [served] = logits_in_chunks(model, [tokens], [13, 7], 4, adapters=[adapter])
    [expected] = logits_in_chunks(merged(model, deltas), [tokens], [20], 16)
    torch.testing.assert_close(served, expected, atol=2e-6, rtol=0)
    [plain] = logits_in_chunks(model, [tokens], [20], 16)
    assert (served - plain).abs().max() > 0.1


def test_an_adapter_of_some_layers_leaves_the_others_alone(tmp_path: Path) -> None:
    write_adapter(tmp_path, BASE, layers_to_transform=[0, 2])
    with pytest.raises(CorruptFile, match=r"do not name layers\.1\.self_attn\.q_proj"):
        load_adapter(tmp_path, TINY_CONFIG)
    keep_tensors(tmp_path, lambda name: ".layers.1." not in name)
    layers = {name.split(".")[1] for name in load_adapter(tmp_path, TINY_CONFIG).factors}
    assert layers == {"0", "2"}


def test_target_modules_may_be_a_regular_expression(tmp_path: Path) -> None:
    write_adapter(tmp_path, BASE)
    change_config(tmp_path, target_modules=r".*\.self_attn\.(q|v)_proj")
    adapter = load_adapter(tmp_path, TINY_CONFIG)
    assert (adapter.name, adapter.rank, len(adapter.factors)) == (tmp_path.name, 4, 2 * TINY_CONFIG.num_layers)


def test_a_step_in_which_nobody_has_an_adapter_is_a_step_of_the_base_model() -> None:
    assert LoraBatch.of_chunks([(None, 3), (None, 1)]) is None


def test_rows_are_grouped_by_adapter() -> None:
    first, second = (LoraAdapter(name, 1, {}) for name in ("first", "second"))
    batch = LoraBatch.of_chunks([(first, 2), (None, 3), (second, 1), (first, 1)])
    assert batch is not None
    assert [(adapter.name, rows.tolist()) for adapter, rows in batch.groups] == [("first", [0, 1, 6]), ("second", [5])]


def keep_tensors(folder: Path, wanted: Any) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({n: t for n, t in tensors.items() if wanted(n)}, folder / "adapter_model.safetensors")


def change_config(folder: Path, **changes: Any) -> None:
    (folder / "adapter_config.json").write_text(json.dumps(PEFT_CONFIG | changes))


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"use_dora": True}, UnsupportedModel, "use_dora is True"),
        ({"bias": "lora_only"}, UnsupportedModel, "bias is 'lora_only'"),
        ({"lora_bias": True}, UnsupportedModel, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, UnsupportedModel, "modules_to_save"),
        ({"fan_in_fan_out": True}, UnsupportedModel, "fan_in_fan_out"),
        ({"rank_pattern": {"q_proj": 8}}, UnsupportedModel, "rank_pattern"),
        ({"trainable_token_indices": [5]}, UnsupportedModel, "trainable_token_indices"),
        ({"invented_next_year": "yes"}, UnsupportedModel, "invented_next_year is 'yes'"),
        ({"init_lora_weights": "pissa"}, UnsupportedModel, "init_lora_weights is 'pissa'"),
        ({"peft_type": "LOHA"}, UnsupportedModel, "'LOHA'"),
        ({"target_modules": ["q_proj", "lm_head"]}, UnsupportedModel, "'lm_head'"),
        ({"target_modules": ["q_proj", "c_attn"]}, UnsupportedModel, "'c_attn'"),
        ({"target_modules": ["q_proj", "v_proj", "o_proj"]}, CorruptFile, r"name layers\.0\.self_attn\.o_proj"),
        ({"target_modules": None}, CorruptFile, "target_modules"),
        ({"target_modules": [1]}, CorruptFile, "target_modules"),
        ({"r": 5}, CorruptFile, r"shape \[4, 96\]; \[5, 96\] is expected"),
        ({"r": 0}, CorruptFile, "rank"),
        ({"lora_alpha": "much"}, CorruptFile, "lora_alpha"),
    ],
)
def test_an_adapter_that_is_more_than_lora_is_refused_by_name(
    changes: dict[str, Any], error: type[Exception], said: str, tmp_path: Path
) -> None:
    write_adapter(tmp_path, BASE)
    change_config(tmp_path, **changes)
    with pytest.raises(error, match=said):
        load_adapter(tmp_path, TINY_CONFIG)


def test_an_adapter_for_another_model_is_refused_with_both_shapes(tmp_path: Path) -> None:
    write_adapter(tmp_path, random_model(ModelConfig.from_huggingface(random_checkpoint("llama", {}).config.to_dict())))
    with pytest.raises(CorruptFile, match=r"shape \[4, 48\]; \[4, 96\] is expected"):
        load_adapter(tmp_path, TINY_CONFIG)


@pytest.mark.parametrize(
    ("stray", "said"),
    [
        ("base_model.model.model.embed_tokens.lora_embedding_A", "embed_tokens"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", "lora_magnitude_vector"),
        ("base_model.model.lm_head.lora_A.weight", "changes lm_head"),
        ("base_model.model.model.layers.99.self_attn.q_proj.lora_A.weight", r"changes layers\.99"),
    ],
)
def test_weights_of_no_projection_are_refused_by_name(stray: str, said: str, tmp_path: Path) -> None:
    write_adapter(tmp_path, BASE)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    save_file(tensors | {stray: torch.zeros(4, 96)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(UnsupportedModel, match=said):
        load_adapter(tmp_path, TINY_CONFIG)


def test_half_an_adapter_is_called_corrupt(tmp_path: Path) -> None:
    write_adapter(tmp_path, BASE)
    keep_tensors(tmp_path, lambda name: not name.endswith("layers.1.self_attn.q_proj.lora_B.weight"))
    with pytest.raises(CorruptFile, match=r"no lora_B for layers\.1\.self_attn\.q_proj"):
        load_adapter(tmp_path, TINY_CONFIG)


def test_an_adapter_that_is_not_there_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        load_adapter(tmp_path, TINY_CONFIG)
    write_adapter(tmp_path, BASE)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        load_adapter(tmp_path, TINY_CONFIG)
