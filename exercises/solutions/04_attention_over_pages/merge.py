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
    # BEGIN SOLUTION
    top = max(lse for _, lse in parts)
    if top == -math.inf:
        return torch.zeros_like(parts[0][0]), -math.inf
    shares = [(out, math.exp(lse - top)) for out, lse in parts if lse > -math.inf]
    total = sum(share for _, share in shares)
    return sum((share / total) * out for out, share in shares), top + math.log(total)
    # END SOLUTION


# Why: this is the online softmax with parts in place of tokens, and as exact. It makes split-KV possible (one long
# context, many processors), attention to a shared prefix once for all (cascade), and context over several machines.
