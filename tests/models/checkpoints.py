"""Small random checkpoints of every family, as transformers makes and writes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

Settings = dict[str, Any]

SMALL: Settings = {
    "vocab_size": 97,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "intermediate_size": 56,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
WINDOW = {"use_sliding_window": True, "sliding_window": 9}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 1000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
GEMMA3_ROPES = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 2000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
}
GEMMA3: Settings = {
    "num_hidden_layers": 4,
    "sliding_window": 9,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
    "rope_parameters": GEMMA3_ROPES,
    "query_pre_attn_scalar": 20,
    "tie_word_embeddings": True,
}

#: What is checked -> the family, and what is set beside or in the place of SMALL.
CHECKPOINTS: dict[str, tuple[str, Settings]] = {
    "Llama 2, without groups": ("llama", {"num_key_value_heads": 6, "head_dim": 8}),
    "Llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "Llama 3.1, its RoPE": ("llama", {"rope_parameters": LLAMA3}),
    "Llama, linear RoPE": ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e3, "factor": 4.0}}),
    "Llama, YaRN": ("llama", {"rope_parameters": YARN}),
    "Llama, YaRN with all its settings": (
        "llama",
        {"rope_parameters": YARN | {"beta_fast": 8.0, "beta_slow": 0.5, "attention_factor": 0.8}},
    ),
    "SmolLM2": ("llama", {"tie_word_embeddings": True, "num_attention_heads": 9, "num_key_value_heads": 3,
                          "hidden_size": 72, "head_dim": 8, "rope_parameters": {"rope_theta": 1e5}}),
    "Mistral, a window": ("mistral", {"sliding_window": 9}),
    "Mistral, no window": ("mistral", {"sliding_window": None}),
    "Qwen2": ("qwen2", {"tie_word_embeddings": True, "rope_parameters": {"rope_theta": 1e6}}),
    "Qwen2, a window from the second layer on": ("qwen2", WINDOW | {"max_window_layers": 1}),
    "Qwen2, a window in all layers": ("qwen2", WINDOW | {"max_window_layers": 0}),
    "Qwen2.5, YaRN": ("qwen2", {"rope_parameters": YARN}),
    "Qwen3": ("qwen3", {"rope_parameters": {"rope_theta": 1e6}}),
    "Qwen3, bias and window": ("qwen3", WINDOW | {"max_window_layers": 2, "attention_bias": True}),
    "Gemma 3": ("gemma3_text", GEMMA3),
    "Gemma 3, logits capped": ("gemma3_text", GEMMA3 | {"final_logit_softcapping": 3.0, "attention_bias": True}),
    "Mixtral": ("mixtral", {"num_local_experts": 5, "num_experts_per_tok": 2}),
    "Mixtral, a window": ("mixtral", {"num_local_experts": 3, "num_experts_per_tok": 1, "sliding_window": 9}),
    "Qwen3-MoE": (
        "qwen3_moe",
        {"num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 20, "norm_topk_prob": True},
    ),
    "Qwen3-MoE, weights as they are": (
        "qwen3_moe",
        WINDOW | {"max_window_layers": 3, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 20,
                  "norm_topk_prob": False},
    ),
}  # fmt: skip

CLASSES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "mixtral": (MixtralConfig, MixtralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "qwen3_moe": (Qwen3MoeConfig, Qwen3MoeForCausalLM),
    "gemma3_text": (Gemma3TextConfig, Gemma3ForCausalLM),
}


def random_checkpoint(family: str, settings: Settings, seed: int = 0) -> PreTrainedModel:
    """transformers starts norms at one and biases at zero, where a decoder that forgot them would pass: here every
    parameter is random, and large enough for all of them to show in the logits."""
    make_config, make_model = CLASSES[family]
    plain = {"attn_implementation": "eager", "experts_implementation": "eager"}
    model = make_model(make_config(**SMALL | settings | plain)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("norm.weight"):
                parameter.copy_(0.3 * noise + (family != "gemma3_text"))
            elif name.endswith("bias"):
                parameter.copy_(0.5 * noise)
            else:
                parameter.copy_(2 * noise * parameter.shape[-1] ** -0.5)
    return model
