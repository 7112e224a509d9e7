"""Collect the keys and values of a sequence from its pages into one row each.

The plainest way to attend over pages, and what every better one is compared with. ``kv`` is the memory of one head,
``[2, N, P, D]``: ``kv[0]`` holds keys, ``kv[1]`` values, on N pages of P slots. The table says on which page each
logical page lives. What nobody has written is poison: of the last page, only the slots that hold tokens may be read.

With P = 4, the table [5, 0, 3] and 10 tokens: all of page 5, all of page 0, and the first 2 slots of page 3.
"""

from torch import Tensor


def gather(kv: Tensor, pages: list[int], length: int) -> tuple[Tensor, Tensor]:
    """Keys and values, each ``[length, D]``, in the order of the sequence.

    The table may have more pages than ``length`` tokens fill: a sequence can be given room in advance.
    """
    raise NotImplementedError("04.gather: gather is yours to write")
