"""What decoders are built of besides attention: a norm, a gated feed-forward."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pagedlab.models.linear import Linear, Stack
from pagedlab_kernels.cpu import rows

if TYPE_CHECKING:
    from pagedlab.models.lora import LoraBatch


class RMSNorm(nn.Module):
    """``x / sqrt(mean(x²) + eps) * weight`` (arXiv:1910.07467); computed in float32 where the weights have less."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.shape, self.eps = (size,), eps
        self.weight = nn.Parameter(torch.empty(size), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        if rows.runs_natively(x, self.weight):
            return rows.rms_norm(x, self.weight, self.eps)
        return F.rms_norm(x, self.shape, self.weight, self.eps)


class UnitOffsetRMSNorm(RMSNorm):
    """Gemma's: the weight is what the factor has more than one."""

    def forward(self, x: Tensor) -> Tensor:
        if rows.runs_natively(x, self.weight):
            return rows.rms_norm(x, self.weight, self.eps, offset=1.0)
        return F.rms_norm(x.float(), self.shape, 1.0 + self.weight.float(), self.eps).to(x.dtype)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "gelu_tanh": partial(F.gelu, approximate="tanh")}


class GatedMLP(nn.Module):
    """``down(activation(gate(x)) * up(x))``: the gate decides, value by value, how much of up passes.

    With SiLU this is SwiGLU, with GELU GeGLU (arXiv:2002.05202).
    """

    def __init__(self, hidden_size: int, width: int, activation: str, *, bias: bool = False) -> None:
        super().__init__()
        self.gelu, self.activation = activation == "gelu_tanh", ACTIVATIONS[activation]
        self.gate_proj = Linear(hidden_size, width, bias=bias)
        self.up_proj = Linear(hidden_size, width, bias=bias)
        self.down_proj = Linear(width, hidden_size, bias=bias)
        self.gate_and_up = Stack(self.gate_proj, self.up_proj)

    def forward(self, x: Tensor, lora: LoraBatch | None = None) -> Tensor:
        gate, up = self.gate_and_up(x, lora)
        if rows.runs_natively(gate, up) and gate.stride() == up.stride():
            return self.down_proj(rows.gated(gate, up, gelu=self.gelu), lora)
        return self.down_proj(self.activation(gate) * up, lora)
