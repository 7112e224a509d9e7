"""Steps over pages that are scattered at random, in memory where everything that must not be read is poisoned."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pagedlab_kernels.batch import PagedBatch

#: An unused page-table entry: to follow it is to read far outside the pool.
NOWHERE = -(2**30)


@dataclass
class Case:
    q: Tensor
    kv: Tensor
    batch: PagedBatch

    @property
    def scale(self) -> float:
        return float(self.q.shape[-1]) ** -0.5


def a_step(
    context_lens: list[int],
    query_lens: list[int],
    *,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    page_size: int,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Case:
    """Slots that hold no token of any sequence are NaN, in used pages too, and so are the pages of nobody."""
    draw = torch.Generator().manual_seed(seed)
    page_counts = [-(-length // page_size) for length in context_lens]
    num_pages = sum(page_counts) + 3
    shuffled = iter(torch.randperm(num_pages, generator=draw).tolist())
    kv = torch.full((2, num_pages, num_kv_heads, page_size, head_dim), torch.nan)
    tables = torch.full((len(context_lens), max(page_counts) + 2), NOWHERE, dtype=torch.int32)
    for sequence, (length, count) in enumerate(zip(context_lens, page_counts, strict=True)):
        for logical in range(count):
            tables[sequence, logical] = page = next(shuffled)
            used = min(page_size, length - logical * page_size)
            kv[:, page, :, :used] = torch.randn(2, num_kv_heads, used, head_dim, generator=draw)
    query_start = torch.tensor([0, *query_lens]).cumsum(0).int()
    positions = torch.cat([torch.arange(n - m, n) for n, m in zip(context_lens, query_lens, strict=True)])
    batch = PagedBatch(
        token_ids=torch.zeros_like(positions),
        positions=positions,
        slots=torch.zeros_like(positions),
        query_start=query_start,
        context_lens=torch.tensor(context_lens, dtype=torch.int32),
        page_tables=tables,
        page_size=page_size,
        max_query_len=max(query_lens),
        max_context_len=max(context_lens),
    )
    q = torch.randn(len(positions), num_heads, head_dim, generator=draw)
    return Case(q.to(dtype), kv.to(dtype), batch)


def decodes_around_a_page(num_heads: int, num_kv_heads: int, head_dim: int, page_size: int) -> Case:
    """Decode rows whose contexts just miss, fill and overflow one page."""
    lengths = sorted({1, max(1, page_size - 1), page_size, page_size + 1})
    shape = {"num_heads": num_heads, "num_kv_heads": num_kv_heads, "head_dim": head_dim}
    return a_step(lengths, [1] * len(lengths), page_size=page_size, **shape)


def worst_error(attended: Tensor, expected: Tensor) -> float:
    """Largest absolute difference; NaN counts as infinite."""
    return float((attended.double() - expected.double()).abs().nan_to_num(torch.inf).max())
