"""ModelConfig: the numbers that say which Llama-family decoder this is, from GGUF metadata or Hugging Face JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pagedlab.errors import CorruptFile, UnsupportedModel

#: Far above any model of this family. A corrupt file may claim any number, and what it claims gets built.
_LARGEST = {
    "vocab_size": 2**22,
    "hidden_size": 2**17,
    "num_layers": 2**10,
    "num_heads": 2**12,
    "num_kv_heads": 2**12,
    "head_dim": 2**12,
    "intermediate_size": 2**20,
    "max_context": 2**32,
}


@dataclass(frozen=True)
class ModelConfig:
    architecture: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int  #: query heads, H
    num_kv_heads: int  #: key-value heads, Hkv; H / Hkv query heads share one
    head_dim: int  #: D
    intermediate_size: int  #: width of the SwiGLU feed-forward
    rms_norm_eps: float
    rope_theta: float
    tie_word_embeddings: bool  #: the output head is the embedding matrix
    max_context: int  #: tokens the model was trained to attend over
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        for name, largest in _LARGEST.items():
            value = getattr(self, name)
            if not (type(value) is int and 1 <= value <= largest):
                raise CorruptFile(f"the model's {name} is {value!r}; an integer from 1 to {largest} is expected")
        for name in ("rms_norm_eps", "rope_theta"):
            value = getattr(self, name)
            if not (type(value) is float and math.isfinite(value) and value > 0):
                raise CorruptFile(f"the model's {name} is {value!r}; a positive finite number is expected")
        if self.num_heads % self.num_kv_heads:
            raise CorruptFile(f"{self.num_heads} query heads cannot share {self.num_kv_heads} key-value heads evenly")
        if self.head_dim % 2:
            raise CorruptFile(f"head_dim is {self.head_dim}; RoPE rotates pairs, so it must be even")
        for token in (*self.eos_token_ids, *([] if self.bos_token_id is None else [self.bos_token_id])):
            if not (type(token) is int and 0 <= token < self.vocab_size):
                raise CorruptFile(f"special token {token!r} is outside the vocabulary of {self.vocab_size} tokens")

    @property
    def group_size(self) -> int:
        """Query heads that share one key-value head."""
        return self.num_heads // self.num_kv_heads

    @property
    def kv_values_per_token(self) -> int:
        """Numbers the KV cache keeps for one token: a key and a value, in every layer, for every key-value head."""
        return self.num_layers * 2 * self.num_kv_heads * self.head_dim

    def kv_bytes_per_token(self, bytes_per_value: int) -> int:
        return self.kv_values_per_token * bytes_per_value

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any], *, tie_word_embeddings: bool) -> ModelConfig:
        """From a GGUF file's key-value pairs. The file says whether the head is tied by having no ``output.weight``."""
        architecture = metadata.get("general.architecture")
        if architecture != "llama":
            raise UnsupportedModel(f"the file holds a {architecture!r} model; pagedlab runs 'llama' GGUF files")
        numbers = {key.removeprefix("llama."): value for key, value in metadata.items() if key.startswith("llama.")}
        _refuse(
            {
                f"{numbers.get('expert_count')} experts": numbers.get("expert_count", 0),
                "RoPE scaling": numbers.get("rope.scaling.type", "none") != "none",
                "linear RoPE scaling": numbers.get("rope.scale_linear", 1.0) != 1.0,
                "head counts that differ by layer": isinstance(numbers.get("attention.head_count_kv"), list),
            }
        )
        tokens = metadata.get("tokenizer.ggml.tokens")
        vocab_size = numbers.get("vocab_size") or (len(tokens) if isinstance(tokens, list) else 0)
        hidden_size, num_heads = _require(numbers, "embedding_length"), _require(numbers, "attention.head_count")
        head_dim = numbers.get("attention.key_length") or _divide(hidden_size, num_heads)
        _refuse(
            {
                "rotating only part of each head": numbers.get("rope.dimension_count", head_dim) != head_dim,
                "values of another width than keys": numbers.get("attention.value_length", head_dim) != head_dim,
            }
        )
        ends = [metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot")]
        return cls(
            architecture="llama",
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            num_layers=_require(numbers, "block_count"),
            num_heads=num_heads,
            num_kv_heads=numbers.get("attention.head_count_kv", num_heads),
            head_dim=head_dim,
            intermediate_size=_require(numbers, "feed_forward_length"),
            rms_norm_eps=_require(numbers, "attention.layer_norm_rms_epsilon"),
            rope_theta=numbers.get("rope.freq_base", 10_000.0),
            tie_word_embeddings=tie_word_embeddings,
            max_context=_require(numbers, "context_length"),
            bos_token_id=metadata.get("tokenizer.ggml.bos_token_id"),
            eos_token_ids=_unique(ends),
        )

    @classmethod
    def from_huggingface(cls, config: Mapping[str, Any], generation: Mapping[str, Any] | None = None) -> ModelConfig:
        """From ``config.json``. ``generation_config.json`` may name further end-of-sequence tokens."""
        if config.get("model_type") != "llama":
            raise UnsupportedModel(
                f"config.json describes a {config.get('model_type')!r} model; pagedlab runs model_type 'llama'"
            )
        # Since version 5 transformers writes RoPE's settings into one dictionary; before it, side by side.
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        if not isinstance(rope, Mapping):
            raise CorruptFile(f"config.json holds RoPE settings {rope!r}; a dictionary is expected")
        hidden_size, num_heads = _require(config, "hidden_size"), _require(config, "num_attention_heads")
        _refuse(
            {
                "RoPE scaling": rope.get("rope_type", rope.get("type", "default")) != "default",
                "rotating only part of each head": rope.get("partial_rotary_factor", 1.0) != 1.0,
                "packed, quantised weights": "quantization_config" in config,
                "a bias in attention": config.get("attention_bias", False),
                "a bias in the feed-forward": config.get("mlp_bias", False),
                f"activation {config.get('hidden_act')!r}": config.get("hidden_act", "silu") != "silu",
            }
        )
        ends = [token for source in (config, generation or {}) for token in _as_list(source.get("eos_token_id"))]
        return cls(
            architecture="llama",
            vocab_size=_require(config, "vocab_size"),
            hidden_size=hidden_size,
            num_layers=_require(config, "num_hidden_layers"),
            num_heads=num_heads,
            num_kv_heads=config.get("num_key_value_heads") or num_heads,
            head_dim=config.get("head_dim") or _divide(hidden_size, num_heads),
            intermediate_size=_require(config, "intermediate_size"),
            rms_norm_eps=_as_float(config.get("rms_norm_eps", 1e-6)),
            rope_theta=_as_float(rope.get("rope_theta", config.get("rope_theta", 10_000.0))),
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
            max_context=_require(config, "max_position_embeddings"),
            bos_token_id=config.get("bos_token_id"),
            eos_token_ids=_unique(ends),
        )


def _require(settings: Mapping[str, Any], name: str) -> Any:
    if settings.get(name) is None:
        raise CorruptFile(f"the model does not say its {name!r}")
    return settings[name]


def _refuse(features: Mapping[str, object]) -> None:
    for feature, present in features.items():
        if present:
            raise UnsupportedModel(f"the model uses {feature}; pagedlab runs plain Llama decoders, which do not")


def _divide(hidden_size: object, num_heads: object) -> int:
    if not (isinstance(hidden_size, int) and isinstance(num_heads, int) and num_heads > 0):
        raise CorruptFile(f"a hidden size of {hidden_size!r} cannot be split into {num_heads!r} heads")
    if hidden_size % num_heads:
        raise CorruptFile(f"a hidden size of {hidden_size} does not split into {num_heads} heads; name a head_dim")
    return hidden_size // num_heads


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _as_float(value: Any) -> Any:
    """JSON writes 10000.0 as 10000 where it likes; anything else is left for the check to refuse."""
    return float(value) if type(value) is int and abs(value) < 2**53 else value


def _unique(tokens: list[Any]) -> tuple[Any, ...]:
    found: list[Any] = []
    for token in tokens:
        if token is not None and token not in found:
            found.append(token)
    return tuple(found)
