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

    A long prompt has blocks enough for every processor. A few drafts to be verified fill one, a chunk of a hundred rows
    not many, however long a context lies behind them. So what blocks see is cut into splits where places would stay
    free, as in ``paged_decode.py``: one program each, and a merge (``splits.py``).

What it must move, for a chunk of T tokens behind a context of L, and one KV head
    2 * (L + T) * (bytes of a vector) of keys and values for each of its blocks, T / ROWS of them; the second-level
    cache answers most of what several blocks ask for. Where there are splits, 8 * D bytes for each of them and each
    query vector: a mean in float32, written and read. It does 4 * T * G * (L + T / 2) * D FLOPs meanwhile: with 16 bits
    and 64 query vectors a block that is 64 FLOPs a byte. Bound by arithmetic once the chunk is some hundred rows long.

One program, here of one split
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
from pagedlab_kernels.splits import choose_splits, merge_splits, num_processors
from pagedlab_kernels.tile import attend_tile


# Numbers that change from step to step are not specialised: no new compilation when a batch or a context grows.
@triton.jit(do_not_specialize=["num_vectors", "table_stride", "num_sequences", "split_tokens", "reach"])
def paged_prefill_kernel(
    q_ptr,  # [T, H, D]
    kv_ptr,  # [2, N, Hkv, P, D], contiguous: numbers, or codes (int4: D / 2 bytes a vector)
    scales_ptr,  # [2, N, Hkv, P] float32, or None where STORE is "plain"
    zeros_ptr,  # the same, or None where STORE is "plain" or "fp8"
    table_ptr,  # [B, max_pages] int32
    start_ptr,  # [B + 1] int32: rows of q where sequences begin
    length_ptr,  # [B] int32: tokens in the cache, this chunk's included
    partial_ptr,  # [T, H, splits, D]: each split's softmax-weighted mean of values
    lse_ptr,  # [T, H, splits] float32: log of each split's sum of exponentials
    scale,
    softcap,  # read where CAPPED
    num_vectors,  # keys of the pool, N * Hkv * P: so far behind the keys lie the values
    table_stride,
    num_sequences,
    split_tokens,  # of whole tiles; 0: an equal share for each split
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
    block, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    num_kv_heads, num_splits = tl.num_programs(1), tl.num_programs(2)

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

    # 2. Its query vectors: rows from first_row on, each with the G heads of the group. Where the block lies takes 64
    #    bits, but one number for all; where a vector lies in it, 32: so fewer registers wait for the end.
    m, d = tl.arange(0, BLOCK), tl.arange(0, DIM_PADDED)
    block_at = (start + first_row).to(tl.int64) * (num_kv_heads * GROUP) + kv_head * GROUP
    vector_at = m // GROUP * (num_kv_heads * GROUP) + m % GROUP
    row = first_row + m // GROUP
    there = (m < ROWS * GROUP) & (row < num_rows)
    in_q = there[:, None] & (d < HEAD_DIM)[None, :]
    q = tl.load(q_ptr + block_at * HEAD_DIM + (vector_at[:, None] * HEAD_DIM + d[None, :]), mask=in_q, other=0.0)
    q = q.to(tl.float32) if WIDEN else q
    q_sum = tl.sum(q.to(tl.float32), 1)

    # 3. What they see: each row the tokens up to its own position. Rows of padding see what there is; nobody asks them.
    length = tl.load(length_ptr + sequence)
    position = length - num_rows + row
    oldest = tl.maximum(length - num_rows + first_row + 1 - reach, 0)
    end = tl.minimum(length - num_rows + first_row + ROWS, length)

    # 4. This program's share of it: whole tiles, equal for all splits but the last ones, which may be empty.
    share = tl.cdiv(tl.cdiv(end - oldest, num_splits), TILE) * TILE
    share = tl.where(split_tokens > 0, split_tokens, share)
    first = oldest + split * share
    last = tl.minimum(first + share, end)

    # 5. Tile after tile, with a running maximum and sum.
    largest = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    acc = tl.zeros([BLOCK, DIM_PADDED], tl.float32)
    for tile in range(first, last, TILE):
        token = tile + tl.arange(0, TILE)
        seen = (token[None, :] <= position[:, None]) & (token[None, :] > position[:, None] - reach)
        largest, total, acc = attend_tile(
            q, q_sum, largest, total, acc, token, token < last, seen,
            kv_ptr, scales_ptr, zeros_ptr, table_ptr + sequence * table_stride,
            kv_head, num_kv_heads, num_vectors, scale, softcap,
            HEAD_DIM, PAGE_SIZE, STORE, CAPPED, EXACT, PRECISION,
        )  # fmt: skip

    # 6. What this split found. Where a row has seen nothing of it, log(0) = -inf is left: it will weigh nothing.
    found = tl.where(total > 0, total, 1.0)
    lse = tl.where(total > 0, largest + tl.log(found), float("-inf"))
    out_at = (block_at + vector_at) * num_splits + split
    mean = (acc / found[:, None]).to(partial_ptr.dtype.element_ty)
    tl.store(partial_ptr + (out_at[:, None] * HEAD_DIM + d[None, :]), mean, mask=in_q)
    tl.store(lse_ptr + out_at, lse, mask=there)


def paged_prefill(
    q: Tensor,
    kv: LayerKV,
    batch: PagedBatch,
    scale: float,
    *,
    window: int | None = None,
    softcap: float | None = None,
    num_splits: int | None = None,
    split_tokens: int | None = None,
) -> Tensor:
    """``q: [T, H, D]``, the rows of all sequences back to back; ``kv: [2, N, Hkv, P, D]`` contiguous -> ``[T, H, D]``.

    ``softcap``: scores s become softcap * tanh(s / softcap). Where the types of ``q`` and of a plain ``kv`` differ,
    both are widened to float32.

    What a block sees is cut into ``num_splits`` equal splits, by default as many as find a free place on the chip, one
    where blocks fill it; their means take ``[T, H, splits, D]`` in float32. The longest chunk decides how large blocks
    are. Or it is cut into splits of ``split_tokens``, rounded up to whole tiles, and blocks are large whatever chunks
    there are: then a row's result is the same, bit for bit, whatever else is in the batch, and, where there is no
    window, however its prompt was cut into chunks.
    """
    store, numbers, scales, zeros = stored(kv)
    (tokens, num_heads, dim), (_, num_pages, num_kv_heads, page_size, _) = q.shape, kv.shape
    group, longest = num_heads // num_kv_heads, batch.max_query_len if split_tokens is None else None
    constants = prefill_constants(group, dim, page_size, store, widens(q, kv), numbers.dtype != torch.float32, longest)
    rows, tile = int(constants["BLOCK"]) // group, int(constants["TILE"])
    blocks, reach = tokens // rows + batch.num_sequences, batch.reach(window)
    seen = min(batch.max_context_len, reach + rows - 1)
    if split_tokens is not None:
        split_tokens = triton.cdiv(split_tokens, tile) * tile
        num_splits = triton.cdiv(seen, split_tokens)
    elif num_splits is None:
        num_splits = choose_splits(blocks, num_kv_heads, seen, num_processors(q), waves=1)
    q, out = q.contiguous(), torch.empty_like(q, memory_format=torch.contiguous_format)
    # The mean of a single split is the result: there is nothing to merge.
    partial = (
        out[:, :, None] if num_splits == 1 else q.new_empty(tokens, num_heads, num_splits, dim, dtype=torch.float32)
    )
    lse = q.new_empty(tokens, num_heads, num_splits, dtype=torch.float32)
    paged_prefill_kernel[(blocks, num_kv_heads, num_splits)](
        q,
        numbers,
        scales,
        zeros,
        batch.page_tables,
        batch.query_start,
        batch.context_lens,
        partial,
        lse,
        scale,
        softcap or 0.0,
        num_pages * num_kv_heads * page_size,
        batch.page_tables.stride(0),
        batch.num_sequences,
        split_tokens or 0,
        reach,
        **constants,
        CAPPED=softcap is not None,
    )
    if num_splits > 1:
        merge_splits(partial, lse, out)
    return out


def prefill_constants(
    group: int,
    head_dim: int,
    page_size: int,
    store: str,
    widen: bool,
    exact: bool,
    longest: int | None,
    hip: bool = HIP,
) -> dict[str, int | str]:
    """What the prefill kernel is compiled for, and the compiler's options. ``longest``: rows of the longest chunk, or
    None where no chunk is to have a say.

    A block has 64 query vectors, or 16 where chunks are no longer (drafts to be verified, say): two compilations.
    """
    dim_padded = max(16, triton.next_power_of_2(head_dim))
    light, wide = store == "plain" and not widen, dim_padded > 128
    # Sums and tiles are to stay in registers: fewer rows where numbers are float32, or take many to be unpacked.
    most = 64
    if widen or wide or (store == "int4" and dim_padded > 64):
        most = 16 if widen and wide else 32
    block = max(triton.next_power_of_2(group), 16 if longest is not None and longest * group <= 16 else most)
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
