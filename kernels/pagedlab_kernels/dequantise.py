"""Reading quantised keys and values in Triton: codes become numbers in registers, and scales never meet a tile.

The idea
    A vector x of D numbers is kept as D codes with a scale s and a zero z of its own (``kv_format.py``): x = s * n + z,
    where the numbers n are what the codes mean. Attention needs x in two products only, and s and z leave both of them:

        q · x            =  s * (q · n)  +  z * sum(q)                 scores: s and z meet one number a token, not D
        sum_t w_t * x_t  =  sum_t (w_t * s_t) * n_t  +  sum_t w_t * z_t          output: s goes into the weight

    So a tile is only turned from codes into numbers that matrix units take. Every n is exact in bfloat16 and float16:

        int8   n = code - 128, from -128 to 127. The ladder starts at its middle: half the size, half the rounding
        int4   n = code - 8, from -8 to 7
        fp8    n = e4m3 / 256, and s is 256 times larger

The bytes it must move
    D (int8, fp8) or D / 2 (int4) of codes a vector, and 4 of scale and 4 of zero (fp8 has none).

Two in a byte
           byte:    0     1    ...   D/2 - 1          number d stands in byte d % (D / 2): in the low half of it
        low half:   n0    n1   ...   n(D/2 - 1)       if d < D / 2, else in the high half. Byte i is asked for twice,
       high half:  n(D/2) ...        n(D - 1)         by two threads of one load, which memory answers once. Nothing
                                                      has to be interleaved.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def column_of(d, HEAD_DIM: tl.constexpr, STORE: tl.constexpr):
    """Where in its row number d stands: the element of ``codes``, or of a plain tensor."""
    return d % (HEAD_DIM // 2) if STORE == "int4" else d


@triton.jit
def to_numbers(codes, d, HEAD_DIM: tl.constexpr, STORE: tl.constexpr, NUMBER: tl.constexpr):
    """Codes ``[tokens, len(d)]``, loaded from the columns of ``d``, as their numbers n in the type ``NUMBER``.

    ``STORE``: "int8", "int4", "fp8", or "plain" for numbers that are kept as they are.
    """
    if STORE == "int4":
        shift = (d // (HEAD_DIM // 2) * 4).to(tl.uint8)[None, :]
        codes = ((codes >> shift) & 15).to(tl.int8) - 8
    elif STORE == "int8":
        codes = (codes ^ 128).to(tl.int8, bitcast=True)  # to invert the highest bit is to subtract 128
    elif STORE == "fp8":
        # Sign, 4 bits of exponent, 3 of mantissa: as float16 they mean 2^-8 of it, for the exponent starts 8 higher
        # there. Numbers below the smallest exponent work out too. Integer arithmetic runs on every chip.
        bits = codes.to(tl.uint16)
        codes = (((bits & 128) << 8) | ((bits & 127) << 7)).to(tl.float16, bitcast=True)
    return codes.to(NUMBER)


@triton.jit
def load_ladder(scales_ptr, zeros_ptr, row, there, STORE: tl.constexpr):
    """Scale and zero ``[tokens]`` float32 of the vectors ``row`` (0 where not ``there``), such that x = s * n + z.

    ``scales_ptr`` and ``zeros_ptr``: float32, one a vector. fp8 has no zeros: nothing is read there.
    """
    scale = tl.load(scales_ptr + row, mask=there, other=0.0)
    zero = tl.zeros_like(scale)
    if STORE == "fp8":
        scale *= 256.0
    else:
        zero += tl.load(zeros_ptr + row, mask=there, other=0.0)
        zero += scale * (128.0 if STORE == "int8" else 8.0)
    return scale, zero
