"""From a model's modules to a NativeDecoder, where all that its layers do is what ``decoder.c`` does."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from operator import is_
from typing import TYPE_CHECKING, Any

from pagedlab_kernels.batch import AttentionFn
from pagedlab_kernels.cpu.attention import cpu_attention
from pagedlab_kernels.cpu.decoder import LayerTensors, NativeDecoder, Norms
from pagedlab_kernels.cpu.rows import runs_natively
from pagedlab_kernels.kv_format import LayerKV

if TYPE_CHECKING:
    from pagedlab.models.llama import LlamaModel


class NativePath:
    """Keeps the decoder of a model and a cache from step to step, as long as both keep their tensors."""

    def __init__(self, model: LlamaModel) -> None:
        self._model = model
        self._parameters = [module._parameters for module in model.modules() if "weight" in module._parameters]
        self._weights: list[Any] = []  #: what the decoder was made of,
        self._caches: list[weakref.ref[Any]] = []  #: weakly: a cache ends with its engine
        self._decoder: NativeDecoder | None = None

    def decoder(self, kv: Sequence[LayerKV], attention: AttentionFn) -> NativeDecoder | None:
        """None where it cannot be: another attention, weights that are not packed, experts."""
        if attention is not cpu_attention:
            return None
        weights = [parameters["weight"] for parameters in self._parameters]
        same = len(self._caches) == len(kv) and all(map(is_, weights, self._weights))
        if not same or not all(ref() is layer for ref, layer in zip(self._caches, kv, strict=True)):
            self._weights, self._caches = weights, [weakref.ref(layer) for layer in kv]
            self._decoder = native_decoder(self._model, kv)
        return self._decoder


def native_decoder(model: LlamaModel, kv: Sequence[LayerKV]) -> NativeDecoder | None:
    config = model.config
    if config.num_experts:
        return None
    layers = []
    modules: Any = model.layers
    for layer, layer_kv, window in zip(modules, kv, config.layer_windows, strict=True):
        attention, mlp = layer.self_attn, layer.mlp
        matrices = [attention.qkv.panels(), attention.o_proj.panels(), mlp.gate_and_up.panels(), mlp.down_proj.panels()]
        qkv, output, gate_and_up, down = matrices
        if qkv is None or output is None or gate_and_up is None or down is None:
            return None
        norms = _norms(layer, sandwich=config.sandwich_norms)
        there = [norm for norm in norms if norm is not None]
        if not runs_natively(*there) or layer_kv.device.type != "cpu" or not layer_kv.is_contiguous():
            return None
        local = window is not None and config.local_rope is not None
        layers.append(LayerTensors(qkv, output, gate_and_up, down, norms, layer_kv, window, local))
    return NativeDecoder(
        layers,
        num_heads=config.num_heads,
        gelu=config.activation == "gelu_tanh",
        eps=config.rms_norm_eps,
        norm_offset=1.0 if config.unit_offset_norms else 0.0,
        scale=config.attention_scale or config.head_dim**-0.5,
    )


def _norms(layer: Any, *, sandwich: bool) -> Norms:
    attention = layer.self_attn
    heads = [None if norm is None else norm.weight for norm in (attention.q_norm, attention.k_norm)]
    before, after = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
    if not sandwich:
        return Norms(before, after, None, None, *heads)
    return Norms(before, layer.pre_feedforward_layernorm.weight, after, layer.post_feedforward_layernorm.weight, *heads)
