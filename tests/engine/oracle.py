"""What the engine is compared with: one sequence, everything recomputed for every token, no pages worth the name."""

from __future__ import annotations

import torch

from pagedlab.models.catalog import LoadedModel
from pagedlab_kernels.batch import PagedBatch
from pagedlab_kernels.reference import gather_attention


@torch.inference_mode()
def logits_of_last(loaded: LoadedModel, tokens: list[int]) -> torch.Tensor:
    """``[vocab]``: logits after ``tokens``, computed in one pass over one page that holds them all."""
    n, config = len(tokens), loaded.config
    kv = [torch.zeros(2, 1, config.num_kv_heads, n, config.head_dim) for _ in range(config.num_layers)]
    positions = torch.arange(n)
    batch = PagedBatch(
        token_ids=torch.tensor(tokens),
        positions=positions,
        slots=positions,
        query_start=torch.tensor([0, n], dtype=torch.int32),
        context_lens=torch.tensor([n], dtype=torch.int32),
        page_tables=torch.zeros(1, 1, dtype=torch.int32),
        page_size=n,
        max_query_len=n,
        max_context_len=n,
    )
    return loaded.model(batch, kv, gather_attention, torch.tensor([n - 1]))[0]


def greedy(loaded: LoadedModel, prompt: list[int], num_tokens: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(num_tokens):
        tokens.append(int(logits_of_last(loaded, tokens).argmax()))
    return tokens[len(prompt) :]
