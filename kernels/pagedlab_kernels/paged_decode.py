"""Decode attention over pages in Triton: one new token for each sequence, split over its context, then merged.

The idea
    A decode step asks little arithmetic of much memory: every key and value of the context is read once. So one program
    reads one *tile* after the other of one KV head of one sequence, and serves all G query heads of the group from it.
    A long context is cut into splits, one program each, so that even a single sequence fills the chip; a second, small
    kernel merges what they found (Flash-Decoding; the merge by log-sum-exp is exact: FlashAttention, arXiv:2205.14135).

    With a window, a context is its last so many tokens: nothing before them is read.

What it must move, for a sequence of L tokens and one KV head
    2 * L * D * bytes of keys and values, read once; L / P * 4 bytes of page table; next to nothing else.
    It does 4 * G * L * D FLOPs meanwhile: about G FLOPs a byte at 16 bits. Bound by memory, on every chip there is.

One program
                     D                 page table of the sequence
              ┌─────────────┐          ┌───┬───┬───┬───┐
        q: G  │             │          │ 0 │ 7 │ 2 │11 │     token n of the tile stands in
              └─────────────┘          └───┴─┬─┴───┴───┘     page  table[n // P], slot n % P,
              ┌─────────────┐  n // P ───────┘               wherever that is: a tile may span
       K^T: D │ tile of     │                                many small pages or be a part of
              │ TILE tokens │                                a large one
              └─────────────┘
        scores G x TILE ──► online softmax ──► acc += weights @ V

Matrix units want at least 16 rows, so G is padded to 16; a padded row costs nothing that memory does not hide.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pagedlab.errors import KernelUnavailable
from pagedlab_kernels.batch import PagedBatch
from pagedlab_kernels.kv_format import PLAIN, LayerKV, QuantizedKV

#: The interpreter multiplies the bit patterns of bfloat16 in tl.dot: there, everything is widened first.
INTERPRETED = triton.knobs.runtime.interpret
#: A widened tile takes the registers of so many warps.
WIDENING_WARPS = 8


# Numbers that change from step to step are not specialised: no new compilation when a batch or a context grows.
@triton.jit(do_not_specialize=["table_stride", "num_splits", "reach"])
def paged_decode_kernel(
    q_ptr,  # [B, H, D]
    kv_ptr,  # [2, N, Hkv, P, D], contiguous
    table_ptr,  # [B, max_pages] int32
    length_ptr,  # [B] int32
    partial_ptr,  # [B, H, splits, D] float32: each split's softmax-weighted sum of values
    lse_ptr,  # [B, H, splits] float32: log of each split's sum of exponentials
    scale,
    value_offset,  # elements from keys to values: N * Hkv * P * D
    table_stride,
    num_splits,
    reach,  # tokens that a row attends to at most, its own the last of them
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    TILE: tl.constexpr,
    GROUP_PADDED: tl.constexpr,
    DIM_PADDED: tl.constexpr,
    WIDEN: tl.constexpr,
):
    # A 16-bit number is a tf32 number, and a float32 one nearly the sum of two: three passes of the matrix units.
    PRECISION: tl.constexpr = "tf32x3" if WIDEN else "ieee"
    sequence, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    num_kv_heads = tl.num_programs(1)

    # 1. This program's share of the context: whole tiles, equal for all splits but the last ones, which may be empty.
    length = tl.load(length_ptr + sequence)
    oldest = tl.maximum(length - reach, 0)
    share = tl.cdiv(tl.cdiv(length - oldest, num_splits), TILE) * TILE
    first = oldest + split * share
    last = tl.minimum(first + share, length)

    # 2. The queries of the group.
    g, d = tl.arange(0, GROUP_PADDED), tl.arange(0, DIM_PADDED)
    head = kv_head * GROUP + g
    num_heads = num_kv_heads * GROUP
    q_at = (sequence * num_heads + head)[:, None] * HEAD_DIM + d[None, :]
    in_q = (g < GROUP)[:, None] & (d < HEAD_DIM)[None, :]
    q = tl.load(q_ptr + q_at, mask=in_q, other=0.0)
    if WIDEN:
        q = q.to(tl.float32)

    # 3. Tile after tile, with a running maximum and sum.
    largest = tl.full([GROUP_PADDED], float("-inf"), tl.float32)
    total = tl.zeros([GROUP_PADDED], tl.float32)
    acc = tl.zeros([GROUP_PADDED, DIM_PADDED], tl.float32)
    for start in range(first, last, TILE):
        token = start + tl.arange(0, TILE)
        there = token < last
        page = tl.load(table_ptr + sequence * table_stride + token // PAGE_SIZE, mask=there, other=0).to(tl.int64)
        row = (page * num_kv_heads + kv_head) * PAGE_SIZE + token % PAGE_SIZE
        kv_at = row[:, None] * HEAD_DIM + d[None, :]
        in_kv = there[:, None] & (d < HEAD_DIM)[None, :]
        k = tl.load(kv_ptr + kv_at, mask=in_kv, other=0.0)
        v = tl.load(kv_ptr + value_offset + kv_at, mask=in_kv, other=0.0)
        if WIDEN:
            k, v = k.to(tl.float32), v.to(tl.float32)

        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
        scores = tl.where(there[None, :], scores, float("-inf"))
        new_largest = tl.maximum(largest, tl.max(scores, 1))
        weights = tl.exp(scores - new_largest[:, None])
        rescale = tl.exp(largest - new_largest)
        total = total * rescale + tl.sum(weights, 1)
        acc = acc * rescale[:, None] + tl.dot(weights.to(v.dtype), v, input_precision=PRECISION)
        largest = new_largest

    # 4. What this split found. An empty one leaves log(0) = -inf: it will weigh nothing.
    out_row = (sequence * num_heads + head) * num_splits + split
    found = tl.where(total > 0, total, 1.0)
    tl.store(partial_ptr + out_row[:, None] * HEAD_DIM + d[None, :], acc / found[:, None], mask=in_q)
    tl.store(lse_ptr + out_row, tl.where(total > 0, largest + tl.log(found), float("-inf")), mask=g < GROUP)


@triton.jit(do_not_specialize=["num_splits"])
def merge_kernel(
    partial_ptr,  # [B * H, splits, D] float32
    lse_ptr,  # [B * H, splits] float32
    out_ptr,  # [B * H, D]
    num_splits,
    HEAD_DIM: tl.constexpr,
    SPLITS_PADDED: tl.constexpr,
    DIM_PADDED: tl.constexpr,
):
    """A split that holds the share exp(lse - max) of all exponentials has that share in the result."""
    row = tl.program_id(0)
    s, d = tl.arange(0, SPLITS_PADDED), tl.arange(0, DIM_PADDED)
    lse = tl.load(lse_ptr + row * num_splits + s, mask=s < num_splits, other=float("-inf"))
    share = tl.exp(lse - tl.max(lse, 0))
    at = (row * num_splits + s)[:, None] * HEAD_DIM + d[None, :]
    partial = tl.load(partial_ptr + at, mask=(s < num_splits)[:, None] & (d < HEAD_DIM)[None, :], other=0.0)
    merged = tl.sum(partial * share[:, None], 0) / tl.sum(share, 0)
    tl.store(out_ptr + row * HEAD_DIM + d, merged.to(out_ptr.dtype.element_ty), mask=d < HEAD_DIM)


def choose_splits(batch: int, num_kv_heads: int, max_context: int, num_processors: int) -> int:
    """Enough programs to fill the chip twice over, none with fewer than 256 tokens, at most 64 splits.

    ``max_context``: tokens that the row that reads the most of them has to read.
    """
    wanted = triton.cdiv(2 * num_processors, batch * num_kv_heads)
    return max(1, min(wanted, max_context // 256, 64))


def paged_decode(
    q: Tensor,
    kv: Tensor,
    page_tables: Tensor,
    context_lens: Tensor,
    scale: float,
    *,
    max_context: int,
    window: int | None = None,
    num_splits: int | None = None,
) -> Tensor:
    """``q: [B, H, D]``, one query row a sequence; ``kv: [2, N, Hkv, P, D]`` contiguous -> ``[B, H, D]``.

    ``max_context`` is in tokens: the longest of ``context_lens: [B] int32``. Where the types of ``q`` and ``kv``
    differ, both are widened to float32.
    """
    reach = max_context if window is None else window
    (batch, num_heads, dim), (_, num_pages, num_kv_heads, page_size, _) = q.shape, kv.shape
    if num_splits is None:
        processors = torch.cuda.get_device_properties(q.device).multi_processor_count if q.is_cuda else 1
        num_splits = choose_splits(batch, num_kv_heads, min(max_context, reach), processors)
    q, out = q.contiguous(), torch.empty_like(q, memory_format=torch.contiguous_format)
    partial = torch.empty(batch, num_heads, num_splits, dim, dtype=torch.float32, device=q.device)
    lse = torch.empty(batch, num_heads, num_splits, dtype=torch.float32, device=q.device)
    mixed = q.dtype != kv.dtype
    constants = decode_constants(num_heads // num_kv_heads, dim, page_size, torch.float32 if mixed else q.dtype)
    paged_decode_kernel[(batch, num_kv_heads, num_splits)](
        q,
        kv,
        page_tables,
        context_lens,
        partial,
        lse,
        scale,
        num_pages * num_kv_heads * page_size * dim,
        page_tables.stride(0),
        num_splits,
        reach,
        **constants,
        WIDEN=INTERPRETED or mixed,
        num_warps=WIDENING_WARPS if mixed else 4,
    )
    merge_kernel[(batch * num_heads,)](
        partial,
        lse,
        out,
        num_splits,
        HEAD_DIM=dim,
        SPLITS_PADDED=triton.next_power_of_2(num_splits),
        DIM_PADDED=constants["DIM_PADDED"],
    )
    return out


def decode_constants(group: int, head_dim: int, page_size: int, dtype: torch.dtype) -> dict[str, int]:
    """What the decode kernel is compiled for.

    A tile holds 16 KiB of keys, so that keys, values and scores stay in registers; half of that in float32, whose
    products are made without matrix units, in registers as well.
    """
    dim_padded = max(16, triton.next_power_of_2(head_dim))
    room = 16384 if dtype.itemsize < 4 else 8192
    return {
        "GROUP": group,
        "HEAD_DIM": head_dim,
        "PAGE_SIZE": page_size,
        "TILE": max(16, min(128, room // (dim_padded * dtype.itemsize))),
        "GROUP_PADDED": max(16, triton.next_power_of_2(group)),
        "DIM_PADDED": dim_padded,
    }


def triton_attention(q: Tensor, kv: LayerKV, batch: PagedBatch, scale: float, *, window: int | None = None) -> Tensor:
    """Decode rows and chunks alike: a chunk of T tokens is T decodes whose contexts grow by one, a staircase.

    Raises KernelUnavailable for quantised pages.
    """
    batch.check_fits(q, kv, window)
    if isinstance(kv, QuantizedKV):
        raise KernelUnavailable(
            f"attention='triton' was asked for over {kv.kv_dtype} pages, which it does not read; "
            f"use attention='reference', or kv_dtype {', '.join(PLAIN)}"
        )
    tables, context_lens = batch.page_tables, batch.context_lens
    if not batch.decode_only:
        rows = (batch.query_start[1:] - batch.query_start[:-1]).long()
        sequence_of_row = torch.repeat_interleave(torch.arange(len(rows), device=q.device), rows)
        after_it = (
            batch.query_start[1:][sequence_of_row] - torch.arange(q.shape[0], device=q.device, dtype=torch.int32) - 1
        )
        tables, context_lens = tables[sequence_of_row], context_lens[sequence_of_row] - after_it
    return paged_decode(q, kv, tables, context_lens, scale, max_context=batch.max_context_len, window=window)
