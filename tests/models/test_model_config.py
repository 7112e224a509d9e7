"""Which models are ours to run, and which numbers cannot be."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from pagedlab.errors import CorruptFile, UnsupportedModel
from pagedlab.models.catalog import LoadedModel
from pagedlab.models.config import ModelConfig
from pagedlab.models.rope import Llama3Scaling, Rope, YarnScaling
from tests.models.checkpoints import CLASSES, SMALL
from tests.models.hub_configs import ON_THE_HUB

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
    assert (config.rope.theta, config.max_context, config.tie_word_embeddings) == (100_000, 8192, True)
    assert (config.bos_token_id, config.eos_token_ids, config.group_size) == (1, (2,), 3)
    assert config.kv_values_per_token == 11_520
    assert config.kv_bytes_per_token(4) == 46_080


def test_both_kinds_of_file_describe_the_same_model() -> None:
    assert ModelConfig.from_huggingface(HUGGINGFACE) == from_gguf()


def test_what_a_config_leaves_out_has_the_familys_defaults() -> None:
    bare = {key: value for key, value in HUGGINGFACE.items() if key not in ("num_key_value_heads", "rms_norm_eps")}
    config = ModelConfig.from_huggingface(bare)
    assert (config.num_kv_heads, config.head_dim, config.rms_norm_eps, config.rope) == (6, 8, 1e-6, Rope(10_000.0))


@pytest.mark.parametrize(
    "rope", [{"rope_theta": 500_000}, {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}]
)
def test_the_rope_base_is_found_where_each_release_of_transformers_writes_it(rope: dict[str, object]) -> None:
    assert ModelConfig.from_huggingface(HUGGINGFACE | rope).rope == Rope(500_000.0)


def test_end_of_sequence_tokens_of_both_files_are_kept_in_order() -> None:
    config = ModelConfig.from_huggingface(HUGGINGFACE, {"eos_token_id": [7, 2, 9]})
    assert config.eos_token_ids == (2, 7, 9)
    assert from_gguf(**{"tokenizer.ggml.eot_token_id": 5}).eos_token_ids == (2, 5)


@pytest.mark.parametrize("name", ON_THE_HUB)
def test_a_config_means_the_same_in_the_spelling_of_either_release_of_transformers(name: str) -> None:
    old = ON_THE_HUB[name]
    make_config, _ = CLASSES[old["model_type"]]
    rewritten = make_config(**copy.deepcopy(old)).to_dict()
    assert "rope_parameters" in rewritten
    assert "rope_scaling" not in rewritten
    assert ModelConfig.from_huggingface(old) == ModelConfig.from_huggingface(rewritten)


@pytest.mark.parametrize("family", CLASSES)
def test_what_a_config_leaves_out_is_what_transformers_takes_for_it(family: str) -> None:
    """But for the sizes of the model, which must be said."""
    said = SMALL | {"num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 20}
    del said["tie_word_embeddings"], said["head_dim"]
    said |= {"hidden_size": 1536 if family == "gemma3_text" else 768}  # of which its head_dim is a sixth
    assert ModelConfig.from_huggingface(said | {"model_type": family}) == ModelConfig.from_huggingface(
        CLASSES[family][0](**said).to_dict()
    )


def test_the_differences_of_each_family_are_read() -> None:
    configs = {name: ModelConfig.from_huggingface(config) for name, config in ON_THE_HUB.items()}
    llama, mixtral, qwen3 = configs["Llama 3.1 8B"], configs["Mixtral 8x7B"], configs["Qwen3 30B A3B"]
    assert llama.rope == Rope(500_000.0, Llama3Scaling(8.0, 1.0, 4.0, 8192.0))
    assert configs["Mistral 7B v0.1"].window == 4096
    assert configs["Mistral Nemo"].window is None
    assert (mixtral.num_experts, mixtral.experts_per_token, mixtral.intermediate_size) == (8, 2, 14336)
    assert (qwen3.num_experts, qwen3.experts_per_token, qwen3.intermediate_size, qwen3.qk_norm) == (128, 8, 768, True)
    qwen2 = configs["Qwen2.5 7B, four times as long"]
    assert (qwen2.qkv_bias, qwen2.output_bias, qwen2.window) == (True, False, None)
    assert qwen2.rope == Rope(1e6, YarnScaling(4.0, 32768.0))
    assert qwen2.max_context == 4 * 32768
    gemma = configs["Gemma 3 1B"]
    assert gemma.layer_windows == ((512,) * 5 + (None,)) * 4 + (512, 512)
    assert (gemma.rope, gemma.local_rope) == (Rope(1e6), Rope(1e4))
    assert (gemma.attention_scale, gemma.embedding_scale, gemma.tie_word_embeddings) == (1 / 16, 1152**0.5, True)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("Llama 3.1 8B", {"model_type": "mamba"}, "'mamba'"),
        ("Llama 3.1 8B", {"model_type": "gemma3"}, "'gemma3'"),
        ("Llama 3.1 8B", {"rope_scaling": {"rope_type": "longrope", "factor": 8.0}}, "rope_type is 'longrope'"),
        ("Llama 3.1 8B", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type is 'dynamic'"),
        ("Llama 3.1 8B", {"rope_scaling": {"type": "linear", "factor": 2.0, "mrope_section": [1]}}, "mrope_section"),
        ("Llama 3.1 8B", {"rope_scaling": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ("Llama 3.1 8B", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("Llama 3.1 8B", {"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ("Llama 3.1 8B", {"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        ("Qwen3 30B A3B", {"mlp_only_layers": [1]}, r"mlp_only_layers is \[1\]"),
        ("Qwen3 30B A3B", {"decoder_sparse_step": 2}, "decoder_sparse_step is 2"),
        ("Gemma 3 1B", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("Gemma 3 1B", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("Gemma 3 1B", {"layer_types": ["chunked_attention"] * 26}, "chunked_attention"),
    ],
)
def test_a_setting_that_is_not_known_is_refused_by_name(name: str, changes: dict[str, object], said: str) -> None:
    with pytest.raises(UnsupportedModel, match=said):
        ModelConfig.from_huggingface(ON_THE_HUB[name] | changes)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("Llama 3.1 8B", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor"),
        ("Llama 3.1 8B", {"rope_scaling": {"rope_type": "linear", "factor": 0.5}}, "RoPE factor"),
        ("Llama 3.1 8B", {"rope_scaling": {"rope_type": "linear", "factor": "two"}}, "RoPE factor"),
        ("Llama 3.1 8B", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "beta_fast": -1}}, "beta_fast"),
        ("Llama 3.1 8B", {"rope_theta": 1.0}, "RoPE theta"),
        ("Mistral 7B v0.1", {"sliding_window": 0.5}, "sliding_window"),
        ("Mistral 7B v0.1", {"sliding_window": 0}, "sliding_window"),
        ("Mixtral 8x7B", {"num_experts_per_tok": 9}, "num_experts_per_tok"),
        ("Mixtral 8x7B", {"num_local_experts": 2**20}, "num_experts"),
        ("Qwen3 30B A3B", {"moe_intermediate_size": None}, "moe_intermediate_size"),
        ("Qwen2.5 7B, four times as long", {"max_window_layers": "all"}, "max_window_layers"),
        ("Gemma 3 1B", {"layer_types": ["full_attention"]}, "layer_types"),
        ("Gemma 3 1B", {"sliding_window_pattern": 0}, "sliding_window_pattern"),
        ("Gemma 3 1B", {"query_pre_attn_scalar": -4}, "query_pre_attn_scalar"),
        ("Gemma 3 1B", {"final_logit_softcapping": 0}, "logit_softcap"),
    ],
)
def test_a_setting_that_cannot_be_is_called_corrupt_by_name(name: str, changes: dict[str, object], said: str) -> None:
    with pytest.raises(CorruptFile, match=said):
        ModelConfig.from_huggingface(ON_THE_HUB[name] | changes)


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
