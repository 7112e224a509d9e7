"""The Pareto front: the settings that nobody has to regret.

A server has knobs (token budget, most sequences at once), and each setting has a throughput and a latency. More of the
one usually costs the other, so there is no best. But many settings are *dominated*: another one is at least as good in
both, and better in one. What is left is the front; which point on it is yours, the SLO says.

By hand, (tokens a second, seconds): A (100, 1.0), B (200, 2.0), C (150, 2.5), D (200, 3.0). B has more throughput than
C in less time, and as much as D in less. The front is A, B.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Point(NamedTuple):
    """What one setting reached."""

    name: str
    throughput: float  #: more is better
    latency: float  #: less is better


def dominates(one: Point, other: Point) -> bool:
    """``one`` is at least as good in both, and better in at least one of them."""
    # BEGIN SOLUTION
    as_good = one.throughput >= other.throughput and one.latency <= other.latency
    return as_good and (one.throughput > other.throughput or one.latency < other.latency)
    # END SOLUTION


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other dominates, the lowest latency first. Points with equal numbers do not dominate each
    other: they all stay, in the order in which they were given."""
    # BEGIN SOLUTION
    best = [point for point in points if not any(dominates(other, point) for other in points)]
    return sorted(best, key=lambda point: point.latency)
    # END SOLUTION


# Why: along the front latency and throughput rise together, so any choice between its points is a choice of values.
# Off the front there is nothing to choose. With millions of points: sort by latency, keep what beats the best so far.
