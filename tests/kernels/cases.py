"""Steps over pages that are scattered at random, in memory where everything that must not be read is poisoned."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from pagedlab.memory.table import HOLE
from pagedlab_kernels.batch import AttentionFn, PagedBatch
from pagedlab_kernels.cpu.attention import cpu_attention, fallback_attention
from pagedlab_kernels.kv_format import PLAIN, LayerKV, QuantizedKV, as_layer, quantize
from pagedlab_kernels.reference import gather_attention, oracle_attention

#: An unused page-table entry: to follow it is to read far outside the pool.
NOWHERE = -(2**30)


#: Every path that runs on a CPU without Triton.
PATHS = pytest.mark.parametrize(
    "attention",
    [gather_attention, cpu_attention, fallback_attention],
    ids=["reference", "cpu", "cpu without a compiler"],
)


@dataclass
class Case:
    q: Tensor
    kv: LayerKV
    batch: PagedBatch
    window: int | None = None

    @property
    def scale(self) -> float:
        return float(self.q.shape[-1]) ** -0.5

    def attend(self, attention: AttentionFn) -> Tensor:
        return attention(self.q, self.kv, self.batch, self.scale, window=self.window)

    def expected(self) -> Tensor:
        return oracle_attention(self.q, self.kv, self.batch, self.scale, window=self.window)


def a_step(
    context_lens: list[int],
    query_lens: list[int],
    *,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    page_size: int,
    dtype: torch.dtype = torch.float32,
    kv_dtype: str | None = None,
    window: int | None = None,
    seed: int = 0,
) -> Case:
    """Slots that hold no token that may be read are NaN, in used pages too, and so are the pages of nobody.

    Pages that lie wholly behind the window have been given back. ``kv_dtype``: that of the queries unless it is named.
    The same numbers on every device; what is returned is on torch's default device.
    """
    device = torch.get_default_device()
    with torch.device("cpu"):
        case = _a_step(
            context_lens, query_lens, num_heads, num_kv_heads, head_dim, page_size, dtype, kv_dtype, window, seed
        )
    return case if device.type == "cpu" else moved(case, device)


def moved(case: Case, device: torch.device) -> Case:
    tensors = {name: one.to(device) for name, one in vars(case.batch).items() if isinstance(one, Tensor)}
    parts = case.kv.parts if isinstance(case.kv, QuantizedKV) else (case.kv,)
    kv = as_layer(case.kv.kv_dtype if isinstance(case.kv, QuantizedKV) else "float32", [p.to(device) for p in parts])
    return replace(case, q=case.q.to(device), kv=kv, batch=replace(case.batch, **tensors))


def _a_step(
    context_lens: list[int],
    query_lens: list[int],
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    page_size: int,
    dtype: torch.dtype,
    kv_dtype: str | None,
    window: int | None,
    seed: int,
) -> Case:
    draw = torch.Generator().manual_seed(seed)
    page_counts = [-(-length // page_size) for length in context_lens]
    num_pages = sum(page_counts) + 3
    shuffled = iter(torch.randperm(num_pages, generator=draw).tolist())
    kv = torch.full((2, num_pages, num_kv_heads, page_size, head_dim), torch.nan)
    tables = torch.full((len(context_lens), max(page_counts) + 2), NOWHERE, dtype=torch.int32)
    for sequence, (length, count) in enumerate(zip(context_lens, page_counts, strict=True)):
        oldest = 0 if window is None else max(0, length - query_lens[sequence] - window + 1)
        for logical in range(count):
            start, stop = max(oldest - logical * page_size, 0), min(length - logical * page_size, page_size)
            page = next(shuffled)
            if start < stop:
                tables[sequence, logical] = page
                kv[:, page, :, start:stop] = torch.randn(2, num_kv_heads, stop - start, head_dim, generator=draw)
            else:
                tables[sequence, logical] = HOLE
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
    return Case(q.to(dtype), stored(kv, kv_dtype or str(dtype).removeprefix("torch.")), batch, window)


def stored(kv: Tensor, kv_dtype: str) -> LayerKV:
    """The same keys and values in another format. A vector of NaN stays one, whatever its codes are."""
    parts = [kv.to(PLAIN[kv_dtype])] if kv_dtype in PLAIN else list(quantize(kv, kv_dtype))
    return as_layer(kv_dtype, parts)


def with_batch(case: Case, **changes: object) -> Case:
    return replace(case, batch=replace(case.batch, **changes))  # type: ignore[arg-type]


def decodes_around_a_page(num_heads: int, num_kv_heads: int, head_dim: int, page_size: int) -> Case:
    """Decode rows whose contexts just miss, fill and overflow one page."""
    lengths = sorted({1, max(1, page_size - 1), page_size, page_size + 1})
    shape = {"num_heads": num_heads, "num_kv_heads": num_kv_heads, "head_dim": head_dim}
    return a_step(lengths, [1] * len(lengths), page_size=page_size, **shape)


def worst_error(attended: Tensor, expected: Tensor) -> float:
    """Largest absolute difference; NaN counts as infinite."""
    return float((attended.double() - expected.double()).abs().nan_to_num(torch.inf).max())
