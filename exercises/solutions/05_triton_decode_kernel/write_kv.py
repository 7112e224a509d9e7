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
    # BEGIN SOLUTION
    token = tl.program_id(0)
    slot = tl.load(slots_ptr + token)
    if slot >= 0:
        page, offset = slot // P, slot % P
        d = tl.arange(0, D)
        for head in range(HEADS):
            source = (token * HEADS + head) * D + d
            target = ((page * HEADS + head) * P + offset) * D + d
            tl.store(kv_ptr + target, tl.load(key_ptr + source))
            tl.store(kv_ptr + num_pages * HEADS * P * D + target, tl.load(value_ptr + source))
    # END SOLUTION


def write(kv: Tensor, key: Tensor, value: Tensor, slots: Tensor) -> None:
    """Written already. ``slots: [T]`` int64."""
    _, num_pages, heads, page_size, dim = kv.shape
    write_kernel[(key.shape[0],)](kv, key, value, slots, num_pages, HEADS=heads, P=page_size, D=dim)


# Why: the slot is the whole interface between those who keep books and those who compute: one number a token. Pages lie
# [heads, slots, D] so that one head's page is one unbroken tile, which is what the decode kernel will want to read.
