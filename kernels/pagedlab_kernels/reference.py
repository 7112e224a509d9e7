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
from pagedlab_kernels.kv_format import LayerKV, QuantizedKV, dequantize, gather_pages


def oracle_attention(
    q: Tensor,
    kv: LayerKV,
    batch: PagedBatch,
    scale: float,
    *,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """The formula, token by token and head by head -> ``[T, H, D]`` float64. Every other kernel is held to this one.

    ``softcap``: scores s become softcap * tanh(s / softcap) (Gemma 2, arXiv:2408.00118).
    """
    out = torch.empty(q.shape, dtype=torch.float64, device=q.device)
    if isinstance(kv, QuantizedKV):
        kv = dequantize(kv.kv_dtype, *kv.parts)
    group, page_size, reach = q.shape[1] // kv.shape[2], batch.page_size, batch.reach(window)
    rows, lengths, tables = batch.query_start.tolist(), batch.context_lens.tolist(), batch.page_tables.tolist()
    for sequence, length in enumerate(lengths):
        first, last = rows[sequence], rows[sequence + 1]
        oldest = max(0, length - (last - first) + 1 - reach)  # that any of the rows sees
        located = [(tables[sequence][j // page_size], j % page_size) for j in range(oldest, length)]
        keys = torch.stack([kv[0, page, :, offset] for page, offset in located]).double()  # [length - oldest, Hkv, D]
        values = torch.stack([kv[1, page, :, offset] for page, offset in located]).double()
        for row in range(first, last):
            stop = length - (last - 1 - row)
            seen = slice(max(0, stop - reach) - oldest, stop - oldest)
            for head in range(q.shape[1]):
                scores = scale * keys[seen, head // group] @ q[row, head].double()
                if softcap is not None:
                    scores = softcap * (scores / softcap).tanh()
                weights = (scores - scores.max()).exp()
                out[row, head] = weights / weights.sum() @ values[seen, head // group]
    return out


def gather_attention(
    q: Tensor,
    kv: LayerKV,
    batch: PagedBatch,
    scale: float,
    *,
    window: int | None = None,
    scratch: Tensor | None = None,
) -> Tensor:
    """Copy each sequence's pages into one contiguous tensor, then let torch's own attention run over it.

    Simple, and right on every device and with every KV format; it moves every key and value twice, or more often if
    they must be widened first. ``scratch`` may lend it memory for the copy, unless pages are quantised: a flat tensor
    with room for the keys and values of the longest sequence, of all its pages.
    """
    out = torch.empty_like(q)
    num_kv_heads, group, page_size = kv.shape[2], q.shape[1] // kv.shape[2], batch.page_size
    arithmetic, reach = torch.promote_types(q.dtype, kv.dtype), batch.reach(window)
    rows, lengths = batch.query_start.tolist(), batch.context_lens.tolist()
    for sequence, length in enumerate(lengths):
        first, last = rows[sequence], rows[sequence + 1]
        oldest = max(0, length - (last - first) + 1 - reach)  # that any row sees: what lies before may have no page
        skipped = oldest // page_size
        pages = batch.page_tables[sequence, skipped : -(-length // page_size)]
        shape = (2, num_kv_heads, len(pages), *kv.shape[3:])
        copy = None if scratch is None else scratch[: math.prod(shape)].view(shape)
        gathered = gather_pages(kv, pages, out=copy).flatten(2, 3)
        # [2, Hkv, G, length - oldest, D]: only slots that the sequence has written, and may still see, are kept.
        visible = gathered[:, :, None, oldest - skipped * page_size : length - skipped * page_size]
        visible = visible.to(arithmetic).expand(-1, -1, group, -1, -1)
        queries = q[first:last].to(arithmetic).unflatten(1, (num_kv_heads, group)).permute(1, 2, 0, 3)
        mask = None
        if last - first > 1:  # the last row sees every token up to the end, each row above it one less
            last_seen = length - oldest - (last - first)  # by the first row
            mask = torch.ones(last - first, length - oldest, dtype=torch.bool, device=q.device)
            mask = mask.tril_(last_seen).triu_(last_seen + 1 - reach)
        attended = F.scaled_dot_product_attention(queries, visible[0], visible[1], mask, scale=scale)
        out[first:last] = attended.permute(2, 0, 1, 3).flatten(1, 2)
    return out
