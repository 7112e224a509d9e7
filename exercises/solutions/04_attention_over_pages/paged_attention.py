"""Attention for a sequence whose keys and values lie on pages, read where they are.

``kv`` is one layer of a real cache, ``[2, N, Hkv, P, D]``: keys in ``kv[0]``, values in ``kv[1]``, N pages, Hkv heads,
P slots a page, D numbers a slot. ``q`` is ``[R, H, D]``: the queries of the sequence's last R tokens (one when it
decodes, more in a prompt). G = H / Hkv query heads in a row share a KV head: heads 0 to G - 1 read KV head 0.

Row i is the token at position ``length - R + i``. It attends to all positions up to its own, and to none after it:

    out[i, h] = softmax(scale · q[i, h] · Kᵀ) · V

With pages of 4 and the table [5, 0, 3], a sequence of 10 tokens with R = 2: row 0 sees positions 0 to 8, row 1 also
position 9. The last two slots of page 3 belong to nobody: what is in them may be nan, and must not get out.

In chapter 13 this function serves the real model.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def paged_attention(q: Tensor, kv: Tensor, pages: Sequence[int], length: int, scale: float) -> Tensor:
    """``[R, H, D]``. Page by page, with an online softmax over pages: at no time more than one page is looked at.

    The table may have more entries than ``length`` tokens need; those must not be followed.
    """
    # BEGIN SOLUTION
    (rows, heads, dim), (kv_heads, size) = q.shape, kv.shape[2:4]
    queries = (scale * q).reshape(rows, kv_heads, heads // kv_heads, dim)
    position = torch.arange(length - rows, length)
    largest = torch.full(queries.shape[:3], -torch.inf)
    total, acc = torch.zeros(queries.shape[:3]), torch.zeros(queries.shape)
    for logical in range(-(-length // size)):
        first = logical * size
        filled = min(size, length - first)
        keys, values = kv[:, pages[logical], :, :filled]  # [Hkv, filled, D] each
        scores = torch.einsum("rkgd,ksd->rkgs", queries, keys)
        hidden = torch.arange(first, first + filled) > position[:, None]  # [R, filled]
        scores = scores.masked_fill(hidden[:, None, None], -torch.inf)
        top = torch.maximum(largest, scores.amax(-1))
        shrink, weights = (largest - top).exp(), (scores - top[..., None]).exp()
        total = total * shrink + weights.sum(-1)
        acc = acc * shrink[..., None] + torch.einsum("rkgs,ksd->rkgd", weights, values)
        largest = top
    return (acc / total[..., None]).reshape(rows, heads, dim)
    # END SOLUTION


# Why: the loop is over pages: each is read once for all rows and all heads that share it. Slots past the end are
# cut off before anything is multiplied: a weight of 0 does not protect from nan. Every row sees position 0, so from the
# first page on no maximum is -inf.
