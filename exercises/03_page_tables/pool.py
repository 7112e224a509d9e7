"""The page pool: states and reference counts.

A page is in exactly one state. *used*: at least one page table names it (its reference count says how many). *cached*:
nobody uses it, but its content is known and can be asked for again. *free*: blank. A page moves like this:

    free ── take ──► used ── last drop, keep=True ───► cached ── share ──► used
                      └───── last drop, keep=False ──► free ◄─── blank ── cached

In chapter 13 this pool, written by you, serves the real model.
"""

from pagedlab.errors import InvariantViolation, OutOfPages
from pagedlab.learn import solved
from pagedlab.memory.pool import PageState

FreeQueue = solved("03.free_queue").FreeQueue


class PagePool:
    """``num_pages`` pages, all free at first."""

    def __init__(self, num_pages: int) -> None:
        self.num_pages = num_pages
        self._queue = FreeQueue(num_pages)
        self._refcount = [0] * num_pages
        self._cached: set[int] = set()

    def take(self) -> int:
        """The next free page becomes used, with one reference. Raises OutOfPages(1, 0, cached) when none is free."""
        raise NotImplementedError("03.pool: take is yours to write")

    def share(self, page: int) -> None:
        """One more reference to a used page, or the first to a cached one. InvariantViolation for a free page."""
        raise NotImplementedError("03.pool: share is yours to write")

    def drop(self, page: int, *, keep: bool) -> int:
        """One reference less; returns how many are left. With the last one the page becomes cached (``keep``) or free.

        Raises InvariantViolation for a page that nobody uses.
        """
        raise NotImplementedError("03.pool: drop is yours to write")

    def blank(self, page: int) -> None:
        """A cached page becomes free, at the end of the queue. Raises InvariantViolation for any other."""
        raise NotImplementedError("03.pool: blank is yours to write")

    # What follows is written already: the questions an engine asks of its pool.

    @property
    def num_free(self) -> int:
        return len(self._queue)

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
        return self._queue.pages()

    def cached_pages(self) -> frozenset[int]:
        return frozenset(self._cached)

    def check(self) -> None:
        """Every page is in exactly one state."""
        used = {page for page, count in enumerate(self._refcount) if count > 0}
        if sorted([*used, *self._cached, *self._queue.pages()]) != list(range(self.num_pages)):
            raise InvariantViolation("a page is in no state, or in two")
