"""In which numbers the Triton kernels compute, and the two functions that depend on it."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pagedlab_kernels.kv_format import LayerKV, QuantizedKV

#: The interpreter multiplies the bit patterns of bfloat16 in tl.dot: there, everything is widened first.
INTERPRETED = triton.knobs.runtime.interpret
#: AMD's matrix units multiply float32 as it is. NVIDIA's take tf32, and a float32 number is nearly the sum of two such;
#: and NVIDIA's chips copy into shared memory while they compute, several stages ahead.
HIP = torch.version.hip is not None


def stored(kv: LayerKV) -> tuple[str, Tensor, Tensor | None, Tensor | None]:
    """How pages are kept ("plain" or a quantised format), their numbers or codes, scales and zeros."""
    if isinstance(kv, QuantizedKV):
        return kv.kv_dtype, kv.codes, kv.scales, kv.zeros
    return "plain", kv, None, None


def widens(q: Tensor, kv: LayerKV) -> bool:
    """Whether all arithmetic is in float32: queries are, or are of another type than plain pages."""
    differ = not isinstance(kv, QuantizedKV) and q.dtype != kv.dtype
    return q.dtype == torch.float32 or differ or bool(INTERPRETED)


@triton.jit
def dot(x, y, acc, EXACT: tl.constexpr, PRECISION: tl.constexpr):
    """x · y + acc. ``EXACT``: y has no more than the 11 bits of tf32, as 16-bit numbers and codes do."""
    if EXACT and x.dtype == tl.float32 and PRECISION == "tf32x3":
        # Of the three products of halves that "tf32x3" makes, one is with a y that is 0: two do.
        high = (x.to(tl.int32, bitcast=True) & -8192).to(tl.float32, bitcast=True)
        acc = tl.dot(x - high, y, acc, input_precision="tf32")
        return tl.dot(high, y, acc, input_precision="tf32")
    else:  # a return in each branch: Triton compiles only the one that is taken
        return tl.dot(x, y, acc, input_precision=PRECISION)


@triton.jit
def tanh(x):
    """Off by some 1e-7 at most, near 0 too; the exponential may be infinite or 0. The interpreter has none."""
    return 1.0 - 2.0 / (tl.exp(2.0 * x) + 1.0)
