"""UntouchedPool: a PagePool that takes no memory for pages that nobody has taken yet.

A thousand replicas have millions of pages, and touch few of them.
"""

from __future__ import annotations

from array import array
from collections import deque

from pagedlab.memory.pool import PagePool, PageState


class UntouchedPool(PagePool):
    """Hands out the same pages in the same order: those that were never taken have been free for longest."""

    def __init__(self, num_pages: int) -> None:
        super().__init__(min(num_pages, 1))
        self.num_pages = num_pages
        self._refcount = array("i")  # of the pages that were ever taken, which are the first ones
        self._free = deque[int]()  # of these

    @property
    def num_free(self) -> int:
        return self.num_pages - len(self._refcount) + len(self._free)

    def refcount(self, page: int) -> int:
        return self._refcount[page] if page < len(self._refcount) else 0

    def state(self, page: int) -> PageState:
        return super().state(page) if page < len(self._refcount) else PageState.FREE

    def free_pages(self) -> list[int]:
        return [*range(len(self._refcount), self.num_pages), *self._free]

    def take(self) -> int:
        page = len(self._refcount)
        if page == self.num_pages:
            return super().take()
        self._refcount.append(1)
        return page

    def check(self) -> None:
        whole = PagePool(self.num_pages)
        whole._refcount[: len(self._refcount)] = self._refcount
        whole._free, whole._cached = deque(self.free_pages()), self._cached
        whole.check()
