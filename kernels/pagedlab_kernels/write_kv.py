"""Writing new keys and values into their slots in Triton, in one launch, quantised on the way where pages are.

The idea
    In each layer of each step, T new tokens leave a key and a value in each KV head: vectors of D numbers, which the
    step's matrix products hand over one token after the other. Each has a slot, page * P + offset, anywhere in the
    pool: this is a scatter. To quantise one (``kv_format.py``) takes its extremes first and its numbers next; in
    registers both are had for one reading. What is written has the same bits that ``kv_format.write_kv`` writes: every
    division is the correctly rounded one, not the GPU's faster guess, and halves go to the even code.

What it must move, for a token and one KV head
    2 * D numbers in, 2 * (bytes of a vector, ``kv_format.py``) out, 8 bytes of slot. A decode step of few tokens takes
    no longer than a launch does; a prefill is bound by memory.

One program: the keys or the values of a few vectors
                                 0 … D/2 - 1   D/2 … D - 1        each row a vector of its own: it has its own slot,
       token 0, head 0          │  low half  │  high half  │       extremes, scale and zero
       token 0, head 1          │            │             │
       token 1, head 0  …       │            │             │       int4: number i and number i + D/2 share a byte, and
                                                                   so they stand in the same column of the two halves
Rounding without a rounding instruction
    A float32 from 2^23 on has no fraction left. So n + 2^23 is n rounded, by the adder itself, half to even; and the
    last bits of the sum are the integer. From 2^14 on the steps are 2^-9, the smallest there is in e4m3: the same sum
    makes its subnormal codes.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from pagedlab_kernels.kv_format import LayerKV, QuantizedKV

#: Numbers that one program writes: eight for each thread of four warps.
NUMBERS = 1024


# The numbers of tokens and pages are not specialised: no new compilation when either changes.
@triton.jit(do_not_specialize=["num_tokens", "num_pages"])
def write_kv_kernel(
    k_ptr,  # [T, Hkv, D], heads and numbers contiguous
    v_ptr,  # the same
    slots_ptr,  # [T] int64
    kv_ptr,  # [2, N, Hkv, P, D], contiguous: numbers, or codes (int4: D / 2 bytes a vector)
    scales_ptr,  # [2, N, Hkv, P] float32, or None where STORE is "plain"
    zeros_ptr,  # the same, or None where STORE is "plain" or "fp8"
    k_stride,  # numbers from one token to the next
    v_stride,
    num_tokens,
    num_pages,
    KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    STORE: tl.constexpr,
    VECTORS: tl.constexpr,
    HALF_PADDED: tl.constexpr,
):
    WIDTH: tl.constexpr = HEAD_DIM // 2 if STORE == "int4" else HEAD_DIM
    HALF: tl.constexpr = (HEAD_DIM + 1) // 2

    # 1. Which vectors, and where each goes. One whose slot lies outside of the pool goes nowhere.
    vector = tl.program_id(0) * VECTORS + tl.arange(0, VECTORS)
    token, head = (vector // KV_HEADS).to(tl.int64), vector % KV_HEADS
    there = vector < num_tokens * KV_HEADS
    slot = tl.load(slots_ptr + token, mask=there, other=-1)
    inside = (slot >= 0) & (slot < num_pages.to(tl.int64) * PAGE_SIZE)
    row = (slot // PAGE_SIZE * KV_HEADS + head) * PAGE_SIZE + slot % PAGE_SIZE
    row += tl.program_id(1) * num_pages.to(tl.int64) * (KV_HEADS * PAGE_SIZE)  # behind all keys lie the values

    # 2. Their numbers, [VECTORS, 2, HALF_PADDED].
    half, i = tl.arange(0, 2)[None, :, None], tl.arange(0, HALF_PADDED)[None, None, :]
    d = half * HALF + i
    in_vector = (i < HALF) & (d < HEAD_DIM)
    wanted = inside[:, None, None] & in_vector
    column = head[:, None, None] * HEAD_DIM + d
    if tl.program_id(1) == 0:
        x = tl.load(k_ptr + token[:, None, None] * k_stride + column, mask=wanted, other=0.0)
    else:
        x = tl.load(v_ptr + token[:, None, None] * v_stride + column, mask=wanted, other=0.0)

    # 3. As they are kept.
    at = kv_ptr + row[:, None, None] * WIDTH + d
    if STORE == "plain":
        tl.store(at, to_plain(x, kv_ptr.dtype.element_ty), mask=wanted)
    else:
        x = x.to(tl.float32)
        if STORE == "fp8":
            codes, scale = to_fp8(x)
        else:
            codes, scale, zero = to_ladder(x, in_vector, 15 if STORE == "int4" else 255)
            tl.store(zeros_ptr + row, zero, mask=inside)
        tl.store(scales_ptr + row, scale, mask=inside)
        if STORE == "int4":
            pair = tl.sum(codes << (4 * half), 1)
            byte = tl.arange(0, HALF_PADDED)[None, :]
            in_row = inside[:, None] & (byte < WIDTH)
            tl.store(kv_ptr + row[:, None] * WIDTH + byte, pair.to(tl.uint8), mask=in_row)
        else:
            tl.store(at, codes.to(tl.uint8), mask=wanted)


@triton.jit
def to_plain(x, dtype: tl.constexpr):
    """``x`` in another floating-point type, rounded half to even; in its own, the very bits."""
    if dtype == tl.bfloat16 and x.dtype != dtype:
        # By hand, for the interpreter cuts off: the upper half of a float32, and more than half of the lower carries.
        x = x.to(tl.float32)
        bits = x.to(tl.uint32, bitcast=True)
        upper = tl.where(x == x, (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16, 0x7FC0)
        return upper.to(tl.uint16).to(tl.bfloat16, bitcast=True)
    else:
        return x.to(dtype)


@triton.jit
def to_ladder(x, in_vector, LEVELS: tl.constexpr):
    """int32 codes from 0 to LEVELS of ``x: [vectors, 2, half]``, and float32 scales and zeros ``[vectors]``."""
    lowest = tl.min(tl.min(tl.where(in_vector, x, float("inf")), 2), 1)
    highest = tl.max(tl.max(tl.where(in_vector, x, float("-inf")), 2), 1)
    # The GPU's extremes leave a NaN out; it must spoil its vector. After infinity, the arithmetic itself does.
    spoilt = tl.max(tl.max((x != x).to(tl.int32), 2), 1) > 0
    zero = tl.where(spoilt, float("nan"), lowest)
    scale = tl.div_rn(highest - zero, LEVELS * 1.0)
    n = tl.div_rn(x - zero[:, None, None], divisible(scale)[:, None, None])
    # NaN is not above 0. Where a scale is so small that float32 cuts it short, steps beyond the last are asked for.
    n = tl.minimum(tl.where(n > 0, n, 0.0), LEVELS * 1.0)
    return (n + 8388608.0).to(tl.int32, bitcast=True) & 255, scale, zero


@triton.jit
def to_fp8(x):
    """int32 codes in e4m3 of ``x: [vectors, 2, half]``, rounded half to even, and float32 scales ``[vectors]``.

    Integer arithmetic: not every chip converts by itself.
    """
    size = tl.abs(x)
    spoilt = tl.max(tl.max((x != x).to(tl.int32), 2), 1) > 0
    scale = tl.where(spoilt, float("nan"), tl.div_rn(tl.max(tl.max(size, 2), 1), 448.0))
    quotient = tl.div_rn(size, divisible(scale)[:, None, None])
    n = tl.minimum(quotient, 448.0)
    # Of 23 bits of mantissa 3 stay: more than half of what goes carries. The exponent's bias of 127 becomes 7.
    bits = n.to(tl.int32, bitcast=True)
    normal = ((bits + 0x7FFFF + ((bits >> 20) & 1)) >> 20) - (120 << 3)
    subnormal = (n + 16384.0).to(tl.int32, bitcast=True) & 15  # 8 of its steps are the smallest normal number
    code = tl.where(n < 0.015625, subnormal, normal)
    code = tl.where(quotient == quotient, code, 127)
    return code | ((x.to(tl.int32, bitcast=True) >> 24) & 128), scale


@triton.jit
def divisible(scale):
    """A vector of one number over and over has scale 0, and code 0 whatever it is divided by."""
    return tl.where(scale == 0, 1.0, scale)


def write_kv(k: Tensor, v: Tensor, kv: LayerKV, slots: Tensor) -> None:
    """``kv_format.write_kv`` in one launch: the same bits in the same places (of a 0, the sign is either's).

    ``k`` and ``v: [T, Hkv, D]`` of one type, tokens any stride apart; ``kv: [2, N, Hkv, P, D]`` contiguous; ``slots:
    [T] int64``, no two alike. Every slot must lie in the pool; a token whose slot does not is left out: a GPU cannot
    raise an error without making everybody wait for it, and what lies beyond the pool belongs to others.

    Raises ValueError where tensors do not fit together.
    """
    (tokens, num_kv_heads, dim), (_, num_pages, kv_heads, page_size, kv_dim) = k.shape, kv.shape
    if k.shape != v.shape or (num_kv_heads, dim) != (kv_heads, kv_dim) or k.dtype != v.dtype:
        raise ValueError(
            f"keys are {k.dtype} of shape {tuple(k.shape)}, values {v.dtype} of shape {tuple(v.shape)}, the cache has "
            f"the shape {tuple(kv.shape)}: they must be [T, Hkv, D], of one type, and [2, N, Hkv, P, D]"
        )
    if slots.shape != (tokens,) or not slots.is_contiguous() or not kv.is_contiguous():
        raise ValueError(f"{tokens} tokens have slots of shape {tuple(slots.shape)}; these and the cache must be dense")
    if tokens == 0:
        return
    if isinstance(kv, QuantizedKV):
        store, numbers, scales, zeros = kv.kv_dtype, kv.codes, kv.scales, kv.zeros
    else:
        store, numbers, scales, zeros = "plain", kv, None, None
    k, v = (x if x[0].is_contiguous() else x.contiguous() for x in (k, v))
    constants = write_constants(num_kv_heads, dim, page_size, store)
    grid = (triton.cdiv(tokens * num_kv_heads, int(constants["VECTORS"])), 2)
    write_kv_kernel[grid](k, v, slots, numbers, scales, zeros, k.stride(0), v.stride(0), tokens, num_pages, **constants)


def write_constants(kv_heads: int, head_dim: int, page_size: int, store: str) -> dict[str, int | str]:
    """What the kernel is compiled for."""
    half_padded = triton.next_power_of_2((head_dim + 1) // 2)
    return {
        "KV_HEADS": kv_heads,
        "HEAD_DIM": head_dim,
        "PAGE_SIZE": page_size,
        "STORE": store,
        "VECTORS": max(1, NUMBERS // (2 * half_padded)),
        "HALF_PADDED": half_padded,
    }
