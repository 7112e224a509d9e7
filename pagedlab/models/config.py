"""ModelConfig: the numbers that say which decoder this is, from GGUF metadata or Hugging Face JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pagedlab.errors import CorruptFile, UnsupportedModel
from pagedlab.models.families import FAMILIES, read_ropes
from pagedlab.models.numbers import as_float, check_count, check_number, require
from pagedlab.models.rope import Rope

#: Far above any model known. A corrupt file may claim any number, and what it claims gets built.
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
_MOST_EXPERTS = 2**15  #: in all layers together
#: How config.json calls them -> how ``layers.ACTIVATIONS`` does.
_ACTIVATIONS = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}


@dataclass(frozen=True)
class ModelConfig:
    """The first fields every model has; the others say in what it differs from Llama (``families.py``)."""

    architecture: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int  #: query heads, H
    num_kv_heads: int  #: key-value heads, Hkv; H / Hkv query heads share one
    head_dim: int  #: D
    intermediate_size: int  #: width of the feed-forward; where there are experts, of one of them
    rms_norm_eps: float
    rope: Rope
    tie_word_embeddings: bool  #: the output head is the embedding matrix
    max_context: int  #: tokens the model was trained to attend over
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]

    layer_windows: tuple[int | None, ...] = ()  #: of each layer: how many tokens back it sees, itself included, or None
    local_rope: Rope | None = None  #: of layers with a window, if it is another one
    qkv_bias: bool = False
    output_bias: bool = False  #: of attention's output projection
    mlp_bias: bool = False
    qk_norm: bool = False  #: each head of a query or key is normalised before it is rotated
    sandwich_norms: bool = False  #: what attention and feed-forward return is normalised too
    unit_offset_norms: bool = False  #: norms multiply by 1 + weight
    activation: str = "silu"
    embedding_scale: float = 1.0
    attention_scale: float | None = None  #: scores are multiplied by it; None: by ``head_dim ** -0.5``
    logit_softcap: float | None = None  #: logits are squeezed between plus and minus this
    num_experts: int = 0  #: 0: one feed-forward for all tokens
    experts_per_token: int = 0
    renormalise_experts: bool = True  #: the weights of a token's experts are made to sum to one

    def __post_init__(self) -> None:
        for name, largest in _LARGEST.items():
            check_count(name, getattr(self, name), largest)
        check_number("rms_norm_eps", self.rms_norm_eps)
        if self.num_heads % self.num_kv_heads:
            raise CorruptFile(f"{self.num_heads} query heads cannot share {self.num_kv_heads} key-value heads evenly")
        if self.head_dim % 2:
            raise CorruptFile(f"head_dim is {self.head_dim}; RoPE rotates pairs, so it must be even")
        for token in (*self.eos_token_ids, *([] if self.bos_token_id is None else [self.bos_token_id])):
            if not (type(token) is int and 0 <= token < self.vocab_size):
                raise CorruptFile(f"special token {token!r} is outside the vocabulary of {self.vocab_size} tokens")
        for window in self.layer_windows:
            if window is not None:
                check_count("sliding_window", window, _LARGEST["max_context"])
        if not any(self.layer_windows):
            object.__setattr__(self, "layer_windows", (None,) * self.num_layers)
        if len(self.layer_windows) != self.num_layers:
            raise CorruptFile(f"{len(self.layer_windows)} layers have their window named; there are {self.num_layers}")
        if self.num_experts:
            check_count("num_experts", self.num_experts, _MOST_EXPERTS // self.num_layers)
            check_count("num_experts_per_tok", self.experts_per_token, self.num_experts)
        for name in ("embedding_scale", "attention_scale", "logit_softcap"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name))

    @property
    def window(self) -> int | None:
        """The largest window, if every layer has one: what lies behind it, nobody reads again. Else None."""
        windows = [window for window in self.layer_windows if window is not None]
        return max(windows) if len(windows) == self.num_layers else None

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
        hidden_size, num_heads = require(numbers, "embedding_length"), require(numbers, "attention.head_count")
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
            num_layers=require(numbers, "block_count"),
            num_heads=num_heads,
            num_kv_heads=numbers.get("attention.head_count_kv", num_heads),
            head_dim=head_dim,
            intermediate_size=require(numbers, "feed_forward_length"),
            rms_norm_eps=require(numbers, "attention.layer_norm_rms_epsilon"),
            rope=Rope(numbers.get("rope.freq_base", 10_000.0)),
            tie_word_embeddings=tie_word_embeddings,
            max_context=require(numbers, "context_length"),
            bos_token_id=metadata.get("tokenizer.ggml.bos_token_id"),
            eos_token_ids=_unique(ends),
        )

    @classmethod
    def from_huggingface(cls, config: Mapping[str, Any], generation: Mapping[str, Any] | None = None) -> ModelConfig:
        """From ``config.json``. ``generation_config.json`` may name further end-of-sequence tokens."""
        kind = config.get("model_type")
        if not (isinstance(kind, str) and kind in FAMILIES):
            raise UnsupportedModel(
                f"config.json describes a {kind!r} model; pagedlab runs model_type {', '.join(FAMILIES)}"
            )
        config = {**FAMILIES[kind].defaults, **config}
        activation = config.get("hidden_activation") or config.get("hidden_act", "silu")
        _refuse(
            {
                "packed, quantised weights (quantization_config)": config.get("quantization_config") is not None,
                "partial_rotary_factor": config.get("partial_rotary_factor", 1.0) not in (1.0, None),
                f"hidden_act {activation!r}": activation not in list(_ACTIVATIONS),
            }
        )
        num_layers = check_count("num_hidden_layers", config.get("num_hidden_layers"), _LARGEST["num_layers"])
        max_context = check_count("max_position_embeddings", config.get("max_position_embeddings"), 2**32)
        hidden_size, num_heads = require(config, "hidden_size"), require(config, "num_attention_heads")
        rope, local_rope = read_ropes(config)
        ends = [token for source in (config, generation or {}) for token in _as_list(source.get("eos_token_id"))]
        common: dict[str, Any] = {
            "architecture": kind,
            "vocab_size": require(config, "vocab_size"),
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "num_kv_heads": config.get("num_key_value_heads") or num_heads,
            "head_dim": config.get("head_dim") or _divide(hidden_size, num_heads),
            "intermediate_size": require(config, "intermediate_size"),
            "rms_norm_eps": as_float(config.get("rms_norm_eps", 1e-6)),
            "rope": rope,
            "local_rope": local_rope,
            "tie_word_embeddings": bool(config.get("tie_word_embeddings", False)),
            "max_context": rope.stretched(max_context),
            "bos_token_id": config.get("bos_token_id"),
            "eos_token_ids": _unique(ends),
            "activation": _ACTIVATIONS[activation],
        }
        return cls(**common | FAMILIES[kind].differences(config, num_layers))


def _refuse(features: Mapping[str, object]) -> None:
    for feature, present in features.items():
        if present:
            raise UnsupportedModel(f"the model uses {feature}; pagedlab does not run that from such a file")


def _divide(hidden_size: object, num_heads: object) -> int:
    if not (isinstance(hidden_size, int) and isinstance(num_heads, int) and num_heads > 0):
        raise CorruptFile(f"a hidden size of {hidden_size!r} cannot be split into {num_heads!r} heads")
    if hidden_size % num_heads:
        raise CorruptFile(f"a hidden size of {hidden_size} does not split into {num_heads} heads; name a head_dim")
    return hidden_size // num_heads


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _unique(tokens: list[Any]) -> tuple[Any, ...]:
    found: list[Any] = []
    for token in tokens:
        if token is not None and token not in found:
            found.append(token)
    return tuple(found)
