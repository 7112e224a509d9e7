"""A decode kernel: one query token a sequence, keys and values on pages.

The grid has one program for each sequence and KV head. It walks through the sequence's pages, loads each page's tile
of keys and values once, and uses it for all G query heads that share this KV head, with an online softmax
(04.paged_attention in torch). ``kv: [2, N, Hkv, P, D]``; ``q`` and ``out: [B, H, D]`` with H = G · Hkv; ``tables: [B,
pages]``.

For each page: scores ``[G, P] = scale · q · Kᵀ``, of which those past the context are -inf; then

    top    = max(largest, largest score of each row)
    shrink = e^(largest - top)          what was summed before, brought to the new maximum
    w      = e^(scores - top)           [G, P]
    total  = total · shrink + sum of w over the page
    acc    = acc · shrink + w · V       [G, D]

Slots past the context hold poison. A weight of 0 does not protect from it: mask the *loads* of K and V.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def decode_kernel(
    out_ptr,
    q_ptr,
    kv_ptr,
    tables_ptr,
    lens_ptr,
    scale,
    num_pages,
    table_width,
    HEADS: tl.constexpr,  # KV heads
    G: tl.constexpr,  # query heads that share one of them
    P: tl.constexpr,
    D: tl.constexpr,
):
    """Program (b, head). G, P and D are powers of two here, so that all of their lanes are real."""
    b, head = tl.program_id(0), tl.program_id(1)
    length = tl.load(lens_ptr + b)
    g, slot, d = tl.arange(0, G), tl.arange(0, P), tl.arange(0, D)
    rows = (b * HEADS * G + head * G + g)[:, None] * D + d[None, :]  # of these G heads, in q and in out
    q = tl.load(q_ptr + rows)
    largest = tl.full([G], float("-inf"), tl.float32)
    total = tl.zeros([G], tl.float32)
    acc = tl.zeros([G, D], tl.float32)
    raise NotImplementedError("05.decode: decode_kernel is yours to write")
    tl.store(out_ptr + rows, acc / total[:, None])


def decode(q: Tensor, kv: Tensor, tables: Tensor, lens: Tensor, scale: float) -> Tensor:
    """Written already: ``[B, H, D]``. ``tables`` and ``lens`` are int32; every sequence has at least one token."""
    _, num_pages, heads, page_size, dim = kv.shape
    out = torch.empty_like(q)
    decode_kernel[(q.shape[0], heads)](
        *(out, q, kv, tables, lens, scale, num_pages, tables.shape[1]),
        HEADS=heads,
        G=q.shape[1] // heads,
        P=page_size,
        D=dim,
    )
    return out
