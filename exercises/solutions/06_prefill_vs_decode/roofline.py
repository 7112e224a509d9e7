"""The roofline: which of two limits does a step run into?

A machine computes at most ``peak`` operations a second and moves at most ``bandwidth`` bytes a second. A step's
*arithmetic intensity* is operations per byte. Below the *ridge point*, peak / bandwidth, memory is the limit: what
can be reached is intensity × bandwidth. Above it, arithmetic is.

peak 100, bandwidth 10: the ridge is at 10 operations a byte. A step with 2 reaches 20, one with 50 reaches 100.
"""


def attainable(intensity: float, peak: float, bandwidth: float) -> float:
    """Operations a second that can be reached."""
    # BEGIN SOLUTION
    return min(peak, intensity * bandwidth)
    # END SOLUTION


def limit(operations: float, moved: float, peak: float, bandwidth: float) -> str:
    """ "arithmetic" or "memory": what the step waits for. At the ridge itself, "arithmetic"."""
    # BEGIN SOLUTION
    return "arithmetic" if operations / moved >= peak / bandwidth else "memory"
    # END SOLUTION


def seconds(operations: float, moved: float, peak: float, bandwidth: float) -> float:
    """The least time of the step: both go on at once, and the slower of the two is what is seen."""
    # BEGIN SOLUTION
    return max(operations / peak, moved / bandwidth)
    # END SOLUTION


# Why: the two functions say one thing: operations / attainable is the time. A faster chip moves the roof, more
# bandwidth the slope; which of them helps, you know before you buy it.
