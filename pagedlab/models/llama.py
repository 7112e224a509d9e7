"""One decoder for every family, whose keys and values live in pages.

Notation: T tokens in the step (of all sequences, back to back), H query heads, Hkv key-value heads, D head_dim.
There is no batch dimension and no mask here: which token belongs to which sequence, and what it may attend to,
is known to the ``PagedBatch`` and to the attention function that reads it.

Sources: Llama (arXiv:2302.13971), RoPE (2104.09864), GQA (2305.13245); what other families change, ``families.py``.
Modules carry the names of the Hugging Face checkpoint, so its tensors are assigned to them as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pagedlab.errors import InvalidConfig
from pagedlab.models.config import ModelConfig
from pagedlab.models.layers import GatedMLP, RMSNorm, UnitOffsetRMSNorm
from pagedlab.models.linear import Linear, Stack, settle
from pagedlab.models.moe import MixtureOfExperts
from pagedlab.models.native import NativePath
from pagedlab.models.rope import Rope
from pagedlab_kernels.batch import AttentionFn, PagedBatch
from pagedlab_kernels.cpu import rows
from pagedlab_kernels.cpu.native import why_not_native
from pagedlab_kernels.kv_format import LayerKV, WriteFn, write_kv

if TYPE_CHECKING:
    from pagedlab.models.lora import LoraBatch

#: cos and sin, each ``[T, 1, D / 2]`` float32.
Angles = tuple[Tensor, Tensor]


class LlamaModel(nn.Module):
    """Token ids in, logits of the rows that sample out; keys and values go to their pages on the way."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        # A Linear, for a tied head multiplies by it; looking up a token's embedding is taking a row of it.
        self.embed_tokens = Linear(config.hidden_size, config.vocab_size, group_bits=8)
        layer = SandwichLayer if config.sandwich_norms else DecoderLayer
        self.layers = nn.ModuleList(layer(config, window) for window in config.layer_windows)
        self.norm = norm(config, config.hidden_size)
        self.lm_head = None
        if not config.tie_word_embeddings:
            self.lm_head = Linear(config.hidden_size, config.vocab_size, group_bits=8)
        for name, module in self.named_modules():
            if isinstance(module, Linear):
                module.name = name
        self._native = NativePath(self)

    @property
    def dtype(self) -> torch.dtype:
        """What passes from layer to layer; matrices may be kept in fewer bits."""
        return self.norm.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.norm.weight.device

    @property
    def weight_bytes(self) -> int:
        """Bytes that all weights take in memory, with their scales."""
        scales = [linear.scales for linear in self.linears() if linear.scales is not None]
        return sum(tensor.nbytes for tensor in (*self.parameters(), *scales))

    def prepare(self) -> None:
        """Lay the weights out for the device that they are on. Call it once they are there; again does no harm."""
        for linear in self.linears():
            linear.pack()
        stacks = [part for module in self.modules() for part in vars(module).values() if isinstance(part, Stack)]
        for stack in stacks:
            stack.join()
        joined = {id(part) for stack in stacks if stack.joined for part in stack.parts}
        settle([*stacks, *(linear for linear in self.linears() if id(linear) not in joined)])

    def to_int8(self) -> None:
        """Keep all matrices in 8 bits. Raises InvalidConfig where nothing can multiply with them."""
        self._check_native("int8")
        for linear in self.linears():
            linear.to_int8()

    def to_int4(self) -> None:
        """Keep all matrices in groups, of 4 bits or (embedding, head and router) of 8; those that are in groups stay as
        they are. Raises InvalidConfig where nothing can multiply with them."""
        self._check_native("int4")
        for linear in self.linears():
            linear.to_groups()

    def _check_native(self, weights: str) -> None:
        reason = "the model is not on a CPU" if self.device.type != "cpu" else why_not_native()
        if reason is not None or self.dtype != torch.float32:
            raise InvalidConfig(
                f"weights={weights!r} was asked for, which takes a CPU with a C compiler and dtype=torch.float32 for "
                f"what is computed; here: {reason or self.dtype}"
            )

    def linears(self) -> Iterator[Linear]:
        return (module for module in self.modules() if isinstance(module, Linear))

    def forward(
        self,
        batch: PagedBatch,
        kv: Sequence[LayerKV],
        attention: AttentionFn,
        sample_rows: Tensor,
        lora: LoraBatch | None = None,
        write: WriteFn = write_kv,
    ) -> Tensor:
        """Logits ``[S, vocab_size]`` float32 of the rows ``sample_rows: [S] int64`` of the step.

        ``kv``: of each layer ``[2, N, Hkv, P, D]``, written in place by ``write``. ``lora``: which rows an adapter
        serves.
        """
        config, positions = self.config, batch.positions
        angles = rope_angles(positions, config.rope, config.head_dim)
        local = angles if config.local_rope is None else rope_angles(positions, config.local_rope, config.head_dim)
        hidden = self.embed_tokens.rows(batch.token_ids)
        if config.embedding_scale != 1.0:
            hidden = hidden * hidden.new_tensor(config.embedding_scale)
        decoder = None if lora is not None or hidden.dtype != torch.float32 else self._native.decoder(kv, attention)
        if decoder is not None:  # the same, in one call
            hidden = decoder(hidden, angles, local, batch, sample_rows)
        else:
            for layer, layer_kv, window in zip(self.layers, kv, config.layer_windows, strict=True):
                hidden = layer(hidden, angles if window is None else local, batch, layer_kv, attention, lora, write)
            hidden = hidden[sample_rows]
        # The head is the widest matrix of all: only rows that a token is sampled from reach it.
        head = self.lm_head or self.embed_tokens
        logits: Tensor = head(self.norm(hidden)).float()
        cap = config.logit_softcap
        return logits if cap is None else (logits / cap).tanh() * cap


def norm(config: ModelConfig, size: int) -> RMSNorm:
    return (UnitOffsetRMSNorm if config.unit_offset_norms else RMSNorm)(size, config.rms_norm_eps)


class DecoderLayer(nn.Module):
    """Attention, then the feed-forward; each reads a normalised copy and adds to the residual stream."""

    def __init__(self, config: ModelConfig, window: int | None) -> None:
        super().__init__()
        self.input_layernorm = norm(config, config.hidden_size)
        self.self_attn = Attention(config, window)
        self.post_attention_layernorm = norm(config, config.hidden_size)
        self.mlp = (
            MixtureOfExperts(config)
            if config.num_experts
            else GatedMLP(config.hidden_size, config.intermediate_size, config.activation, bias=config.mlp_bias)
        )

    def forward(
        self,
        hidden: Tensor,
        angles: Angles,
        batch: PagedBatch,
        kv: LayerKV,
        attention: AttentionFn,
        lora: LoraBatch | None,
        write: WriteFn,
    ) -> Tensor:
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), angles, batch, kv, attention, lora, write)
        return hidden + self.mlp(self.post_attention_layernorm(hidden), lora)


class SandwichLayer(DecoderLayer):
    """Gemma's: what attention and feed-forward return is normalised once more before it is added."""

    def __init__(self, config: ModelConfig, window: int | None) -> None:
        super().__init__(config, window)
        self.pre_feedforward_layernorm = norm(config, config.hidden_size)
        self.post_feedforward_layernorm = norm(config, config.hidden_size)

    def forward(
        self,
        hidden: Tensor,
        angles: Angles,
        batch: PagedBatch,
        kv: LayerKV,
        attention: AttentionFn,
        lora: LoraBatch | None,
        write: WriteFn,
    ) -> Tensor:
        attended = self.self_attn(self.input_layernorm(hidden), angles, batch, kv, attention, lora, write)
        hidden = hidden + self.post_attention_layernorm(attended)
        return hidden + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(hidden), lora))


class Attention(nn.Module):
    """Grouped-query attention: H / Hkv query heads read the same keys and values."""

    def __init__(self, config: ModelConfig, window: int | None) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.scale = config.attention_scale or config.head_dim**-0.5
        # Named only where there is one: an attention function need not know of windows to serve a model without.
        self.limits = {} if window is None else {"window": window}
        q_size, kv_size = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.q_proj = Linear(config.hidden_size, q_size, bias=config.qkv_bias)
        self.k_proj = Linear(config.hidden_size, kv_size, bias=config.qkv_bias)
        self.v_proj = Linear(config.hidden_size, kv_size, bias=config.qkv_bias)
        self.o_proj = Linear(q_size, config.hidden_size, bias=config.output_bias)
        self.qkv = Stack(self.q_proj, self.k_proj, self.v_proj)
        self.q_norm = norm(config, config.head_dim) if config.qk_norm else None
        self.k_norm = norm(config, config.head_dim) if config.qk_norm else None

    def forward(
        self,
        x: Tensor,
        angles: Angles,
        batch: PagedBatch,
        kv: LayerKV,
        attention: AttentionFn,
        lora: LoraBatch | None,
        write: WriteFn,
    ) -> Tensor:
        q, k, v = (product.unflatten(-1, (-1, self.head_dim)) for product in self.qkv(x, lora))  # [T, heads, D]
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q = rotate_and_write(q, k, v, angles, kv, batch.slots, write)
        attended = attention(q, kv, batch, self.scale, **self.limits)
        return self.o_proj(attended.flatten(-2), lora)


def rope_angles(positions: Tensor, rope: Rope, head_dim: int) -> Angles:
    """By how much each pair of a head is turned at each of ``positions: [T]``."""
    angles = positions[:, None, None] * _frequencies(rope, head_dim, positions.device)
    cos, sin = angles.cos(), angles.sin()
    return (cos, sin) if rope.magnitude == 1.0 else (cos * rope.magnitude, sin * rope.magnitude)


@cache
def _frequencies(rope: Rope, head_dim: int, device: torch.device) -> Tensor:
    return torch.tensor(rope.frequencies(head_dim), dtype=torch.float32, device=device)


def rotate_and_write(
    q: Tensor, k: Tensor, v: Tensor, angles: Angles, kv: LayerKV, slots: Tensor, write: WriteFn
) -> Tensor:
    """Keys are rotated before they are stored: a page needs no positions of its own. Returns the rotated queries."""
    if write is write_kv and rows.runs_natively(q, k, v, *angles) and kv.is_contiguous():
        return rows.rotate_and_write(q, k, v, *angles, kv, slots)
    write(rotate(k, angles), v, kv, slots)
    return rotate(q, angles)


def rotate(x: Tensor, angles: Angles) -> Tensor:
    """Rotate each head of ``x: [T, heads, D]`` to its position. Value i is paired with value ``i + D / 2``.

    A query and a key so rotated have a dot product that depends on their distance alone.
    """
    cos, sin = angles
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)
