"""Merge the splits: the second, small kernel of split-KV.

A long context was cut into S splits, and S programs attended to them at the same time. Each left its result ``[D]`` and
the log of its sum of exponentials, ``lse``. One program a row brings them together (04.merge in torch):

    weight of split s = e^(lse[s] - largest lse), divided by the sum of all weights

A split that had nothing to do (the sequence was short) has lse = -inf, and its result may be anything, nan included.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def merge_kernel(out_ptr, parts_ptr, lse_ptr, num_splits, SPLITS: tl.constexpr, D: tl.constexpr):
    """Program i merges row i. ``parts: [R, num_splits, D]``, ``lse: [R, num_splits]``, ``out: [R, D]``.

    SPLITS is ``num_splits`` rounded up to a power of two: the lanes past num_splits are not there. In every row, at
    least one split is not empty.
    """
    raise NotImplementedError("05.merge_splits: merge_kernel is yours to write")


def merge(parts: Tensor, lse: Tensor) -> Tensor:
    """Written already: ``[R, D]``."""
    rows, splits, dim = parts.shape
    out = torch.empty(rows, dim)
    merge_kernel[(rows,)](out, parts, lse, splits, SPLITS=triton.next_power_of_2(splits), D=dim)
    return out
