"""LruQueue: the eviction queue of those who want to know nothing of a page but who was parked first.

An :class:`~pagedlab.memory.eviction.EvictionQueue` keeps a ``PageUse`` for each page, for the orders that look at it.
Least recently used needs none: the line itself is the order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Set

#: An entry of the line is ``moment << PAGE_BITS | page``.
PAGE_BITS = 32
_PAGE = (1 << PAGE_BITS) - 1


class LruQueue:
    """Evicts what an EvictionQueue with ``least_recently_used`` does. Every operation is O(1), amortised.

    A page that is hit leaves its entry behind; a stale one is dropped when it comes up.
    """

    def __init__(self) -> None:
        self._parked: dict[int, int] = {}  #: page -> its entry, in order
        self._line: deque[int] = deque()
        self._now = 0

    def learn(self, page: int) -> None:
        """``page`` can be hit from now on."""

    def forget(self, page: int) -> None:
        self._parked.pop(page, None)

    def hit(self, page: int) -> None:
        """Somebody uses ``page``, who found it: it must not be evicted until it is parked again."""
        self._parked.pop(page, None)

    def park(self, page: int, left_by: int | None = None) -> None:
        """Nobody uses ``page`` any more."""
        self._now += 1
        self._parked[page] = entry = self._now << PAGE_BITS | page
        if len(self._line) > 2 * len(self._parked) + 64:  # mostly stale
            self._line = deque(self._parked.values())
        else:
            self._line.append(entry)

    def retain(self, page: int, priority: int, seconds: float) -> None:
        """A wish that this order does not look at."""

    def refresh(self, page: int) -> None:
        """Leaf or not, it keeps its place."""

    def next(self) -> int:
        """The parked page that is to be evicted now. There is one: the pool counts cached pages."""
        line, parked = self._line, self._parked
        while True:
            page = line[0] & _PAGE
            if parked.get(page) == line[0]:
                return page
            line.popleft()

    def parked_pages(self) -> Set[int]:
        return self._parked.keys()

    def in_order(self) -> list[int]:
        """Parked pages, next victim first."""
        return list(self._parked)
