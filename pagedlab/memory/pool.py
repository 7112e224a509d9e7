"""PagePool: the state and the reference count of every physical page.

A page is in exactly one state. ``used``: some page table names it. ``cached``: nobody uses it, but its content
can still be hit. ``free``: blank. Other engines count cached pages as free, which confuses their users; here
they are a state of their own.
"""

from __future__ import annotations

from array import array
from collections import deque
from enum import StrEnum

from pagedlab.errors import InvariantViolation, OutOfPages


class PageState(StrEnum):
    USED = "used"
    CACHED = "cached"
    FREE = "free"


class PagePool:
    """``num_pages`` pages, all free at first. Every operation is O(1).

    Free pages are handed out in the order in which they became free; with ``last_freed_first`` in the opposite one.
    """

    def __init__(self, num_pages: int, *, last_freed_first: bool = False) -> None:
        if num_pages < 1:
            raise ValueError(f"a pool of {num_pages} pages was asked for; it needs at least one")
        self.num_pages, self.last_freed_first = num_pages, last_freed_first
        self._refcount = array("i", bytes(4 * num_pages))
        self._free = deque(range(num_pages))
        self._cached: set[int] = set()

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def num_cached(self) -> int:
        return len(self._cached)

    @property
    def num_used(self) -> int:
        return self.num_pages - self.num_free - self.num_cached

    def refcount(self, page: int) -> int:
        return self._refcount[page]

    def state(self, page: int) -> PageState:
        if self._refcount[page]:
            return PageState.USED
        return PageState.CACHED if page in self._cached else PageState.FREE

    def free_pages(self) -> list[int]:
        """The free queue, next page first."""
        return list(self._free)

    def cached_pages(self) -> frozenset[int]:
        return frozenset(self._cached)

    def take(self) -> int:
        """A free page becomes used, with one reference."""
        if not self._free:
            raise OutOfPages(1, 0, self.num_cached)
        page = self._free.popleft()
        self._refcount[page] = 1
        return page

    def share(self, page: int) -> None:
        """One more reference to a used page, or the first to a cached one."""
        if self._refcount[page] == 0:
            if page not in self._cached:
                raise InvariantViolation(f"page {page} is free: there is no content to share")
            self._cached.remove(page)
        self._refcount[page] += 1

    def drop(self, page: int, *, keep: bool) -> int:
        """One reference less. The last one turns the page cached (``keep``) or free. Returns what is left."""
        left = self._refcount[page] - 1
        if left < 0:
            raise InvariantViolation(f"page {page} was dropped once more than it was taken")
        self._refcount[page] = left
        if left == 0:
            if keep:
                self._cached.add(page)
            else:
                self._line_up(page)
        return left

    def blank(self, page: int) -> None:
        """A cached page becomes free: its content is given up."""
        if page not in self._cached:
            raise InvariantViolation(f"page {page} is {self.state(page)}: only a cached page can be blanked")
        self._cached.remove(page)
        self._line_up(page)

    def _line_up(self, page: int) -> None:
        if self.last_freed_first:
            self._free.appendleft(page)
        else:
            self._free.append(page)

    def check(self) -> None:
        """Every page is in exactly one state."""
        free, cached = set(self._free), self._cached
        used = {page for page, count in enumerate(self._refcount) if count > 0}
        if len(free) != len(self._free):
            raise InvariantViolation("a page stands twice in the free queue")
        if free & cached or free & used or cached & used or len(free | cached | used) != self.num_pages:
            raise InvariantViolation(
                f"states overlap or miss pages: {len(used)} used, {len(cached)} cached, {len(free)} free "
                f"of {self.num_pages}"
            )
