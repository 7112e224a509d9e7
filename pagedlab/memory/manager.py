"""CacheManager: who owns which page. The only writer of the pool and of page tables.

Every operation either happens as a whole or raises and changes nothing. ``check()`` proves the invariants:

1. a page is in exactly one state; its reference count is the number of page-table entries that name it;
2. a page with more than one reference is never written: it is copied first;
3. only full pages are published, under a key that chains all tokens before them;
4. at least one token of a sequence is always computed, however much was hit;
5. a sequence never holds more than ``page_size - 1`` slots that it did not ask for;
6. when nobody runs, used = 0 and cached + free = total.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pagedlab.errors import InvariantViolation, OutOfPages, PagesInUse
from pagedlab.memory.events import NONE, EventKind, Trace
from pagedlab.memory.pool import PagePool, PageState
from pagedlab.memory.prefix_cache import Cursor, Match, NoPrefixCache, PrefixCache, Salt
from pagedlab.memory.table import PageTable


class PageCopy(NamedTuple):
    """Copy all layers of page ``source`` to page ``target`` before the step computes."""

    source: int
    target: int


class Admission(NamedTuple):
    num_hit: int  #: tokens whose pages were found in the prefix cache: they need not be computed
    num_tokens: int  #: tokens the sequence now has slots for, the hit ones included


@dataclass
class CacheStats:
    """Counted on admission: a request that was refused and tried again counts once, a preempted one again."""

    queried_tokens: int = 0
    hit_tokens: int = 0
    evictions: int = 0
    copies: int = 0

    @property
    def hit_rate(self) -> float:
        return self.hit_tokens / self.queried_tokens if self.queried_tokens else 0.0


@dataclass(slots=True)
class _Holding:
    """What one sequence holds."""

    table: PageTable
    cursor: Cursor  #: how far the prefix cache knows its tokens
    published: int  #: leading pages that are published


class CacheManager:
    """Pages for sequences, named by integers of the caller's choosing.

    ``pool`` and ``prefix_cache`` may be any objects that behave like PagePool and PrefixCache.
    """

    def __init__(
        self,
        num_pages: int,
        page_size: int,
        *,
        prefix_cache: PrefixCache | None = None,
        pool: PagePool | None = None,
        trace: Trace | None = None,
    ) -> None:
        if page_size < 1:
            raise ValueError(f"page_size {page_size} was asked for; a page has at least one slot")
        self.page_size = page_size
        self.pool = pool if pool is not None else PagePool(num_pages)
        self.caching = prefix_cache is not None
        self.prefix_cache: PrefixCache = prefix_cache if prefix_cache is not None else NoPrefixCache()
        self.trace = trace
        self.stats = CacheStats()
        self._holdings: dict[int, _Holding] = {}

    # Questions: nothing changes

    @property
    def num_available(self) -> int:
        """Pages that an allocation can have: free ones and, after those, cached ones."""
        return self.pool.num_free + self.pool.num_cached

    @property
    def sequences(self) -> list[int]:
        return list(self._holdings)

    def table(self, sequence: int) -> PageTable:
        return self._holdings[sequence].table

    def pages_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.page_size)

    def lookup(self, tokens: Sequence[int], salt: Salt = None) -> int:
        """Tokens that admitting ``tokens`` now would find in the prefix cache."""
        return len(self._match(tokens, salt).pages) * self.page_size

    def pages_needed(self, sequence: int, num_tokens: int) -> int:
        """Pages that ``extend(sequence, num_tokens)`` would take."""
        table = self._holdings[sequence].table
        return max(0, self.pages_for(num_tokens) - len(table)) + self._must_copy(table, num_tokens)

    # Changes

    def admit(self, sequence: int, tokens: Sequence[int], budget: int | None = None, salt: Salt = None) -> Admission:
        """Give a new sequence the pages it hits and fresh ones for its first ``budget`` tokens after them.

        At most ``len(tokens) - 1`` tokens are hit: the last one must be computed to yield logits.
        Raises OutOfPages, with nothing changed, when the fresh pages cannot be had.
        """
        if sequence in self._holdings:
            raise ValueError(f"sequence {sequence} is admitted already; release it first")
        if not tokens:
            raise ValueError("a sequence without tokens cannot be admitted")
        if budget is not None and budget < 0:
            raise ValueError(f"a budget of {budget} tokens was given; it is at least 0")
        pages, cursor = self._match(tokens, salt)
        num_hit = len(pages) * self.page_size
        num_tokens = len(tokens) if budget is None else min(len(tokens), num_hit + budget)
        # Cached pages that are hit are about to be used: they cannot also be evicted to make room.
        revived = sum(self.pool.refcount(page) == 0 for page in pages)
        self._require(self.pages_for(num_tokens) - len(pages), reserved=revived)

        table = PageTable(self.page_size)
        for page in pages:
            self._share(sequence, table, page)
        self._holdings[sequence] = _Holding(table, cursor, len(pages))
        if self.caching:
            self.stats.queried_tokens += len(tokens)
            self.stats.hit_tokens += num_hit
        self.record(EventKind.ADMIT, sequence=sequence, value=num_hit)
        self._grow(sequence, table, num_tokens)
        return Admission(num_hit, num_tokens)

    def extend(self, sequence: int, num_tokens: int) -> PageCopy | None:
        """Slots for ``num_tokens`` tokens in all. Returns the copy that must be made before they are written.

        Raises OutOfPages, with nothing changed, when the pages cannot be had.
        """
        table = self._holdings[sequence].table
        if num_tokens < table.num_tokens:
            raise ValueError(f"sequence {sequence} holds {table.num_tokens} tokens; it cannot shrink to {num_tokens}")
        self._require(self.pages_needed(sequence, num_tokens))
        copy = None
        if self._must_copy(table, num_tokens):
            copy = self._copy_last_page(sequence, table)
        self._grow(sequence, table, num_tokens)
        return copy

    def publish(self, sequence: int, tokens: Sequence[int], num_tokens: int) -> None:
        """The first ``num_tokens`` of ``tokens`` are, or are in this step being, written: share their full pages."""
        holding = self._holdings[sequence]
        size = self.page_size
        if num_tokens > holding.table.num_tokens:
            raise InvariantViolation(f"{num_tokens} tokens to publish, but slots for {holding.table.num_tokens}")
        while self.caching and (holding.published + 1) * size <= num_tokens:
            logical = holding.published
            page = holding.table.pages[logical]
            is_new = not self.prefix_cache.holds(page)
            run = tokens[logical * size : (logical + 1) * size]
            holding.cursor = self.prefix_cache.publish(holding.cursor, run, page)
            holding.published += 1
            if is_new:
                self.record(EventKind.PUBLISH, page, sequence, logical)

    def fork(self, parent: int, child: int) -> None:
        """A second sequence with the parent's tokens: all pages are shared until one of the two writes."""
        if child in self._holdings:
            raise ValueError(f"sequence {child} is admitted already; release it first")
        holding = self._holdings[parent]
        table = PageTable(self.page_size, num_tokens=holding.table.num_tokens)
        self.record(EventKind.FORK, sequence=child, value=parent)
        for page in holding.table.pages:
            self._share(child, table, page)
        self._holdings[child] = _Holding(table, holding.cursor, holding.published)

    def release(self, sequence: int, *, valid_tokens: int | None = None) -> None:
        """Take a sequence's pages back, its tail first, so that its tail is also evicted first.

        ``valid_tokens``: only so many of its tokens were really written (their step failed): pages published
        beyond them are forgotten.
        """
        holding = self._holdings.pop(sequence)
        for logical in reversed(range(len(holding.table))):
            page = holding.table.pages[logical]
            keep = self.prefix_cache.holds(page)
            if keep and valid_tokens is not None and (logical + 1) * self.page_size > valid_tokens:
                self._forget(page)
                keep = False
            left = self.pool.drop(page, keep=keep)
            self.record(EventKind.RELEASE, page, sequence, logical)
            if keep and left == 0:
                self.prefix_cache.park(page)

    def reset_prefix_cache(self) -> None:
        """Forget all cached content. Raises PagesInUse while any sequence runs."""
        if self.pool.num_used:
            raise PagesInUse(self.pool.num_used)
        while self.pool.num_cached:
            self._evict()
        self.stats = CacheStats()

    def check(self) -> None:
        """Prove the invariants now; raises InvariantViolation with the first that does not hold."""
        self.pool.check()
        references = Counter(page for holding in self._holdings.values() for page in holding.table.pages)
        for page in range(self.pool.num_pages):
            if self.pool.refcount(page) != references[page]:
                raise InvariantViolation(
                    f"page {page}: {self.pool.refcount(page)} references counted, {references[page]} entries name it"
                )
            state, held = self.pool.state(page), self.prefix_cache.holds(page)
            if (state is PageState.CACHED and not held) or (state is PageState.FREE and held):
                raise InvariantViolation(f"page {page} is {state}, its content is {'' if held else 'not '}published")
        self.prefix_cache.check(self.pool.cached_pages())
        for sequence, holding in self._holdings.items():
            table = holding.table
            if not 0 <= table.waste < self.page_size:
                raise InvariantViolation(f"sequence {sequence} holds {table.num_slots} slots for {table.num_tokens}")
            if len(set(table.pages)) != len(table):
                raise InvariantViolation(f"sequence {sequence} names a page twice: {table.pages}")
            if holding.published * self.page_size > table.num_tokens:
                raise InvariantViolation(f"sequence {sequence} published a page that is not full")
        if not self._holdings and self.pool.num_used:
            raise InvariantViolation(f"nobody runs, yet {self.pool.num_used} pages are used: they leaked")

    def record(self, kind: EventKind, page: int = NONE, sequence: int = NONE, value: int = NONE) -> None:
        """Tell the trace, if there is one. Schedulers add what only they know: steps, arrivals, ends."""
        if self.trace is not None:
            self.trace.record(kind, page, sequence, value)

    # Steps that the changes above are made of

    def _match(self, tokens: Sequence[int], salt: Salt) -> Match:
        return self.prefix_cache.match(tokens, (len(tokens) - 1) // self.page_size, salt)

    def _require(self, asked: int, reserved: int = 0) -> None:
        if asked > self.num_available - reserved:
            raise OutOfPages(asked, self.pool.num_free, self.pool.num_cached - reserved)

    def _must_copy(self, table: PageTable, num_tokens: int) -> bool:
        """The next token would be written into a partly filled page that another sequence also reads."""
        return num_tokens > table.num_tokens and table.waste > 0 and self.pool.refcount(table.pages[-1]) > 1

    def _share(self, sequence: int, table: PageTable, page: int) -> None:
        if self.pool.refcount(page) == 0:
            self.prefix_cache.claim(page)
        self.pool.share(page)
        self.record(EventKind.SHARE, page, sequence, len(table))
        table.pages.append(page)

    def _grow(self, sequence: int, table: PageTable, num_tokens: int) -> None:
        while table.num_slots < num_tokens:
            table.pages.append(self._take(sequence, len(table)))
        table.num_tokens = num_tokens

    def _copy_last_page(self, sequence: int, table: PageTable) -> PageCopy:
        logical = len(table) - 1
        shared = table.pages[logical]
        table.pages[logical] = fresh = self._take(sequence, logical)
        self.record(EventKind.COPY, fresh, sequence, shared)
        self.pool.drop(shared, keep=False)  # others still use it: no state changes
        self.record(EventKind.RELEASE, shared, sequence, logical)
        self.stats.copies += 1
        return PageCopy(shared, fresh)

    def _take(self, sequence: int, logical: int) -> int:
        if not self.pool.num_free:
            self._evict()
            self.stats.evictions += 1
        page = self.pool.take()
        self.record(EventKind.ALLOCATE, page, sequence, logical)
        return page

    def _evict(self) -> None:
        page = self.prefix_cache.evict()
        self.pool.blank(page)
        self.record(EventKind.EVICT, page)

    def _forget(self, page: int) -> None:
        self.prefix_cache.forget(page)
        self.record(EventKind.EVICT, page)
