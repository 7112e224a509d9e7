"""Decode attention over pages in Triton: one new token for each sequence, split over its context, then merged.

The idea
    A decode step asks little arithmetic of much memory: every key and value of the context is read once. So one program
    reads one *tile* after the other of one KV head of one sequence, and serves all G query heads of the group from it.
    A long context is cut into splits, one program each, so that even a single sequence fills the chip; a second, small
    kernel merges what they found (Flash-Decoding; the merge by log-sum-exp is exact: FlashAttention, arXiv:2205.14135).

    With a window, a context is its last so many tokens: nothing before them is read. With a soft cap, scores are
    squeezed between plus and minus it (Gemma 2, arXiv:2408.00118). Quantised pages are read as they are
    (``dequantise.py``).

What it must move, for a sequence of L tokens and one KV head
    2 * L * (bytes of a vector, ``kv_format.py``) of keys and values, read once; L / P * 4 bytes of page table; little
    else. It does 4 * G * L * D FLOPs meanwhile: about G FLOPs a byte at 16 bits. Bound by memory, on every chip.

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

from pagedlab_kernels.kv_format import LayerKV
from pagedlab_kernels.precision import HIP, stored, widens
from pagedlab_kernels.splits import choose_splits, merge_splits, num_processors
from pagedlab_kernels.tile import attend_tile


# Numbers that change from step to step are not specialised: no new compilation when a batch or a context grows.
@triton.jit(
    do_not_specialize=["num_vectors", "table_stride", "num_splits", "split_tokens", "reach", "skipped", "splits_before"]
)
def paged_decode_kernel(
    q_ptr,  # [B, H, D]
    kv_ptr,  # [2, N, Hkv, P, D], contiguous: numbers, or codes (int4: D / 2 bytes a vector)
    scales_ptr,  # [2, N, Hkv, P] float32, or None where STORE is "plain"
    zeros_ptr,  # the same, or None where STORE is "plain" or "fp8"
    table_ptr,  # [B, max_pages] int32
    length_ptr,  # [B] int32
    partial_ptr,  # [B, H, splits_before + num_splits, D]: each split's softmax-weighted mean of values
    lse_ptr,  # [B, H, splits_before + num_splits] float32: log of each split's sum of exponentials
    scale,
    softcap,  # read where CAPPED
    num_vectors,  # keys of the pool, N * Hkv * P: so far behind the keys lie the values
    table_stride,
    num_splits,
    split_tokens,  # 0: an equal share for each split
    reach,  # tokens that a row attends to at most, its own the last of them
    skipped,  # tokens at the beginning of every context that somebody else attends to,
    splits_before,  # and whose splits come first
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    TILE: tl.constexpr,
    GROUP_PADDED: tl.constexpr,
    DIM_PADDED: tl.constexpr,
    STORE: tl.constexpr,
    CAPPED: tl.constexpr,
    WIDEN: tl.constexpr,
    EXACT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    sequence, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    num_kv_heads = tl.num_programs(1)

    # 1. This program's share of the context: whole tiles, equal for all splits but the last ones, which may be empty.
    length = tl.load(length_ptr + sequence)
    oldest = tl.maximum(length - reach, skipped)
    share = tl.cdiv(tl.cdiv(length - oldest, num_splits), TILE) * TILE
    share = tl.where(split_tokens > 0, split_tokens, share)
    first = oldest + split * share
    last = tl.minimum(first + share, length)

    # 2. The queries of the group.
    g, d = tl.arange(0, GROUP_PADDED), tl.arange(0, DIM_PADDED)
    head = kv_head * GROUP + g
    num_heads = num_kv_heads * GROUP
    q_at = (sequence * num_heads + head)[:, None] * HEAD_DIM + d[None, :]
    in_q = (g < GROUP)[:, None] & (d < HEAD_DIM)[None, :]
    q = tl.load(q_ptr + q_at, mask=in_q, other=0.0)
    q = q.to(tl.float32) if WIDEN else q
    q_sum = tl.sum(q.to(tl.float32), 1)

    # 3. Tile after tile, with a running maximum and sum.
    largest = tl.full([GROUP_PADDED], float("-inf"), tl.float32)
    total = tl.zeros([GROUP_PADDED], tl.float32)
    acc = tl.zeros([GROUP_PADDED, DIM_PADDED], tl.float32)
    for tile in range(first, last, TILE):
        token = tile + tl.arange(0, TILE)
        there = token < last
        largest, total, acc = attend_tile(
            q, q_sum, largest, total, acc, token, there, there[None, :],
            kv_ptr, scales_ptr, zeros_ptr, table_ptr + sequence * table_stride,
            kv_head, num_kv_heads, num_vectors, scale, softcap,
            HEAD_DIM, PAGE_SIZE, STORE, CAPPED, EXACT, PRECISION,
        )  # fmt: skip

    # 4. What this split found. An empty one leaves log(0) = -inf: it will weigh nothing.
    out_row = (sequence * num_heads + head).to(tl.int64) * (splits_before + num_splits) + splits_before + split
    found = tl.where(total > 0, total, 1.0)
    mean_at = out_row[:, None] * HEAD_DIM + d[None, :]
    tl.store(partial_ptr + mean_at, (acc / found[:, None]).to(partial_ptr.dtype.element_ty), mask=in_q)
    tl.store(lse_ptr + out_row, tl.where(total > 0, largest + tl.log(found), float("-inf")), mask=g < GROUP)


def paged_decode(
    q: Tensor,
    kv: LayerKV,
    page_tables: Tensor,
    context_lens: Tensor,
    scale: float,
    *,
    max_context: int,
    window: int | None = None,
    softcap: float | None = None,
    num_splits: int | None = None,
    split_tokens: int | None = None,
) -> Tensor:
    """``q: [B, H, D]``, one query row a sequence; ``kv: [2, N, Hkv, P, D]`` contiguous -> ``[B, H, D]``.

    ``max_context`` is in tokens: the longest of ``context_lens: [B] int32``. ``softcap``: scores s become
    softcap * tanh(s / softcap). Where the types of ``q`` and of a plain ``kv`` differ, both are widened to float32.

    A context is cut into ``num_splits`` equal splits, by default as many as suit the chip; or into splits of
    ``split_tokens``: then the result for a sequence is the same, bit for bit, whatever else is in the batch.
    """
    batch, num_heads, dim = q.shape
    reach = max_context if window is None else window
    seen = min(max_context, reach)
    if split_tokens is not None:
        num_splits = triton.cdiv(seen, split_tokens)
    elif num_splits is None:
        num_splits = choose_splits(batch, kv.shape[2], seen, num_processors(q))
    q, out = q.contiguous(), torch.empty_like(q, memory_format=torch.contiguous_format)
    # The mean of a single split is the result: there is nothing to merge.
    partial = (
        out[:, :, None] if num_splits == 1 else q.new_empty(batch, num_heads, num_splits, dim, dtype=torch.float32)
    )
    lse = q.new_empty(batch, num_heads, num_splits, dtype=torch.float32)
    launch_decode(
        q,
        kv,
        page_tables,
        context_lens,
        partial,
        lse,
        scale,
        softcap,
        num_splits,
        reach,
        split_tokens=split_tokens or 0,
    )
    if num_splits > 1:
        merge_splits(partial, lse, out)
    return out


def launch_decode(
    q: Tensor,
    kv: LayerKV,
    page_tables: Tensor,
    context_lens: Tensor,
    partial: Tensor,
    lse: Tensor,
    scale: float,
    softcap: float | None,
    num_splits: int,
    reach: int,
    *,
    split_tokens: int = 0,
    skipped: int = 0,
) -> None:
    """The kernel, for what follows ``skipped`` tokens. Fills the last ``num_splits`` of ``partial: [B, H, splits, D]``
    and of ``lse: [B, H, splits]``."""
    store, numbers, scales, zeros = stored(kv)
    (batch, num_heads, dim), (_, num_pages, num_kv_heads, page_size, _) = q.shape, kv.shape
    constants = decode_constants(
        num_heads // num_kv_heads, dim, page_size, store, widens(q, kv), numbers.dtype != torch.float32
    )
    paged_decode_kernel[(batch, num_kv_heads, num_splits)](
        q,
        numbers,
        scales,
        zeros,
        page_tables,
        context_lens,
        partial,
        lse,
        scale,
        softcap or 0.0,
        num_pages * num_kv_heads * page_size,
        page_tables.stride(0),
        num_splits,
        split_tokens,
        reach,
        skipped,
        lse.shape[2] - num_splits,
        **constants,
        CAPPED=softcap is not None,
    )


def decode_constants(
    group: int, head_dim: int, page_size: int, store: str, widen: bool, exact: bool, hip: bool = HIP
) -> dict[str, int | str]:
    """What the decode kernel is compiled for, and the compiler's options. ``widen``: all arithmetic is in float32;
    ``exact``: pages are not.

    A tile has room for 8,192 numbers (64 tokens of 128), so that keys, values and scores stay in registers; for half
    as many where they are widened to float32, or unpacked where nothing is copied asynchronously.
    """
    dim_padded = max(16, triton.next_power_of_2(head_dim))
    unpack = hip and store != "plain"
    room, longest = (4096, 32 if unpack else 128) if widen or unpack else (8192, 128)
    return {
        "GROUP": group,
        "HEAD_DIM": head_dim,
        "PAGE_SIZE": page_size,
        "TILE": max(16, min(longest, room // dim_padded)),
        "GROUP_PADDED": max(16, triton.next_power_of_2(group)),
        "DIM_PADDED": dim_padded,
        "STORE": store,
        "WIDEN": widen,
        "EXACT": exact,
        "PRECISION": "ieee" if hip else "tf32x3",
        "num_warps": 4 if exact else 8,
        # The page table comes one stage before the keys: five stages keep two tiles under way.
        "num_stages": 2 if hip else 5,
    }
