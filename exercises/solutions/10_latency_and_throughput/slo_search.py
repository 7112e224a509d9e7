"""SLO search: how much load may a server be given?

An experiment at one rate says which share of its requests met the SLO. The share falls as the rate rises. The answer to
"how much can it take?" is the largest rate at which the share is still as large as was promised: 0.9, or 0.99. Each
experiment takes minutes, so do few: bisection halves what is not known with every one.

By hand: the share is 1.0 up to 5 a second and 0 beyond; promised 0.9, between 0 and 8, to within 1. Tried: 0 (met),
8 (missed), 4 (met), 6 (missed), 5 (met). The answer is 5.
"""

from collections.abc import Callable


def largest_rate(
    share: Callable[[float], float], promised: float, low: float, high: float, tolerance: float
) -> float | None:
    """The largest rate from ``low`` to ``high`` at which ``share(rate) >= promised``, to within ``tolerance``.

    The answer is always a rate that was tried and met the promise; a rate at most ``tolerance`` above it was tried and
    did not, unless the answer is ``high``. None when ``low`` misses already. Experiments: one for each end, and one for
    each halving, until what is left is no wider than ``tolerance``; no rate twice.
    """
    # BEGIN SOLUTION
    if share(low) < promised:
        return None
    if share(high) >= promised:
        return high
    while high - low > tolerance:
        middle = (low + high) / 2
        if share(middle) >= promised:
            low = middle
        else:
            high = middle
    return low
    # END SOLUTION


# Why: the loop keeps one sentence true: ``low`` was seen to meet the promise and ``high`` was seen to miss it. So the
# answer is a measurement, even if noise makes the share not quite fall. The middle of what is left was never tried.
