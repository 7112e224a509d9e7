"""Which models are ours to run, and which numbers cannot be."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pagedlab.errors import CorruptFile, UnsupportedModel
from pagedlab.models.catalog import LoadedModel
from pagedlab.models.config import ModelConfig

HUGGINGFACE: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "eos_token_id": 2,
}
GGUF: dict[str, Any] = {
    "general.architecture": "llama",
    "llama.vocab_size": 100,
    "llama.embedding_length": 48,
    "llama.block_count": 2,
    "llama.attention.head_count": 6,
    "llama.attention.head_count_kv": 2,
    "llama.feed_forward_length": 64,
    "llama.context_length": 128,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "tokenizer.ggml.eos_token_id": 2,
}


def from_gguf(**changes: object) -> ModelConfig:
    return ModelConfig.from_gguf(GGUF | changes, tie_word_embeddings=False)


def test_smollm2_is_described_by_its_file(smollm2: LoadedModel) -> None:
    config = smollm2.config
    assert (config.num_layers, config.hidden_size, config.num_heads, config.num_kv_heads) == (30, 576, 9, 3)
    assert (config.head_dim, config.intermediate_size, config.vocab_size) == (64, 1536, 49152)
    assert (config.rope_theta, config.max_context, config.tie_word_embeddings) == (100_000, 8192, True)
    assert (config.bos_token_id, config.eos_token_ids, config.group_size) == (1, (2,), 3)
    assert config.kv_values_per_token == 11_520
    assert config.kv_bytes_per_token(4) == 46_080


def test_both_kinds_of_file_describe_the_same_model() -> None:
    assert ModelConfig.from_huggingface(HUGGINGFACE) == from_gguf()


def test_what_a_config_leaves_out_has_the_familys_defaults() -> None:
    bare = {key: value for key, value in HUGGINGFACE.items() if key not in ("num_key_value_heads", "rms_norm_eps")}
    config = ModelConfig.from_huggingface(bare)
    assert (config.num_kv_heads, config.head_dim, config.rms_norm_eps, config.rope_theta) == (6, 8, 1e-6, 10_000)


@pytest.mark.parametrize(
    "rope", [{"rope_theta": 500_000}, {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}]
)
def test_the_rope_base_is_found_where_each_release_of_transformers_writes_it(rope: dict[str, object]) -> None:
    assert ModelConfig.from_huggingface(HUGGINGFACE | rope).rope_theta == 500_000.0


def test_end_of_sequence_tokens_of_both_files_are_kept_in_order() -> None:
    config = ModelConfig.from_huggingface(HUGGINGFACE, {"eos_token_id": [7, 2, 9]})
    assert config.eos_token_ids == (2, 7, 9)
    assert from_gguf(**{"tokenizer.ggml.eot_token_id": 5}).eos_token_ids == (2, 5)


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "mamba"},
        {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
        {"rope_parameters": {"rope_type": "yarn"}},
        {"rope_parameters": {"partial_rotary_factor": 0.5}},
        {"attention_bias": True},
        {"mlp_bias": True},
        {"hidden_act": "gelu"},
        {"quantization_config": {"quant_method": "gptq"}},
    ],
)
def test_a_folder_of_another_architecture_is_unsupported(changes: dict[str, object]) -> None:
    with pytest.raises(UnsupportedModel):
        ModelConfig.from_huggingface(HUGGINGFACE | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"general.architecture": "qwen3"},
        {"llama.rope.scaling.type": "yarn"},
        {"llama.rope.scale_linear": 4.0},
        {"llama.expert_count": 8},
        {"llama.rope.dimension_count": 4},
        {"llama.attention.value_length": 16},
        {"llama.attention.head_count_kv": [1, 2]},
    ],
)
def test_a_gguf_file_of_another_architecture_is_unsupported(changes: dict[str, object]) -> None:
    with pytest.raises(UnsupportedModel):
        from_gguf(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"llama.vocab_size": 2**40},
        {"llama.block_count": 2**31},
        {"llama.block_count": 0},
        {"llama.block_count": "two"},
        {"llama.embedding_length": 50},
        {"llama.embedding_length": True},
        {"llama.attention.head_count": 0},
        {"llama.attention.head_count_kv": 4},
        {"llama.attention.key_length": 7},
        {"llama.attention.layer_norm_rms_epsilon": math.nan},
        {"llama.attention.layer_norm_rms_epsilon": None},
        {"llama.rope.freq_base": math.inf},
        {"llama.rope.freq_base": -1.0},
        {"llama.context_length": -5},
        {"tokenizer.ggml.eos_token_id": 100},
        {"tokenizer.ggml.bos_token_id": "<s>"},
    ],
)
def test_numbers_that_cannot_be_are_called_corrupt(changes: dict[str, object]) -> None:
    with pytest.raises(CorruptFile):
        from_gguf(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": None},
        {"hidden_size": "48"},
        {"num_attention_heads": [6]},
        {"rms_norm_eps": float("nan")},
        {"rms_norm_eps": 10**400},
        {"rope_scaling": "llama3"},
        {"eos_token_id": [[2]]},
        {"vocab_size": 1e3},
    ],
)
def test_json_that_cannot_be_is_called_corrupt(changes: dict[str, object]) -> None:
    with pytest.raises(CorruptFile):
        ModelConfig.from_huggingface(HUGGINGFACE | changes)
