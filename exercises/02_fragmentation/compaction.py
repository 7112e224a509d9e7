"""Compaction: push everything together.

The cure for gaps, before pages: move the runs to the left until they touch, so that all free slots are one gap. It
costs what it moves: every slot of a run that changes place is read and written.

    aaa...ccc.   ->   aaaccc....      3 slots moved

The order of the runs stays as it is. What lies far left already does not move.
"""

Runs = dict[str, tuple[int, int]]  #: name -> (first slot, number of slots)


def compact(runs: Runs) -> tuple[Runs, int]:
    """The runs where they lie afterwards, and how many slots were moved. ``runs`` itself stays as it is."""
    raise NotImplementedError("02.compaction: compact is yours to write")


def pays_off(moved: int, saved_steps: int, slots_a_step: int) -> bool:
    """Is it worth it? Yes, if fewer slots are moved than are read in the steps that could not run otherwise."""
    raise NotImplementedError("02.compaction: pays_off is yours to write")
