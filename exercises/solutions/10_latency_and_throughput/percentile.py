"""A percentile: the latency that so many requests in a hundred did not exceed.

Latencies have a long tail, and the mean says nothing about it: nine answers in 0.1 s and one in 10 s have a mean of
1.09 s, which nobody saw. The *nearest rank* is the simplest definition, and always a value that did occur: the smallest
sample that is at least as large as ``percent`` per cent of all samples.

By hand: of 10, 20, 30, 40 the 50th percentile is 20 (two of four are at most 20), the 51st is 30, the 99th is 40. With
four samples everything above 75 is the maximum: a p99 of few samples is the worst case under another name.
"""

from collections.abc import Sequence


def percentile(samples: Sequence[float], percent: int) -> float:
    """The nearest-rank percentile of ``samples``, which are in any order and are left as they are.

    ``percent`` is a whole number from 1 to 100, so the rank can be exact: 7 per cent of 100 samples are 7, while
    ``0.07 * 100`` is a little more than 7. Raises ValueError when there are no samples or ``percent`` is outside 1-100.
    """
    # BEGIN SOLUTION
    if not samples or not 1 <= percent <= 100:
        raise ValueError(f"percentile {percent} of {len(samples)} samples; there must be samples, and 1 to 100")
    rank = -(-len(samples) * percent // 100)
    return sorted(samples)[rank - 1]
    # END SOLUTION


# Why: the rank is rounded up, in whole numbers, because "at least so many per cent" is a promise. Libraries interpolate
# between two samples by default, which invents a latency nobody saw; with thousands of samples it makes no difference.
