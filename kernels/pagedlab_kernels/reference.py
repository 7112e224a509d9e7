"""Attention over pages in plain torch: what it means (the oracle), and the plainest way to run it (gather).

For one query head of one token, with the keys and values of its sequence up to itself,

    out = softmax(scale * q · K^T) · V                                   (Vaswani et al., arXiv:1706.03762)

Paging changes where a key lives and nothing else: token j of a sequence stands in page ``table[j // P]``, slot
``j % P``. Grouped-query attention (arXiv:2305.13245) lets G = H / Hkv query heads read the same keys and values.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pagedlab_kernels.batch import PagedBatch


def write_kv(k: Tensor, v: Tensor, kv: Tensor, slots: Tensor) -> None:
    """Put the keys and values of T new tokens, ``k`` and ``v: [T, Hkv, D]``, into their ``slots: [T]``."""
    page_size = kv.shape[3]
    page, offset = slots // page_size, slots % page_size
    kv[0, page, :, offset] = k
    kv[1, page, :, offset] = v


def oracle_attention(q: Tensor, kv: Tensor, batch: PagedBatch, scale: float) -> Tensor:
    """The formula, token by token and head by head -> ``[T, H, D]`` float64. Every other kernel is held to this one."""
    out = torch.empty(q.shape, dtype=torch.float64, device=q.device)
    group = q.shape[1] // kv.shape[2]
    rows, lengths, tables = batch.query_start.tolist(), batch.context_lens.tolist(), batch.page_tables.tolist()
    for sequence, length in enumerate(lengths):
        located = [(tables[sequence][j // batch.page_size], j % batch.page_size) for j in range(length)]
        keys = torch.stack([kv[0, page, :, offset] for page, offset in located]).double()  # [length, Hkv, D]
        values = torch.stack([kv[1, page, :, offset] for page, offset in located]).double()
        first, last = rows[sequence], rows[sequence + 1]
        for row in range(first, last):
            visible = length - (last - 1 - row)
            for head in range(q.shape[1]):
                scores = scale * keys[:visible, head // group] @ q[row, head].double()
                weights = (scores - scores.max()).exp()
                out[row, head] = weights / weights.sum() @ values[:visible, head // group]
    return out


def gather_attention(
    q: Tensor, kv: Tensor, batch: PagedBatch, scale: float, *, scratch: Tensor | None = None
) -> Tensor:
    """Copy each sequence's pages into one contiguous tensor, then let torch's own attention run over it.

    Simple, and right on every device; it moves every key and value twice. ``scratch`` may lend it memory for the copy:
    a flat tensor with room for the keys and values of the longest sequence, of all its pages.
    """
    out = torch.empty_like(q)
    num_kv_heads, group = kv.shape[2], q.shape[1] // kv.shape[2]
    by_head = kv.transpose(1, 2)  # [2, Hkv, N, P, D]
    rows, lengths = batch.query_start.tolist(), batch.context_lens.tolist()
    for sequence, length in enumerate(lengths):
        first, last = rows[sequence], rows[sequence + 1]
        pages = batch.page_tables[sequence, : -(-length // batch.page_size)]
        shape = (2, num_kv_heads, len(pages), *kv.shape[3:])
        copy = None if scratch is None else scratch[: math.prod(shape)].view(shape)
        gathered = torch.index_select(by_head, 2, pages, out=copy)
        # [2, Hkv, G, length, D]: only slots that the sequence has written are kept.
        visible = gathered.flatten(2, 3)[:, :, None, :length].expand(-1, -1, group, -1, -1)
        queries = q[first:last].unflatten(1, (num_kv_heads, group)).permute(1, 2, 0, 3)  # [Hkv, G, rows, D]
        mask = None
        if last - first > 1:  # the last row sees every token, each row above it one less
            mask = torch.ones(last - first, length, dtype=torch.bool, device=q.device).tril(length - (last - first))
        attended = F.scaled_dot_product_attention(queries, visible[0], visible[1], mask, scale=scale)
        out[first:last] = attended.permute(2, 0, 1, 3).flatten(1, 2)
    return out
