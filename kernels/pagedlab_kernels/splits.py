"""Split and merge in Triton: into how many parts a context is cut, and how what they found becomes one result.

The idea
    Softmax needs the sum of all exponentials before it can give out a weight, but sums can be made in parts. Split i
    saw some of the tokens: it leaves the mean m_i of their values, weighted by softmax over these tokens alone, and
    lse_i, the log of the sum of their exponentials. Then, exactly (FlashAttention, arXiv:2205.14135),

        out = sum_i share_i * m_i,   share_i = exp(lse_i) / sum_j exp(lse_j)

    Any parts will do: of one context (``paged_decode.py``, ``paged_prefill.py``), or a prefix that many share and what
    follows it.

What it must move, for a row
    splits * (D + 1) * 4 bytes, written once and read once; what a split of S tokens reads is some S / 4 to S times as
    much. So splits must not be short, and there are only as many as it takes to keep the chip busy.

One program
               D
          ┌─────────────┐   ┌───┐
        s │ means of    │   │lse│   AT_ONCE splits at a time, with a running maximum and sum: the online softmax once
        p │ AT_ONCE     │   │   │   more, over splits in place of tokens
        l │ splits      │   │   │
          └─────────────┘   └───┘
"""

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

#: Splits that are merged in one go.
AT_ONCE = 16
#: Programs that one processor runs at once: two, so that one loads while the other computes.
RESIDENT = 2
#: A split has at least so many tokens ...
SHORTEST_SPLIT = 256
#: ... for to start a program and to write and merge what it found costs about as much as reading so many.
OVERHEAD = 64


@triton.jit(do_not_specialize=["num_splits"])
def merge_kernel(
    partial_ptr,  # [B * H, splits, D] float32
    lse_ptr,  # [B * H, splits] float32
    out_ptr,  # [B * H, D]
    num_splits,
    HEAD_DIM: tl.constexpr,
    DIM_PADDED: tl.constexpr,
    AT_ONCE: tl.constexpr,
):
    """A split that holds the share exp(lse - max) of all exponentials has that share in the result.

    However many splits follow, empty, what is added to what stays the same: so do the bits of the result.
    """
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, DIM_PADDED)
    largest = tl.full([1], float("-inf"), tl.float32)
    total = tl.zeros([1], tl.float32)
    acc = tl.zeros([DIM_PADDED], tl.float32)
    for start in range(0, num_splits, AT_ONCE):
        split = start + tl.arange(0, AT_ONCE)
        lse = tl.load(lse_ptr + row * num_splits + split, mask=split < num_splits, other=float("-inf"))
        at = (row * num_splits + split)[:, None] * HEAD_DIM + d[None, :]
        in_partial = (split < num_splits)[:, None] & (d < HEAD_DIM)[None, :]
        partial = tl.load(partial_ptr + at, mask=in_partial, other=0.0)
        new_largest = tl.maximum(largest, tl.max(lse, 0))
        share, rescale = tl.exp(lse - new_largest), tl.exp(largest - new_largest)
        total = total * rescale + tl.sum(share, 0)
        acc = acc * rescale + tl.sum(partial * share[:, None], 0)
        largest = new_largest
    tl.store(out_ptr + row * HEAD_DIM + d, (acc / total).to(out_ptr.dtype.element_ty), mask=d < HEAD_DIM)


def merge_splits(partial: Tensor, lse: Tensor, out: Tensor) -> None:
    """Merge ``partial: [..., splits, D]`` float32, whose weights are ``lse: [..., splits]``, into ``out: [..., D]``."""
    num_splits, dim = partial.shape[-2:]
    merge_kernel[(out.numel() // dim,)](
        partial, lse, out, num_splits, HEAD_DIM=dim, DIM_PADDED=triton.next_power_of_2(dim), AT_ONCE=AT_ONCE
    )


def num_processors(q: Tensor) -> int:
    """Of the chip that ``q`` is on; 1 in the interpreter."""
    return torch.cuda.get_device_properties(q.device).multi_processor_count if q.is_cuda else 1


def choose_splits(batch: int, num_kv_heads: int, max_context: int, num_processors: int, *, waves: int = 8) -> int:
    """How many parts the contexts of a step are best cut into.

    ``batch``: decode rows, or blocks of rows. ``max_context``: tokens that the one of them that reads the most has to
    read. ``num_processors``: of the chip. ``waves``: how often its places may be filled. Decode rows take about as long
    as each other, so eight short waves may take less time than two long ones; blocks do not, those at the beginning of
    a prompt see little and some have no rows: they are cut only to fill places that would stay free (1).
    """
    places = RESIDENT * num_processors
    return _cheapest(batch * num_kv_heads, max_context // SHORTEST_SPLIT, places, waves)


@lru_cache(maxsize=1024)
def _cheapest(rows: int, most: int, places: int, waves: int) -> int:
    """Programs come in waves of as many as there are places, and a wave takes as long as a split. Of the numbers of
    splits that make ``waves`` waves or fewer, this is the one whose waves take the shortest time together."""

    def cost(splits: int) -> float:
        return triton.cdiv(rows * splits, places) * (most * SHORTEST_SPLIT / splits + OVERHEAD)

    return min(range(1, max(1, min(most, waves * places // rows)) + 1), key=cost)
