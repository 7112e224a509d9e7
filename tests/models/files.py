"""Small model files for tests, written by other people's writers."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from transformers import LlamaForCausalLM

from pagedlab.models.tokenizer import byte_letters

CHAT_TEMPLATE = "{% for message in messages %}<s>{{ message['content'] }}</s>{% endfor %}"


def write_gguf(
    path: Path,
    model: LlamaForCausalLM,
    *,
    weight_type: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    metadata: dict[str, object] | None = None,
    tokenizer: bool = True,
    leave_out: str | None = None,
) -> Path:
    """``model`` as a GGUF file. ``metadata`` replaces numbers, by their name without ``llama.``."""
    config = model.config
    numbers: dict[str, object] = {
        "vocab_size": config.vocab_size,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "rope.dimension_count": config.head_dim,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.freq_base": float(config.rope_parameters["rope_theta"]),
    }
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in (numbers | (metadata or {})).items():
        if isinstance(value, float):
            writer.add_float32(f"llama.{name}", value)
        elif isinstance(value, str):
            writer.add_string(f"llama.{name}", value)
        else:
            writer.add_uint32(f"llama.{name}", value)
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    if tokenizer:
        specials = ["<unk>", "<s>", "</s>"]
        tokens = [*specials, "AB", *byte_letters()][: config.vocab_size]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm")
        writer.add_token_list(tokens)
        writer.add_token_types([3] * len(specials) + [1] * (len(tokens) - len(specials)))
        writer.add_token_merges(["A B"])
        writer.add_chat_template(CHAT_TEMPLATE)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, parameter in model.named_parameters():
        if name == leave_out:
            continue
        values = parameter.detach().numpy()
        if "q_proj" in name:
            values = _neighbours_together(values, config.num_attention_heads)
        if "k_proj" in name:
            values = _neighbours_together(values, config.num_key_value_heads)
        kind = weight_type if values.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _neighbours_together(rows: np.ndarray, num_heads: int) -> np.ndarray:
    """``permute`` of llama.cpp's convert_hf_to_gguf.py."""
    heads = rows.reshape(num_heads, 2, rows.shape[0] // num_heads // 2, rows.shape[1])
    return heads.swapaxes(1, 2).reshape(rows.shape)
