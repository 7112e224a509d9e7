"""Eight bits for a vector: scale and zero.

A key (or value) of one token and head is a row of numbers. To keep it in ``bits`` bits, map its range onto the whole
numbers 0 … 2**bits - 1:

    scale = (largest - smallest) / (2**bits - 1)        zero = smallest
    q = round((x - zero) / scale)                       read back: q · scale + zero

Each row has a scale and a zero of its own, so that one large token does not spoil the others. A row in which all
numbers are equal has a range of 0: its scale is 1, and every q is 0.

[0, 1, 4] in 2 bits: scale 4 / 3, zero 0; q = [0, 1, 3]; read back [0, 1.33, 4].
"""

import torch
from torch import Tensor


def quantise(x: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """``x: [..., D]`` -> whole numbers ``[..., D]`` (uint8), scales ``[..., 1]`` and zeros ``[..., 1]``."""
    # BEGIN SOLUTION
    zero, top = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
    scale = (top - zero) / (2**bits - 1)
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    q = ((x - zero) / scale).round().clamp(0, 2**bits - 1)
    return q.to(torch.uint8), scale, zero
    # END SOLUTION


def dequantise(q: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """The numbers that are read back."""
    # BEGIN SOLUTION
    return q * scale + zero
    # END SOLUTION


# Why: rounding is off by half a step at most, so no number by more than scale / 2. LMDeploy's cache is this:
# asymmetric, one scale and zero for each token and head. Symmetric int8 (no zero) saves two bytes a row and wastes
# half the range of rows that lie on one side of 0.
