"""PageStore: pages and what they hold, whoever uses them.

Here the four who know something of a page meet: the pool (how many use it), the prefix cache (what it holds), the
eviction queue (how soon it may go) and the host tier (where its content may go). A page moves between them as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pagedlab.errors import InvariantViolation, OutOfPages
from pagedlab.memory.copies import PageCopy
from pagedlab.memory.events import NONE, EventKind, Trace
from pagedlab.memory.eviction import EvictionOrder, EvictionQueue, least_recently_used
from pagedlab.memory.host import HostTier
from pagedlab.memory.lru import LruQueue
from pagedlab.memory.pool import PagePool, PageState
from pagedlab.memory.prefix_cache import PrefixCache


@dataclass
class CacheStats:
    """Tokens are counted on admission: a request that was refused and tried again counts once, one that was preempted
    and is computed anew again."""

    queried_tokens: int = 0
    hit_tokens: int = 0
    evictions: int = 0
    copies: int = 0  #: pages copied because two sequences shared them and one was about to write
    offloads: int = 0  #: evicted pages whose content went to host memory
    returns: int = 0  #: pages that came back from there
    swaps: int = 0  #: sequences that were preempted into host memory

    @property
    def hit_rate(self) -> float:
        return self.hit_tokens / self.queried_tokens if self.queried_tokens else 0.0


class PageStore:
    """Pages 0 to ``num_pages - 1`` are the device's, those after them the host's.

    What the device evicts goes to the host if it is worth at least ``min_offload_priority``. ``whole_sequences``: with
    a page go all that follow it in the order of eviction and were left by the same sequence (LMDeploy).
    """

    def __init__(
        self,
        pool: PagePool,
        prefix_cache: PrefixCache,
        *,
        order: EvictionOrder,
        num_host_pages: int = 0,
        min_offload_priority: int = 0,
        whole_sequences: bool = False,
        trace: Trace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.min_offload_priority, self.whole_sequences = min_offload_priority, whole_sequences
        self.pool, self.prefix_cache, self.trace = pool, prefix_cache, trace
        self.order = order
        self.queue: EvictionQueue | LruQueue = EvictionQueue(order, prefix_cache.is_leaf, clock)
        if order is least_recently_used and not (num_host_pages or whole_sequences):
            self.queue = LruQueue()  # nobody will ask what else is known of a page
        host_queue = EvictionQueue(order, prefix_cache.is_leaf, clock)
        self.host = HostTier(pool.num_pages, num_host_pages, host_queue, self.forget)
        self.stats = CacheStats()
        self.epoch = 0  #: changes with everything that a lookup might find
        self._copies: list[PageCopy] = []
        self._fresh: set[int] = set()  #: pages whose content the present step is to bring
        self._queried = self._hit = 0  #: tokens that admissions of the present step counted

    @property
    def num_available(self) -> int:
        """Pages that an allocation can have: free ones and, after those, cached ones."""
        return self.pool.num_free + self.pool.num_cached

    def cost(self, asked: int, hits: Sequence[int] = ()) -> int:
        """Pages, of those available, that a table of ``asked`` pages uses up, ``hits`` among them.

        Hits that somebody uses cost nothing. Cached ones do: they cannot also be evicted to make room.
        """
        if not hits:
            return asked
        first, refcount = self.host.first, self.pool.refcount
        return asked - len([page for page in hits if page < first and refcount(page)])

    def require(self, asked: int, hits: Sequence[int] = ()) -> None:
        """Raise OutOfPages unless such a table can be had."""
        cost = self.cost(asked, hits)
        if cost > self.num_available:
            raise OutOfPages(cost, self.pool.num_free, self.pool.num_cached)

    # A step

    def begin_step(self) -> None:
        """What was to be computed has been. Copies that were asked for since are yet to be made."""
        self.epoch += 1
        self._fresh = {copy.target for copy in self._copies}
        self._queried = self._hit = 0

    def take_copies(self) -> list[PageCopy]:
        """Copies asked for since this was last called: they must be made, in this order, before the step computes."""
        copies, self._copies = self._copies, []
        return copies

    def can_copy(self, page: int) -> bool:
        """``page`` is on the device and has its content before the step computes."""
        return page < self.host.first and page not in self._fresh

    def is_to_be_brought(self, pages: Sequence[int]) -> bool:
        """The present step is to bring the content of some of ``pages``."""
        return not self._fresh.isdisjoint(pages)

    def abandon_step(self) -> None:
        """The step failed, and its sequences have been released: forget all content that it was to bring.

        What it found in the cache is not counted either.
        """
        self.count(-self._queried, -self._hit)
        for page in sorted(self._fresh):
            if self.prefix_cache.holds(page):
                self.forget(page)
        for sequence, swapped in list(self.host.swapped.items()):
            if self.is_to_be_brought(swapped.pages):
                self.host.drop(sequence)
        self._fresh.clear()
        self._copies.clear()

    def count(self, queried: int, hit: int) -> None:
        """An admission sought so many tokens in the cache, and found so many: that counts unless the step fails."""
        self.stats.queried_tokens += queried
        self.stats.hit_tokens += hit
        self._queried += queried
        self._hit += hit

    def reset_stats(self) -> None:
        self.stats = CacheStats()
        self._queried = self._hit = 0

    # A page

    def take(self) -> int:
        """A blank page with one reference; cached content makes room for it."""
        if not self.pool.num_free:
            if self.whole_sequences:
                self._evict_sequence()
            else:
                self._evict(self.queue.next())
        return self.pool.take()

    def claim(self, page: int) -> None:
        """A page that was hit must stay; on the device it also gets a reference."""
        if page >= self.host.first:
            self.host.queue.hit(page)
        else:
            self.queue.hit(page)
            self.pool.share(page)

    def drop(self, page: int, sequence: int, logical: int) -> None:
        """``sequence`` needs it no more; the last to say so turns it cached if its content can be hit, else free."""
        self.drop_all((page,), sequence, logical)

    def drop_all(self, pages: Sequence[int], sequence: int, start: int) -> None:
        """Drop the logical pages of ``sequence`` from ``start`` on, the last one first."""
        holds, drop, park = self.prefix_cache.holds, self.pool.drop, self.queue.park
        for page in reversed(pages):
            keep = holds(page)
            if drop(page, keep=keep) == 0 and keep:
                park(page, sequence)
        if self.trace is not None:
            for logical in reversed(range(len(pages))):
                self.trace.record(EventKind.RELEASE, pages[logical], sequence, start + logical)

    def copy(self, source: int, target: int) -> None:
        self.epoch += 1
        self._copies.append(PageCopy(source, target))
        self._fresh.add(target)

    def bring_back(self, page: int) -> int:
        """Content that was claimed in the host page ``page`` moves to a page of the device, which is returned."""
        target = self.take()
        self.copy(page, target)
        if self.prefix_cache.holds(page):  # unless what it continues was evicted just now
            self.prefix_cache.move(page, target)
            assert isinstance(self.queue, EvictionQueue)
            self.queue.learn(target, self.host.queue.forget(page))
            self.record(EventKind.EVICT, page)
        self.host.blank(page)
        self.stats.returns += 1
        return target

    def published(self, page: int) -> None:
        """The prefix cache holds ``page`` from now on."""
        self.epoch += 1
        self._fresh.add(page)
        self.queue.learn(page)

    def forget(self, page: int) -> None:
        """The content of ``page`` can be hit no more, nor what the prefix cache cannot find without it."""
        self.epoch += 1
        cut_off, leaves = self.prefix_cache.forget(page)
        for gone in (page, *sorted(cut_off)) if cut_off else (page,):
            if gone < self.host.first:
                self.queue.forget(gone)
                self._leave_device(gone)
            else:
                self.host.forget(gone)
                self.record(EventKind.EVICT, gone)
        for leaf in leaves:
            (self.queue if leaf < self.host.first else self.host.queue).refresh(leaf)

    def record(self, kind: EventKind, page: int = NONE, sequence: int = NONE, value: int = NONE) -> None:
        if self.trace is not None:
            self.trace.record(kind, page, sequence, value)

    def check(self) -> None:
        self.pool.check()
        for page in range(self.pool.num_pages):
            state, held = self.pool.state(page), self.prefix_cache.holds(page)
            if (state is PageState.CACHED and not held) or (state is PageState.FREE and held):
                raise InvariantViolation(f"page {page} is {state}, its content is {'' if held else 'not '}published")
        cached, parked = self.pool.cached_pages(), self.queue.parked_pages()
        if cached != parked:
            raise InvariantViolation(
                f"pages {sorted(cached ^ parked)} are cached or in line for eviction, but not both"
            )
        self.prefix_cache.check()
        self.host.check({page for page in self.prefix_cache.pages() if page >= self.host.first})

    def _evict_sequence(self) -> None:
        assert isinstance(self.queue, EvictionQueue)
        page = self.queue.next()
        left_by = self.queue.use_of(page).left_by
        while self.queue.use_of(page).left_by == left_by:
            self._evict(page)
            if not self.queue.parked_pages():
                break
            page = self.queue.next()

    def _evict(self, page: int) -> None:
        self.stats.evictions += 1
        if self.host.pool is None:
            self.forget(page)
            return
        assert isinstance(self.queue, EvictionQueue)
        worth_it = self.queue.use_of(page).priority >= self.min_offload_priority
        target = self.host.take_cached() if worth_it else None
        if not self.prefix_cache.holds(page):  # it went with what the host gave up to take it in
            if target is not None:
                self.host.untake(target)
        elif target is None:
            self.forget(page)
        else:
            self.copy(page, target)
            self.prefix_cache.move(page, target)
            self.host.queue.learn(target, self.queue.forget(page))
            self.host.park(target)
            self.stats.offloads += 1
            self.record(EventKind.OFFLOAD, page, value=target)
            self._leave_device(page)

    def _leave_device(self, page: int) -> None:
        self.record(EventKind.EVICT, page)
        if not self.pool.refcount(page):
            self.pool.blank(page)
