"""A Llama-family decoder whose keys and values live in pages.

Notation: T tokens in the step (of all sequences, back to back), H query heads, Hkv key-value heads, D head_dim.
There is no batch dimension and no mask here: which token belongs to which sequence, and what it may attend to,
is known to the ``PagedBatch`` and to the attention function that reads it.

Sources: Llama (arXiv:2302.13971), RMSNorm (1910.07467), RoPE (2104.09864), GQA (2305.13245), SwiGLU (2002.05202).
Modules carry the names of the Hugging Face checkpoint, so its tensors are assigned to them as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pagedlab.models.config import ModelConfig
from pagedlab_kernels.batch import AttentionFn, PagedBatch
from pagedlab_kernels.reference import write_kv


class LlamaModel(nn.Module):
    """Token ids in, logits of the rows that sample out; keys and values go to their pages on the way."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        # A Linear, for a tied head multiplies by it; looking up a token's embedding is taking a row of it.
        self.embed_tokens = Linear(config.hidden_size, config.vocab_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.lm_head = None if config.tie_word_embeddings else Linear(config.hidden_size, config.vocab_size)

    def forward(self, batch: PagedBatch, kv: Sequence[Tensor], attention: AttentionFn, sample_rows: Tensor) -> Tensor:
        """Logits ``[S, vocab_size]`` float32 of the rows ``sample_rows: [S] int64`` of the step.

        ``kv``: one tensor ``[2, N, Hkv, P, D]`` a layer, written in place.
        """
        rope = rope_angles(batch.positions, self.config.head_dim, self.config.rope_theta)
        hidden = F.embedding(batch.token_ids, self.embed_tokens.weight)
        for layer, layer_kv in zip(self.layers, kv, strict=True):
            hidden = layer(hidden, rope, batch, layer_kv, attention)
        # The head is the widest matrix of all: only rows that a token is sampled from reach it.
        head = self.lm_head or self.embed_tokens
        return head(self.norm(hidden[sample_rows])).float()


class DecoderLayer(nn.Module):
    """Attention, then the feed-forward; each reads a normalised copy and adds to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = SwiGLU(config)

    def forward(self, hidden: Tensor, rope: Rope, batch: PagedBatch, kv: Tensor, attention: AttentionFn) -> Tensor:
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), rope, batch, kv, attention)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class Attention(nn.Module):
    """Grouped-query attention: H / Hkv query heads read the same keys and values."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.scale = config.head_dim**-0.5
        q_size, kv_size = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.q_proj = Linear(config.hidden_size, q_size)
        self.k_proj = Linear(config.hidden_size, kv_size)
        self.v_proj = Linear(config.hidden_size, kv_size)
        self.o_proj = Linear(q_size, config.hidden_size)

    def forward(self, x: Tensor, rope: Rope, batch: PagedBatch, kv: Tensor, attention: AttentionFn) -> Tensor:
        q = self.q_proj(x).unflatten(-1, (-1, self.head_dim))  # [T, H, D]
        k = self.k_proj(x).unflatten(-1, (-1, self.head_dim))  # [T, Hkv, D]
        v = self.v_proj(x).unflatten(-1, (-1, self.head_dim))
        # Keys are rotated before they are stored: a page needs no positions of its own.
        write_kv(rotate(k, rope), v, kv, batch.slots)
        return self.o_proj(attention(rotate(q, rope), kv, batch, self.scale).flatten(-2))


class SwiGLU(nn.Module):
    """``down(silu(gate(x)) * up(x))``: the gate decides, value by value, how much of up passes."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class RMSNorm(nn.Module):
    """``x / sqrt(mean(x²) + eps) * weight``, in float32 whatever the weights are."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(size), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)


class Linear(nn.Module):
    """``x @ weight.T`` for ``weight: [out, in]``, without bias. How the product is computed is decided here only."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        if _HAS_ONEDNN and x.dtype == torch.float32 and x.device.type == "cpu":
            # oneDNN's kernel, which F.linear leaves to BLAS in float32: 1.3 to 2 times as fast on x86.
            product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")
            return product
        return F.linear(x, self.weight)


_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")

#: cos and sin, each ``[T, 1, D / 2]`` float32.
Rope = tuple[Tensor, Tensor]


def rope_angles(positions: Tensor, head_dim: int, theta: float) -> Rope:
    """Pair i of a head turns by ``position * theta ** (-2 i / D)``: the first pairs fast, the last slowly."""
    exponents = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    angles = positions[:, None, None] * (1.0 / theta**exponents)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rope: Rope) -> Tensor:
    """Rotate each head of ``x: [T, heads, D]`` to its position. Value i is paired with value ``i + D / 2``.

    A query and a key so rotated have a dot product that depends on their distance alone.
    """
    cos, sin = rope
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)
