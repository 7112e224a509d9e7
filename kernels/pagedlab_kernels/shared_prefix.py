"""A prefix that all sequences share, attended to once for the whole batch, in Triton (cascade attention).

The idea
    Behind one system prompt of 8,000 tokens, 64 sequences decode. Each of their page tables begins with the same
    physical pages: memory holds the prefix once, but decode attention reads it 64 times. What one program reads can
    serve more than the G query heads of one sequence: it can take the same heads of several sequences, for their
    queries all see the whole prefix. So attention is cut in two: the prefix, for blocks of queries of everybody; and
    what follows it, for each sequence by itself (``paged_decode.py``). Both leave means and log-sum-exps, and the merge
    that joins splits joins these too (Hydragen, arXiv:2402.05099; FlashInfer's cascade, arXiv:2501.01005).

What it must move, for a prefix of L tokens, B sequences, one KV head
    2 * L * (bytes of a vector) for each block of query vectors, B * G / 64 of them, in place of B times as much.

    With BLOCK query vectors a block it does BLOCK FLOPs a byte at 16 bits where decode does G: as long as that is fewer
    than a chip does in the time of a byte, the prefix costs next to nothing.

One program: ROWS sequences, one KV head, one split of the prefix
                                        page table of sequence 0, and of everybody
        sequence 0: G heads  │          ┌───┬───┬───┬───┐
        sequence 1: G heads  │          │ 5 │ 1 │ 8 │ 3 │ … its own pages: somebody else's business
        sequence 2: G heads  │          └───┴───┴───┴───┘
        …                    │  scores, online softmax as ever
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pagedlab_kernels.batch import PagedBatch
from pagedlab_kernels.kv_format import LayerKV, QuantizedKV
from pagedlab_kernels.paged_decode import launch_decode
from pagedlab_kernels.paged_prefill import prefill_constants
from pagedlab_kernels.precision import stored, widens
from pagedlab_kernels.splits import choose_splits, merge_splits, num_processors
from pagedlab_kernels.tile import attend_tile

#: Bytes that must be saved to pay for another launch and its merge: some microseconds of an H100's bandwidth.
WORTH = 2**23


# Numbers that change from step to step are not specialised: no new compilation when a batch or a prefix grows.
@triton.jit(do_not_specialize=["num_vectors", "num_sequences", "num_splits", "all_splits", "prefix"])
def shared_prefix_kernel(
    q_ptr,  # [B, H, D]
    kv_ptr,  # [2, N, Hkv, P, D], contiguous: numbers, or codes (int4: D / 2 bytes a vector)
    scales_ptr,  # [2, N, Hkv, P] float32, or None where STORE is "plain"
    zeros_ptr,  # the same, or None where STORE is "plain" or "fp8"
    table_ptr,  # [max_pages] int32, of any of the sequences
    partial_ptr,  # [B, H, all_splits, D]: each split's softmax-weighted mean of values
    lse_ptr,  # [B, H, all_splits] float32: log of each split's sum of exponentials
    scale,
    softcap,  # read where CAPPED
    num_vectors,  # keys of the pool, N * Hkv * P: so far behind the keys lie the values
    num_sequences,
    num_splits,
    all_splits,  # these, which come first, and those of what follows the prefix
    prefix,  # tokens
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    DIM_PADDED: tl.constexpr,
    STORE: tl.constexpr,
    CAPPED: tl.constexpr,
    WIDEN: tl.constexpr,
    EXACT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    ROWS: tl.constexpr = BLOCK // GROUP
    block, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    num_kv_heads = tl.num_programs(1)

    # 1. Query vectors of ROWS sequences, and this program's share of the prefix.
    m, d = tl.arange(0, BLOCK), tl.arange(0, DIM_PADDED)
    sequence, head = block * ROWS + m // GROUP, kv_head * GROUP + m % GROUP
    there = (m < ROWS * GROUP) & (sequence < num_sequences)
    in_q = there[:, None] & (d < HEAD_DIM)[None, :]
    row = sequence.to(tl.int64) * (num_kv_heads * GROUP) + head
    q = tl.load(q_ptr + row[:, None] * HEAD_DIM + d[None, :], mask=in_q, other=0.0)
    q = q.to(tl.float32) if WIDEN else q
    q_sum = tl.sum(q.to(tl.float32), 1)
    share = tl.cdiv(tl.cdiv(prefix, num_splits), TILE) * TILE
    first = split * share
    last = tl.minimum(first + share, prefix)

    # 2. Tile after tile. Everybody sees everything: there is no mask but the end.
    largest = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    acc = tl.zeros([BLOCK, DIM_PADDED], tl.float32)
    for tile in range(first, last, TILE):
        token = tile + tl.arange(0, TILE)
        largest, total, acc = attend_tile(
            q, q_sum, largest, total, acc, token, token < last, (token < last)[None, :],
            kv_ptr, scales_ptr, zeros_ptr, table_ptr,
            kv_head, num_kv_heads, num_vectors, scale, softcap,
            HEAD_DIM, PAGE_SIZE, STORE, CAPPED, EXACT, PRECISION,
        )  # fmt: skip

    # 3. What this split found, beside what the others and the sequence's own pages leave.
    found = tl.where(total > 0, total, 1.0)
    out_row = row * all_splits + split
    tl.store(partial_ptr + out_row[:, None] * HEAD_DIM + d[None, :], acc / found[:, None], mask=in_q)
    tl.store(lse_ptr + out_row, tl.where(total > 0, largest + tl.log(found), float("-inf")), mask=there)


def cascade_decode(q: Tensor, kv: LayerKV, batch: PagedBatch, scale: float, *, softcap: float | None = None) -> Tensor:
    """``q: [B, H, D]``, one query row a sequence, all of which share ``batch.common_pages`` -> ``[B, H, D]``.

    The same as ``paged_decode``, within rounding.
    """
    _, numbers, scales, zeros = stored(kv)
    (rows, num_heads, dim), (_, num_pages, num_kv_heads, page_size, _) = q.shape, kv.shape
    prefix, constants, processors = batch.common_pages * page_size, prefix_constants(q, kv), num_processors(q)
    blocks = num_blocks(q, kv, constants)
    before = choose_splits(blocks, num_kv_heads, prefix, processors)
    behind = choose_splits(rows, num_kv_heads, batch.max_context_len - prefix, processors)
    q = q.contiguous()
    partial = q.new_empty(rows, num_heads, before + behind, dim, dtype=torch.float32)
    lse = q.new_empty(rows, num_heads, before + behind, dtype=torch.float32)
    shared_prefix_kernel[(blocks, num_kv_heads, before)](
        q,
        numbers,
        scales,
        zeros,
        batch.page_tables,
        partial,
        lse,
        scale,
        softcap or 0.0,
        num_pages * num_kv_heads * page_size,
        rows,
        before,
        before + behind,
        prefix,
        **constants,
        CAPPED=softcap is not None,
    )
    tables, lengths, reach = batch.page_tables, batch.context_lens, batch.max_context_len
    launch_decode(q, kv, tables, lengths, partial, lse, scale, softcap, behind, reach, skipped=prefix)
    out = torch.empty_like(q)
    merge_splits(partial, lse, out)
    return out


def prefix_constants(q: Tensor, kv: LayerKV) -> dict[str, int | str]:
    """What the kernel is compiled for: the same blocks and tiles as chunks have."""
    store, numbers, _, _ = stored(kv)
    group, exact = q.shape[1] // kv.shape[2], numbers.dtype != torch.float32
    return prefill_constants(group, q.shape[2], kv.shape[3], store, widens(q, kv), exact, longest=q.shape[0])


def num_blocks(q: Tensor, kv: LayerKV, constants: dict[str, int | str]) -> int:
    """Blocks of sequences whose queries one program takes."""
    return triton.cdiv(q.shape[0], int(constants["BLOCK"]) // (q.shape[1] // kv.shape[2]))


def pays(q: Tensor, kv: LayerKV, batch: PagedBatch) -> bool:
    """Whether to read the common pages once for each block of queries saves enough bytes: of plain decode, every
    sequence reads them."""
    vector = sum(part[0, 0, 0, 0].nbytes for part in (kv.parts if isinstance(kv, QuantizedKV) else (kv,)))
    once = 2 * batch.common_pages * kv.shape[3] * kv.shape[2] * vector
    return (q.shape[0] - num_blocks(q, kv, prefix_constants(q, kv))) * once > WORTH
