"""What it costs to wait for the longest.

A server computes up to ``places`` requests at once; request i needs ``lengths[i]`` steps. They enter in the order of
the list, and each takes one place until its last step.

- *Static* batching fills all places, then computes until the longest of that batch has ended; only then does the next
  batch enter.
- *Continuous* batching gives a place to the next request in the very step after its last one ended.

For lengths [3, 8, 2, 5] and two places:

    static        A A A . . . . . C C . . .        continuous    A A A C C D D D D D
                  B B B B B B B B D D D D D                      B B B B B B B B . .

    13 steps, 8 of 26 places idle                  10 steps, 2 of 20 places idle

Steps with nobody to serve do not count. A place that has nobody in it in a step that counts is idle in it.
"""

# BEGIN SOLUTION
import heapq

# END SOLUTION


def static(lengths: list[int], places: int) -> tuple[int, int]:
    """``(steps, idle places)`` of static batching. The idle places of all steps are added up. No requests: (0, 0)."""
    # BEGIN SOLUTION
    steps = sum(max(lengths[first : first + places]) for first in range(0, len(lengths), places))
    return steps, steps * places - sum(lengths)
    # END SOLUTION


def continuous(lengths: list[int], places: int) -> tuple[int, int]:
    """``(steps, idle places)`` of continuous batching."""
    # BEGIN SOLUTION
    free_from = [0] * places  # the step from which each place is free: a heap
    for length in lengths:
        heapq.heapreplace(free_from, free_from[0] + length)
    steps = max(free_from)
    return steps, steps * places - sum(lengths)
    # END SOLUTION


# Why: the work is the same, sum(lengths); only what stands idle differs. Static batching pays the difference between
# the longest and the mean of every batch, and lengths of answers vary more than anybody can know in advance.
