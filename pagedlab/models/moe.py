"""A mixture of experts: many feed-forwards, of which each token passes through a few."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pagedlab.models.config import ModelConfig
from pagedlab.models.layers import GatedMLP
from pagedlab.models.linear import Linear

if TYPE_CHECKING:
    from pagedlab.models.lora import LoraBatch


class MixtureOfExperts(nn.Module):
    """``sum of weight_e * expert_e(x)`` over the K experts that the router finds likeliest (arXiv:2401.04088)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.experts_per_token, self.renormalise = config.experts_per_token, config.renormalise_experts
        self.gate = Linear(config.hidden_size, config.num_experts, group_bits=8)
        self.experts = nn.ModuleList(
            GatedMLP(config.hidden_size, config.intermediate_size, config.activation) for _ in range(config.num_experts)
        )

    def forward(self, x: Tensor, lora: LoraBatch | None = None) -> Tensor:
        """``[T, hidden] -> [T, hidden]``. No adapter reaches the experts: ``load_adapter`` refuses one that would."""
        weights, chosen = self.gate(x).float().softmax(-1).topk(self.experts_per_token)  # [T, K] both
        if self.renormalise:
            weights = weights / weights.sum(-1, keepdim=True)
        # Sorted by expert, the T * K pairs of token and expert are one run of rows for each expert.
        experts = chosen.flatten()
        by_expert = experts.argsort(stable=True)
        counts = experts.bincount(minlength=len(self.experts)).tolist()
        runs = x[by_expert // self.experts_per_token].split(counts)
        results = [expert(run) for expert, run in zip(self.experts, runs, strict=True) if len(run)]
        # Back to the order of tokens before they are summed: no sum depends on who else is in the batch.
        outputs = torch.empty(len(experts), x.shape[-1], dtype=x.dtype, device=x.device)
        outputs[by_expert] = torch.cat(results)
        return (outputs.view(*chosen.shape, -1) * weights[..., None].to(x.dtype)).sum(1)
