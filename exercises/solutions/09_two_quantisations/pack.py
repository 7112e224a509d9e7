"""Two numbers in a byte.

Memory has no 4-bit numbers: two of them share a byte. Even places go into the low half, odd places into the high half:

    [3, 10, 0, 15]   ->   [3 + 16 · 10, 0 + 16 · 15] = [163, 240]
"""

import torch
from torch import Tensor


def pack(q: Tensor) -> Tensor:
    """``[..., D]`` of whole numbers 0 … 15 -> ``[..., D / 2]`` uint8. D is even."""
    # BEGIN SOLUTION
    return (q[..., 0::2] | (q[..., 1::2] << 4)).to(torch.uint8)
    # END SOLUTION


def unpack(packed: Tensor) -> Tensor:
    """The other way round."""
    # BEGIN SOLUTION
    return torch.stack((packed & 15, packed >> 4), -1).flatten(-2)
    # END SOLUTION


def page_bytes(page_size: int, num_kv_heads: int, head_dim: int, bits: int, scale_bytes: int = 2) -> int:
    """Bytes of one page of one layer, keys and values.

    Below 16 bits, each row of ``head_dim`` numbers has a scale and a zero of ``scale_bytes`` each beside it.
    """
    # BEGIN SOLUTION
    rows = 2 * page_size * num_kv_heads
    return rows * (head_dim * bits // 8 + (2 * scale_bytes if bits < 16 else 0))
    # END SOLUTION


# Why: scales are not free. With heads of 64 numbers, int4 is 32 bytes and 4 more for scale and zero: 3.6 times
# smaller than 16 bits, not 4. Smaller groups are more exact and pay more for it.
