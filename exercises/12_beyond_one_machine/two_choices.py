"""The power of two choices.

A router that sends each request to a replica at random leaves some of them with long lines. One that asks all for
their load must know all loads, and everybody's next request goes to the same idle one. Between the two: look at *two*
replicas, drawn at random, and take the less loaded one.

    loads 5 0 3 9; drawn: replicas 0 and 2  ->  2, for 3 is less than 5
"""

import random
from collections.abc import Callable, Sequence

Choice = Callable[[Sequence[int], random.Random], int]


def two_choices(loads: Sequence[int], rng: random.Random) -> int:
    """The less loaded of two *different* replicas, every pair of which is equally likely. Either, where they are
    equal. With one replica there is no choice.
    """
    raise NotImplementedError("12.two_choices: two_choices is yours to write")


def spread(num_requests: int, num_replicas: int, choose: Choice, rng: random.Random) -> list[int]:
    """Requests of each replica when all were sent, one after another, to where ``choose(loads, rng)`` said. The loads
    it sees count the requests before; none ends.
    """
    raise NotImplementedError("12.two_choices: spread is yours to write")
