"""Merge what several workers found, each in its own part of a context.

A worker that has attended to its part hands over two things: ``out``, the weighted mean of its values ``[D]``, and
``lse``, the logarithm of the sum of its exponentials (log-sum-exp). The sum itself would overflow; its logarithm is as
large as a score. Two parts with sums e^lse0 and e^lse1 count for as much as their sums:

    out = (e^lse0 · out0 + e^lse1 · out1) / (e^lse0 + e^lse1)        lse = log(e^lse0 + e^lse1)

A worker whose part was empty has lse = -inf and no mean: its ``out`` may be anything, nan included.
"""

import math

import torch
from torch import Tensor

Part = tuple[Tensor, float]


def merge(parts: list[Part]) -> Part:
    """``(out, lse)`` of all parts together. Scores of 1,000 and more are common: e^1000 is infinite.

    Zeros and -inf where every part is empty. There is at least one part. The parts are left as they are.
    """
    raise NotImplementedError("04.merge: merge is yours to write")
