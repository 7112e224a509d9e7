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
        raise NotImplementedError("02.first_fit: gaps is yours to write")

    def allocate(self, request: int, num_slots: int) -> bool:
        """Put the request (at least one slot) into the first gap that is long enough; False where there is none."""
        raise NotImplementedError("02.first_fit: allocate is yours to write")

    def release(self, request: int) -> None:
        """Its run is free again. Raises KeyError for a request that has none."""
        raise NotImplementedError("02.first_fit: release is yours to write")

    @property
    def lost(self) -> float:
        """External fragmentation: of all free slots, the share outside the largest gap. 0.0 where none is free."""
        raise NotImplementedError("02.first_fit: lost is yours to write")
