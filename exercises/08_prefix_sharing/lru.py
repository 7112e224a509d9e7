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


class EvictionLine:
    """Idle pages in the order in which they go. Every operation on one page takes the same time, however many wait."""

    def __init__(self) -> None:
        raise NotImplementedError("08.lru: __init__ is yours to write")

    def release(self, pages: list[int]) -> None:
        """These pages, in the order of their sequence, are idle from now on. None of them is in line yet."""
        raise NotImplementedError("08.lru: release is yours to write")

    def hit(self, page: int) -> None:
        """Somebody uses this page again. Raises KeyError when it is not in line."""
        raise NotImplementedError("08.lru: hit is yours to write")

    def evict(self) -> int:
        """The page that goes first; it leaves the line. Raises IndexError when nobody is in line."""
        raise NotImplementedError("08.lru: evict is yours to write")

    def pages(self) -> list[int]:
        """All pages in line, the first to go first."""
        raise NotImplementedError("08.lru: pages is yours to write")
