"""HostTier: pages in host memory, behind those of the device.

They are numbered from ``num_pages`` on, so one copy moves a page either way. Two kinds of content live here: pages of
sequences that were preempted by swap, which nobody else may use, and cached pages that the device evicted, which can
still be hit (and are the first to go when there is no room).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pagedlab.errors import InvariantViolation
from pagedlab.memory.eviction import EvictionQueue
from pagedlab.memory.pool import PagePool


@dataclass(frozen=True)
class Swapped:
    """What a sequence left in host memory."""

    pages: list[int]  #: logical page -> host page, or HOLE
    num_tokens: int


class HostTier:
    """``first``: the number of its first page. ``give_up(page)`` makes the prefix cache forget a host page."""

    def __init__(self, first: int, num_pages: int, queue: EvictionQueue, give_up: Callable[[int], None]) -> None:
        self.first, self.queue = first, queue
        self.pool = PagePool(num_pages) if num_pages else None
        self.swapped: dict[int, Swapped] = {}
        self._give_up = give_up

    @property
    def num_pages(self) -> int:
        return self.pool.num_pages if self.pool else 0

    @property
    def num_available(self) -> int:
        """Pages that are free, and cached ones that can be evicted for a sequence's sake."""
        return self.pool.num_free + self.pool.num_cached if self.pool else 0

    def take(self) -> int:
        """A page; content that can be hit makes room for it. There is one: ``num_available`` says so."""
        assert self.pool is not None
        if not self.pool.num_free:
            self._give_up(self.queue.next())
        return self.first + self.pool.take()

    def take_cached(self) -> int | None:
        """A page for content that the device evicts. None where neither a free page nor an older content is found."""
        if self.pool is None or not (self.pool.num_free or self.queue.parked_pages()):
            return None
        return self.take()

    def untake(self, page: int) -> None:
        """A page that was taken is not needed after all."""
        assert self.pool is not None
        self.pool.drop(page - self.first, keep=False)

    def park(self, page: int) -> None:
        """``page``, which was taken, now holds content that can be hit."""
        assert self.pool is not None
        self.pool.drop(page - self.first, keep=True)
        self.queue.park(page)

    def forget(self, page: int) -> None:
        """The content of a cached page can be hit no more. One that was claimed stays until it is brought back."""
        is_parked = page in self.queue.parked_pages()
        self.queue.forget(page)
        if is_parked:
            self.blank(page)

    def blank(self, page: int) -> None:
        """The content of a cached page is gone from here."""
        assert self.pool is not None
        self.pool.blank(page - self.first)

    def drop(self, sequence: int) -> Swapped:
        """A swapped sequence comes back, or will never: its pages are free. What they hold stays until reused."""
        assert self.pool is not None
        swapped = self.swapped.pop(sequence)
        for page in swapped.pages:
            if page >= self.first:
                self.pool.drop(page - self.first, keep=False)
        return swapped

    def check(self, held: set[int]) -> None:
        """``held``: host pages whose content the prefix cache holds."""
        if self.pool is None:
            return
        self.pool.check()
        owners = Counter(page for swapped in self.swapped.values() for page in swapped.pages if page >= self.first)
        for page in range(self.num_pages):
            if self.pool.refcount(page) != owners[self.first + page]:
                raise InvariantViolation(f"host page {page} is counted {self.pool.refcount(page)} times")
        cached = {self.first + page for page in self.pool.cached_pages()}
        if not cached == held == self.queue.parked_pages():
            raise InvariantViolation(f"host pages {sorted(cached ^ held)} are cached, or can be hit, but not both")
