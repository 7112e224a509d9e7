"""Two numbers in a byte.

Memory has no 4-bit numbers: two of them share a byte. Even places go into the low half, odd places into the high half:

    [3, 10, 0, 15]   ->   [3 + 16 · 10, 0 + 16 · 15] = [163, 240]
"""

import torch
from torch import Tensor


def pack(q: Tensor) -> Tensor:
    """``[..., D]`` of whole numbers 0 … 15 -> ``[..., D / 2]`` uint8. D is even."""
    raise NotImplementedError("09.pack: pack is yours to write")


def unpack(packed: Tensor) -> Tensor:
    """The other way round."""
    raise NotImplementedError("09.pack: unpack is yours to write")


def page_bytes(page_size: int, num_kv_heads: int, head_dim: int, bits: int, scale_bytes: int = 2) -> int:
    """Bytes of one page of one layer, keys and values.

    Below 16 bits, each row of ``head_dim`` numbers has a scale and a zero of ``scale_bytes`` each beside it.
    """
    raise NotImplementedError("09.pack: page_bytes is yours to write")
