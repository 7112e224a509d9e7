"""Chunked attention over pages in Triton: many new tokens of each sequence, behind what it has in the cache already.

The idea
    A prompt comes in chunks, and each row of a chunk is a query that sees the context up to itself. Rows that stand
    together see nearly the same keys, so one program takes a block of them, with all G query heads of one KV head: it
    reads a tile of keys and values once for ROWS * G query vectors. The chunk's own keys are in their pages already
    when attention begins: there is one kind of key, found through the page table, whether it was computed just now, in
    an earlier chunk or by another request.

    Chunks differ in length and lie back to back (``query_start``). Which sequence a block belongs to is not told to
    it: block starts are known without being listed. If every sequence b gets its rows // ROWS + 1 blocks, they begin at
    query_start[b] // ROWS + b, which never falls as b rises: a program finds its sequence by halving. The host needs
    not know how long chunks are, and nobody waits for it; at most one block a sequence finds nothing to do.

What it must move, for a chunk of T tokens behind a context of L, and one KV head
    2 * (L + T) * (bytes of a vector) of keys and values for each of its blocks, T / ROWS of them; the second-level
    cache answers most of what several blocks ask for. It does 4 * T * G * (L + T / 2) * D FLOPs meanwhile: with 16 bits
    and 64 query vectors a block that is 64 FLOPs a byte. Bound by arithmetic once the chunk is some hundred rows long.

One program
                                    tiles of the context ─►
                    ┌───────────────┬───────────────┬───────────────┐
        row 0, head 0  seen whole   │  seen whole   │ ◣  masked     │    the last tiles hold the rows' own positions:
        row 0, head 1               │               │   ◣           │    there, row r sees one token more than r - 1
        row 1, head 0  …            │               │     ◣         │
                    └───────────────┴───────────────┴───────────────┘
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pagedlab_kernels.batch import PagedBatch
from pagedlab_kernels.kv_format import LayerKV
from pagedlab_kernels.precision import HIP, stored, widens
from pagedlab_kernels.tile import attend_tile


# Numbers that change from step to step are not specialised: no new compilation when a batch or a context grows.
@triton.jit(do_not_specialize=["num_vectors", "table_stride", "num_sequences", "reach"])
def paged_prefill_kernel(
    q_ptr,  # [T, H, D]
    kv_ptr,  # [2, N, Hkv, P, D], contiguous: numbers, or codes (int4: D / 2 bytes a vector)
    scales_ptr,  # [2, N, Hkv, P] float32, or None where STORE is "plain"
    zeros_ptr,  # the same, or None where STORE is "plain" or "fp8"
    table_ptr,  # [B, max_pages] int32
    start_ptr,  # [B + 1] int32: rows of q where sequences begin
    length_ptr,  # [B] int32: tokens in the cache, this chunk's included
    out_ptr,  # [T, H, D]
    scale,
    softcap,  # read where CAPPED
    num_vectors,  # keys of the pool, N * Hkv * P: so far behind the keys lie the values
    table_stride,
    num_sequences,
    reach,  # tokens that a row attends to at most, its own the last of them
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
    block, kv_head, num_kv_heads = tl.program_id(0), tl.program_id(1), tl.num_programs(1)

    # 1. Whose block is it? The last sequence whose first block is not behind this one.
    sequence, beyond = 0, num_sequences
    while beyond - sequence > 1:
        middle = (sequence + beyond) // 2
        if tl.load(start_ptr + middle) // ROWS + middle <= block:
            sequence = middle
        else:
            beyond = middle
    start = tl.load(start_ptr + sequence)
    num_rows = tl.load(start_ptr + sequence + 1) - start
    first_row = (block - start // ROWS - sequence) * ROWS
    if first_row >= num_rows:
        return

    # 2. Its query vectors: rows from first_row on, each with the G heads of the group.
    m, d = tl.arange(0, BLOCK), tl.arange(0, DIM_PADDED)
    row, head = first_row + m // GROUP, kv_head * GROUP + m % GROUP
    in_q = ((m < ROWS * GROUP) & (row < num_rows))[:, None] & (d < HEAD_DIM)[None, :]
    q_row = (start + row).to(tl.int64) * (num_kv_heads * GROUP) + head
    q = tl.load(q_ptr + q_row[:, None] * HEAD_DIM + d[None, :], mask=in_q, other=0.0)
    q = q.to(tl.float32) if WIDEN else q
    q_sum = tl.sum(q.to(tl.float32), 1)

    # 3. What they see: each row the tokens up to its own position. Rows of padding see what there is; nobody asks them.
    length = tl.load(length_ptr + sequence)
    position = length - num_rows + row
    oldest = tl.maximum(length - num_rows + first_row + 1 - reach, 0)
    last = tl.minimum(length - num_rows + first_row + ROWS, length)

    # 4. Tile after tile, with a running maximum and sum.
    largest = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    acc = tl.zeros([BLOCK, DIM_PADDED], tl.float32)
    for tile in range(oldest, last, TILE):
        token = tile + tl.arange(0, TILE)
        seen = (token[None, :] <= position[:, None]) & (token[None, :] > position[:, None] - reach)
        largest, total, acc = attend_tile(
            q, q_sum, largest, total, acc, token, token < last, seen,
            kv_ptr, scales_ptr, zeros_ptr, table_ptr + sequence * table_stride,
            kv_head, num_kv_heads, num_vectors, scale, softcap,
            HEAD_DIM, PAGE_SIZE, STORE, CAPPED, EXACT, PRECISION,
        )  # fmt: skip

    # 5. Every real row has seen itself; padding has perhaps seen nothing, and is not stored.
    found = tl.where(total > 0, total, 1.0)
    mean = (acc / found[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + q_row[:, None] * HEAD_DIM + d[None, :], mean, mask=in_q)


def paged_prefill(
    q: Tensor,
    kv: LayerKV,
    batch: PagedBatch,
    scale: float,
    *,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """``q: [T, H, D]``, the rows of all sequences back to back; ``kv: [2, N, Hkv, P, D]`` contiguous -> ``[T, H, D]``.

    ``softcap``: scores s become softcap * tanh(s / softcap). Where the types of ``q`` and of a plain ``kv`` differ,
    both are widened to float32. What a row gets depends on other sequences in one way only: the longest chunk decides
    how large blocks are.
    """
    store, numbers, scales, zeros = stored(kv)
    (tokens, num_heads, dim), (_, num_pages, num_kv_heads, page_size, _) = q.shape, kv.shape
    group = num_heads // num_kv_heads
    constants = prefill_constants(
        group, dim, page_size, store, widens(q, kv), numbers.dtype != torch.float32, batch.max_query_len
    )
    rows = int(constants["BLOCK"]) // group
    q = q.contiguous()
    out = q.new_empty(q.shape)
    paged_prefill_kernel[(tokens // rows + batch.num_sequences, num_kv_heads)](
        q,
        numbers,
        scales,
        zeros,
        batch.page_tables,
        batch.query_start,
        batch.context_lens,
        out,
        scale,
        softcap or 0.0,
        num_pages * num_kv_heads * page_size,
        batch.page_tables.stride(0),
        batch.num_sequences,
        batch.reach(window),
        **constants,
        CAPPED=softcap is not None,
    )
    return out


def prefill_constants(
    group: int, head_dim: int, page_size: int, store: str, widen: bool, exact: bool, longest: int, hip: bool = HIP
) -> dict[str, int | str]:
    """What the prefill kernel is compiled for, and the compiler's options. ``longest``: rows of the longest chunk.

    A block has 64 query vectors, or 16 where chunks are no longer (drafts to be verified, say): two compilations.
    """
    dim_padded = max(16, triton.next_power_of_2(head_dim))
    light, wide = store == "plain" and not widen, dim_padded > 128
    # Sums and tiles are to stay in registers: fewer rows where numbers are float32, or take many to be unpacked.
    most = 64
    if widen or wide or (store == "int4" and dim_padded > 64):
        most = 16 if widen and wide else 32
    block = max(triton.next_power_of_2(group), 16 if longest * group <= 16 else most)
    return {
        "GROUP": group,
        "HEAD_DIM": head_dim,
        "PAGE_SIZE": page_size,
        "TILE": max(16, min(64, 4096 // dim_padded)) if light else 32,
        "BLOCK": block,
        "DIM_PADDED": dim_padded,
        "STORE": store,
        "WIDEN": widen,
        "EXACT": exact,
        "PRECISION": "ieee" if hip else "tf32x3",
        "num_warps": 4 if light or hip else 8,
        "num_stages": 1 if widen and wide else 2,
    }
