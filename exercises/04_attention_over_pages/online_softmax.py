"""A softmax that never looks back.

Scores and values come one after the other and cannot be asked for again: ``pairs`` is an iterator. Keep three things:
the largest score so far, the total of the exponentials relative to it, and the sum of values weighted so. When a larger
score turns up, both sums shrink by e^(old - new).

    pairs            largest   total           acc
    (1, 10)          1         1               10
    (3, 20)          3         e^-2 + 1        e^-2 · 10 + 20
    (2, 30)          3         … + e^-1        … + e^-1 · 30          result: acc / total
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor


def online_softmax(pairs: Iterator[tuple[float, Tensor]], dim: int) -> Tensor:
    """The mean of the values, weighted by the softmax of their scores: ``[dim]``.

    Scores may be large (no exponential of more than 0 is ever needed), and -inf for a value that must not count; the
    first ones too. Values ``[dim]`` with a score of -inf may be nan or inf. Zeros where no value counts at all.
    """
    raise NotImplementedError("04.online_softmax: online_softmax is yours to write")
