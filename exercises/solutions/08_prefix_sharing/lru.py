"""Which cached page goes first?

Nobody uses a cached page, but somebody may ask for it again. When free pages run out, the one that has been idle
longest is evicted: least recently used. A page that is hit leaves the line; when it is released again it stands at
the end.

A sequence that ends releases all its pages at once. Then the *tail* should go before the head: without its head a tail
can never be hit again, while a head without its tail still serves. So ``release`` takes a sequence's pages in their
order and lines them up from last to first.

    release([4, 7, 2])    in line: 2 7 4
    release([5])                   2 7 4 5
    hit(7)                         2 4 5
    release([7])                   2 4 5 7
    evict() == 2                   4 5 7
"""

# BEGIN SOLUTION
from collections import OrderedDict

# END SOLUTION


class EvictionLine:
    """Idle pages in the order in which they go. Every operation on one page takes the same time, however many wait."""

    def __init__(self) -> None:
        # BEGIN SOLUTION
        self._line: OrderedDict[int, None] = OrderedDict()
        # END SOLUTION

    def release(self, pages: list[int]) -> None:
        """These pages, in the order of their sequence, are idle from now on. None of them is in line yet."""
        # BEGIN SOLUTION
        for page in reversed(pages):
            self._line[page] = None
        # END SOLUTION

    def hit(self, page: int) -> None:
        """Somebody uses this page again. Raises KeyError when it is not in line."""
        # BEGIN SOLUTION
        del self._line[page]
        # END SOLUTION

    def evict(self) -> int:
        """The page that goes first; it leaves the line. Raises IndexError when nobody is in line."""
        # BEGIN SOLUTION
        if not self._line:
            raise IndexError("no page is idle")
        return self._line.popitem(last=False)[0]
        # END SOLUTION

    def pages(self) -> list[int]:
        """All pages in line, the first to go first."""
        # BEGIN SOLUTION
        return list(self._line)
        # END SOLUTION


# Why: an ordered dict is a doubly linked list with an index: whoever is hit leaves from the middle without a walk. vLLM
# writes that list by hand, inside its blocks, to save even the allocation of nodes.
