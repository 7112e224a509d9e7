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
    raise NotImplementedError("04.paged_attention: paged_attention is yours to write")
