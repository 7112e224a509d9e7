"""What makes each family of models differ from Llama: its config.json, read into fields of ModelConfig.

All of them are one decoder (``llama.py``). A family is a function from its config.json to the few fields in which it
differs, and what transformers takes for granted where config.json is silent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pagedlab.errors import CorruptFile, UnsupportedModel
from pagedlab.models.numbers import as_float, check_count, check_number, require
from pagedlab.models.rope import Rope, read_rope

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    #: config.json and the number of layers -> fields of ModelConfig
    differences: Callable[[Json, int], dict[str, Any]]
    #: settings that config.json may leave out
    defaults: Json = field(default_factory=dict)


def _llama(c: Json, num_layers: int) -> dict[str, Any]:
    """Llama 2 and 3, SmolLM2: RMSNorm, RoPE, grouped queries, SwiGLU. A bias is possible and rare."""
    bias = bool(c.get("attention_bias"))
    return {"qkv_bias": bias, "output_bias": bias, "mlp_bias": bool(c.get("mlp_bias"))}


def _mistral(c: Json, num_layers: int) -> dict[str, Any]:
    """Mistral 7B (arXiv:2310.06825): every layer looks back over a window only. Later releases have none."""
    return {"layer_windows": _windows(c, num_layers, slides=lambda layer: True)}


def _mixtral(c: Json, num_layers: int) -> dict[str, Any]:
    """Mixtral (arXiv:2401.04088): Mistral whose feed-forward is a few of many experts, chosen token by token."""
    return _mistral(c, num_layers) | {
        "num_experts": require(c, "num_local_experts"),
        "experts_per_token": require(c, "num_experts_per_tok"),
    }


def _qwen2(c: Json, num_layers: int) -> dict[str, Any]:
    """Qwen2 and Qwen2.5 (arXiv:2407.10671, 2412.15115): queries, keys and values have a bias; a window, if it is used
    at all, begins at layer ``max_window_layers``."""
    return _last_layers_slide(c, num_layers) | {"qkv_bias": True}


def _qwen3(c: Json, num_layers: int) -> dict[str, Any]:
    """Qwen3 (arXiv:2505.09388): no bias; each head of a query or key is normalised before it is rotated."""
    return _llama(c, num_layers) | _last_layers_slide(c, num_layers) | {"qk_norm": True}


def _qwen3_moe(c: Json, num_layers: int) -> dict[str, Any]:
    """Qwen3-MoE: Qwen3 with many small experts, and a window in all layers or in none."""
    _refuse_unless(c, "decoder_sparse_step", 1)
    _refuse_unless(c, "mlp_only_layers", None, [])
    return _qwen3(c, num_layers) | {
        "layer_windows": _windows(c, num_layers, slides=lambda layer: True) if c.get("use_sliding_window") else (),
        "intermediate_size": require(c, "moe_intermediate_size"),
        # Before and since transformers 5.
        "num_experts": require(c, "num_experts" if "num_experts" in c else "num_local_experts"),
        "experts_per_token": require(c, "num_experts_per_tok"),
        "renormalise_experts": bool(c.get("norm_topk_prob")),
    }


def _gemma3(c: Json, num_layers: int) -> dict[str, Any]:
    """Gemma 3 (arXiv:2503.19786): five local layers, which look back over a window and have a RoPE of their own, to
    one global layer; norms before *and* after each part, whose weights are added to one; embeddings multiplied by the
    root of their width; scores divided by the root of a number of its own; GELU in the place of SiLU."""
    _refuse_unless(c, "attn_logit_softcapping", None)
    _refuse_unless(c, "use_bidirectional_attention", None, False)
    pattern = check_count("sliding_window_pattern", c["sliding_window_pattern"], 2**10)
    return _llama(c, num_layers) | {
        "layer_windows": _windows(c, num_layers, slides=lambda layer: (layer + 1) % pattern != 0),
        "qk_norm": True,
        "sandwich_norms": True,
        "unit_offset_norms": True,
        "embedding_scale": _root(c, "hidden_size"),
        "attention_scale": 1 / _root(c, "query_pre_attn_scalar"),
        "logit_softcap": as_float(c.get("final_logit_softcapping")),
    }


FAMILIES = {
    "llama": Family(_llama),
    "mistral": Family(_mistral, {"sliding_window": 4096}),
    "mixtral": Family(_mixtral, {"rms_norm_eps": 1e-5, "rope_theta": 1e6}),
    "qwen2": Family(_qwen2, {"sliding_window": 4096, "max_window_layers": 28}),
    "qwen3": Family(_qwen3, {"sliding_window": 4096, "max_window_layers": 28, "head_dim": 128}),
    "qwen3_moe": Family(_qwen3_moe, {"sliding_window": 4096, "max_window_layers": 0}),
    "gemma3_text": Family(
        _gemma3,
        {
            "head_dim": 256,
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 256,
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
            "sliding_window": 4096,
            "sliding_window_pattern": 6,
            "tie_word_embeddings": True,
        },
    ),
}


def read_ropes(c: Json) -> tuple[Rope, Rope | None]:
    """The RoPE of all layers, or that of global and that of local ones. Since version 5 transformers writes all of
    RoPE's settings into one dictionary, or into one for each kind of layer; before it, they stood side by side."""
    settings: Any = c.get("rope_scaling") or c.get("rope_parameters") or {}
    local: Any = {} if "rope_local_base_freq" in c else None
    if isinstance(settings, Mapping) and "full_attention" in settings:
        settings, local = settings["full_attention"], settings.get("sliding_attention")
    context = c.get("max_position_embeddings")
    rope = read_rope(settings, theta=c.get("rope_theta", 10_000.0), max_context=context)
    if local is None:
        return rope, None
    return rope, read_rope(local, theta=c.get("rope_local_base_freq", rope.theta), max_context=context)


def _windows(c: Json, num_layers: int, *, slides: Callable[[int], bool]) -> tuple[Any, ...]:
    """The window of each layer, None where it sees everything: as ``layer_types`` says, or else ``slides``."""
    kinds = c.get("layer_types")
    if kinds is None:
        kinds = ["sliding_attention" if slides(layer) else "full_attention" for layer in range(num_layers)]
    if not (isinstance(kinds, list) and len(kinds) == num_layers):
        raise CorruptFile(f"the model's layer_types are {kinds!r:.200}; a list of {num_layers} is expected")
    for kind in kinds:
        if kind not in ("sliding_attention", "full_attention"):
            raise UnsupportedModel(f"the model's layer_types name {kind!r}; pagedlab knows sliding and full_attention")
    return tuple(c.get("sliding_window") if kind == "sliding_attention" else None for kind in kinds)


def _last_layers_slide(c: Json, num_layers: int) -> dict[str, Any]:
    first = c["max_window_layers"]
    if type(first) is not int:
        raise CorruptFile(f"the model's max_window_layers is {first!r}; an integer is expected")
    if not c.get("use_sliding_window"):
        return {}
    return {"layer_windows": _windows(c, num_layers, slides=lambda layer: layer >= first)}


def _refuse_unless(c: Json, name: str, *harmless: object) -> None:
    """UnsupportedModel if the setting is there with another value than those that change nothing."""
    if name in c and c[name] not in harmless:
        raise UnsupportedModel(f"the model's {name} is {c[name]!r}; pagedlab runs it only as {harmless[0]!r}")


def _root(c: Json, name: str) -> float:
    return check_number(name, as_float(c.get(name))) ** 0.5
