"""A contiguous allocator: first fit.

Before pages, a request got one unbroken run of slots: the first gap, from the left, that is long enough. When it
ends, its run is a gap again, and gaps that touch are one gap. 10 slots, three requests of 3:

    aaabbbccc.     release b:  aaa...ccc.      4 slots are free, and nobody who asks for 4 gets them.

That is *external* fragmentation: enough memory, and none to be had.
"""


class FirstFit:
    """``num_slots`` slots in a row. Requests are known by a number."""

    def __init__(self, num_slots: int) -> None:
        self.num_slots = num_slots
        self.runs: dict[int, tuple[int, int]] = {}  #: request -> (first slot, number of slots)

    def gaps(self) -> list[tuple[int, int]]:
        """Every gap as (first slot, number of slots), from left to right; none is empty, and no two touch."""
        # BEGIN SOLUTION
        found, at = [], 0
        for start, length in [*sorted(self.runs.values()), (self.num_slots, 0)]:
            if start > at:
                found.append((at, start - at))
            at = start + length
        return found
        # END SOLUTION

    def allocate(self, request: int, num_slots: int) -> bool:
        """Put the request (at least one slot) into the first gap that is long enough; False where there is none."""
        # BEGIN SOLUTION
        for start, length in self.gaps():
            if length >= num_slots:
                self.runs[request] = (start, num_slots)
                return True
        return False
        # END SOLUTION

    def release(self, request: int) -> None:
        """Its run is free again. Raises KeyError for a request that has none."""
        # BEGIN SOLUTION
        del self.runs[request]
        # END SOLUTION

    @property
    def lost(self) -> float:
        """External fragmentation: of all free slots, the share outside the largest gap. 0.0 where none is free."""
        # BEGIN SOLUTION
        lengths = [length for _, length in self.gaps()]
        return 1 - max(lengths) / sum(lengths) if lengths else 0.0
        # END SOLUTION


# Why: gaps need no list of their own: they are what lies between the runs, so two that touch are one without any
# work. All the cleverness of such allocators (best fit, buddies) fights the same loss; pages abolish it.
