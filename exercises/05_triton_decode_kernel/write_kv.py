"""Write new keys and values where they belong.

A step computes keys and values for T new tokens; each must go to its *slot*: page × page size + offset. The cache of
one layer is ``kv: [2, N, Hkv, P, D]``, keys first. One program a token. A slot of -1 stands for a row that nobody
wants (a batch that was padded to a fixed size): it writes nothing.

    slot 6 in pages of 4: page 1, offset 2
    kv[0, page, head, offset, :] = key[token, head, :]          the same for values, in kv[1]
"""

import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def write_kernel(
    kv_ptr, key_ptr, value_ptr, slots_ptr, num_pages, HEADS: tl.constexpr, P: tl.constexpr, D: tl.constexpr
):
    """Program i writes token i. ``key`` and ``value`` are ``[T, HEADS, D]``, without gaps; D is a power of two.

    The address of ``kv[which, page, head, offset, d]``:
    ``(((which * num_pages + page) * HEADS + head) * P + offset) * D + d``.
    """
    raise NotImplementedError("05.write_kv: write_kernel is yours to write")


def write(kv: Tensor, key: Tensor, value: Tensor, slots: Tensor) -> None:
    """Written already. ``slots: [T]`` int64."""
    _, num_pages, heads, page_size, dim = kv.shape
    write_kernel[(key.shape[0],)](kv, key, value, slots, num_pages, HEADS=heads, P=page_size, D=dim)
