"""One tile of keys and values, for whoever attends: found through the page table, scored, added to an online softmax.

token:   40  41 │ 42  43  44  45 │ 46 …        TILE tokens in a row, wherever their pages are: token t stands in
page:     table[10] │  table[11]  │              page table[t // P], slot t % P; P = 4 here
state:   largest, total, acc of each query       before ──► after: what is in acc / total is attention over all
         vector                                  tokens so far (Milakov & Gimelshein, arXiv:1805.02867)
"""

from __future__ import annotations

import triton
import triton.language as tl

from pagedlab_kernels.dequantise import column_of, load_ladder, to_numbers
from pagedlab_kernels.precision import dot, tanh


@triton.jit
def attend_tile(
    q,  # [M, D]
    q_sum,  # [M]
    largest,  # [M] float32
    total,  # [M] float32
    acc,  # [M, D] float32
    token,  # [TILE]: which tokens
    there,  # [TILE]: whether they are; of the others nothing is read, no entry of the table either
    seen,  # [M, TILE] or [1, TILE]: by which query vector
    kv_ptr,  # [2, N, Hkv, P, D], contiguous: numbers, or codes (int4: D / 2 bytes a vector)
    scales_ptr,  # [2, N, Hkv, P] float32, or None where STORE is "plain"
    zeros_ptr,  # the same, or None where STORE is "plain" or "fp8"
    table_ptr,  # [max_pages] int32, of the sequence
    kv_head,
    num_kv_heads,
    num_vectors,  # keys of the pool, N * Hkv * P: so far behind the keys lie the values
    scale,
    softcap,  # read where CAPPED
    HEAD_DIM: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    STORE: tl.constexpr,
    CAPPED: tl.constexpr,
    EXACT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    NUMBER: tl.constexpr = q.dtype
    # A weight times a scale needs float32's range, which bfloat16 has; what it multiplies is exact in both.
    WEIGHT: tl.constexpr = tl.bfloat16 if STORE != "plain" and tl.float32 != NUMBER else NUMBER
    WIDTH: tl.constexpr = HEAD_DIM // 2 if STORE == "int4" else HEAD_DIM

    # 1. The tile, wherever it lies.
    d = tl.arange(0, acc.shape[1])
    page = tl.load(table_ptr + token // PAGE_SIZE, mask=there, other=0).to(tl.int64)
    row = (page * num_kv_heads + kv_head) * PAGE_SIZE + token % PAGE_SIZE
    values_after = num_vectors.to(tl.int64)
    kv_at = row[:, None] * WIDTH + column_of(d, HEAD_DIM, STORE)[None, :]
    in_kv = there[:, None] & (d < HEAD_DIM)[None, :]
    k = to_numbers(tl.load(kv_ptr + kv_at, mask=in_kv, other=0), d, HEAD_DIM, STORE, NUMBER)
    v = tl.load(kv_ptr + values_after * WIDTH + kv_at, mask=in_kv, other=0)
    v = to_numbers(v, d, HEAD_DIM, STORE, WEIGHT)
    if STORE != "plain":
        k_scale, k_zero = load_ladder(scales_ptr, zeros_ptr, row, there, STORE)
        v_scale, v_zero = load_ladder(scales_ptr, zeros_ptr, row + values_after, there, STORE)

    # 2. Scores.
    scores = dot(q, tl.trans(k), tl.zeros([q.shape[0], k.shape[0]], tl.float32), EXACT, PRECISION)
    if STORE != "plain":
        scores = scores * k_scale[None, :] + q_sum[:, None] * k_zero[None, :]
    scores *= scale
    if CAPPED:
        scores = softcap * tanh(scores / softcap)
    scores = tl.where(seen, scores, float("-inf"))

    # 3. The online softmax. A vector that has seen nothing yet, its window begins later, has no largest score: to
    #    subtract -inf from -inf is no number.
    new_largest = tl.maximum(largest, tl.max(scores, 1))
    against = tl.where(new_largest == float("-inf"), 0.0, new_largest)
    weights, rescale = tl.exp(scores - against[:, None]), tl.exp(largest - against)
    total = total * rescale + tl.sum(weights, 1)
    acc *= rescale[:, None]
    if STORE != "plain":
        acc += tl.sum(weights * v_zero[None, :], 1)[:, None]
        weights *= v_scale[None, :]
    return new_largest, total, dot(weights.to(WEIGHT), v, acc, EXACT, PRECISION)
