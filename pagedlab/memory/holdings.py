"""Holdings: what each sequence holds, and how that grows, is shared, shrinks and comes back.

Every operation either happens as a whole or raises and changes nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pagedlab.errors import InvariantViolation
from pagedlab.memory.events import NONE, EventKind, Trace
from pagedlab.memory.eviction import EvictionOrder, Retention, eviction_order
from pagedlab.memory.pool import PagePool
from pagedlab.memory.prefix_cache import Cursor, NoPrefixCache, PrefixCache
from pagedlab.memory.store import CacheStats, PageStore
from pagedlab.memory.table import HOLE, PageTable


@dataclass(slots=True)
class Holding:
    """What one sequence holds."""

    table: PageTable
    cursor: Cursor  #: how far the prefix cache knows its tokens; None: it does not, and nothing can be published
    published: int  #: leading pages that are published
    retention: Sequence[Retention] = ()


class Holdings:
    """What all sequences hold. How one comes in, or comes back, is CacheManager's part."""

    def __init__(
        self,
        num_pages: int,
        page_size: int,
        *,
        prefix_cache: PrefixCache | None = None,
        pool: PagePool | None = None,
        trace: Trace | None = None,
        eviction: str | EvictionOrder = "lru",
        num_host_pages: int = 0,
        min_offload_priority: int = 0,
        whole_sequences: bool = False,
        last_freed_first: bool = False,
        partial_hits: bool = False,
        window: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if page_size < 1:
            raise ValueError(f"page_size {page_size} was asked for; a page has at least one slot")
        self.page_size = page_size
        self.caching = prefix_cache is not None
        self.partial_hits, self.window = partial_hits, window
        self.store = PageStore(
            pool if pool is not None else PagePool(num_pages, last_freed_first=last_freed_first),
            prefix_cache if prefix_cache is not None else NoPrefixCache(),
            order=eviction_order(eviction),
            num_host_pages=num_host_pages,
            min_offload_priority=min_offload_priority,
            whole_sequences=whole_sequences,
            trace=trace,
            clock=clock,
        )
        self.pool, self.prefix_cache, self.host = self.store.pool, self.store.prefix_cache, self.store.host
        self._holdings: dict[int, Holding] = {}
        self._pins: set[int] = set()

    # Questions: nothing changes

    @property
    def num_available(self) -> int:
        """Pages that an allocation can have: free ones and, after those, cached ones."""
        return self.store.num_available

    @property
    def sequences(self) -> list[int]:
        return list(self._holdings)

    @property
    def stats(self) -> CacheStats:
        return self.store.stats

    @property
    def trace(self) -> Trace | None:
        return self.store.trace

    def table(self, sequence: int) -> PageTable:
        return self._holdings[sequence].table

    def pages_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.page_size)

    def pages_needed(self, sequence: int, num_tokens: int) -> int:
        """Pages that ``extend(sequence, num_tokens)`` would take."""
        table = self._holdings[sequence].table
        return max(0, self.pages_for(num_tokens) - len(table)) + self._must_copy(table, num_tokens)

    # Changes

    def extend(self, sequence: int, num_tokens: int) -> None:
        """Slots for ``num_tokens`` tokens in all. A page that is about to be written and is shared is copied.

        Raises OutOfPages, with nothing changed, when the pages cannot be had.
        """
        table = self._holdings[sequence].table
        if num_tokens < table.num_tokens:
            raise ValueError(f"sequence {sequence} holds {table.num_tokens} tokens; it cannot shrink to {num_tokens}")
        missing = self.pages_for(num_tokens) - len(table.pages)
        must_copy = self._must_copy(table, num_tokens)
        if missing > 0 or must_copy:
            self.store.require(missing + must_copy)
            if must_copy:
                self._copy_last_page(sequence, table)
            self._grow(sequence, table, num_tokens)
        else:
            table.num_tokens = num_tokens  # nearly every decode step: room in a last page that nobody shares

    def truncate(self, sequence: int, num_tokens: int) -> None:
        """Only the first ``num_tokens`` tokens count: what was written after them is given up (rejected drafts)."""
        holding = self._holdings[sequence]
        table = holding.table
        if not max(holding.published, table.holes) * self.page_size <= num_tokens <= table.num_tokens:
            raise ValueError(
                f"sequence {sequence} holds {table.num_tokens} tokens; {table.holes} of its pages were given back, "
                f"{holding.published} published; it cannot be cut to {num_tokens}"
            )
        last = table.pages[num_tokens // self.page_size] if num_tokens % self.page_size else HOLE
        if last != HOLE and (self.pool.refcount(last) > 1 or self.prefix_cache.holds(last)):
            raise ValueError(f"sequence {sequence} cannot be cut to {num_tokens} tokens: others read on in page {last}")
        while len(table) > self.pages_for(num_tokens):
            self.store.drop(table.pop(), sequence, len(table))
        table.num_tokens = num_tokens

    def publish(self, sequence: int, tokens: Sequence[int], num_tokens: int) -> None:
        """The first ``num_tokens`` of ``tokens`` are, or are in this step being, written: share their full pages."""
        holding, size = self._holdings[sequence], self.page_size
        if num_tokens > holding.table.num_tokens:
            raise InvariantViolation(f"{num_tokens} tokens to publish, but slots for {holding.table.num_tokens}")
        holds = self.prefix_cache.holds
        while (holding.published + 1) * size <= num_tokens and holding.cursor is not None:
            logical = holding.published
            page = holding.table.pages[logical]
            if page == HOLE:  # what lies behind it could never be found
                holding.cursor = None
                break
            is_new = not holds(page)
            run = tokens[logical * size : (logical + 1) * size]
            holding.cursor = self.prefix_cache.publish(holding.cursor, run, page)
            holding.published += 1
            if is_new and holds(page):
                self.store.published(page)
                if self.store.trace is not None:
                    self.record(EventKind.PUBLISH, page, sequence, logical)
                if holding.retention:
                    self._retain(holding, logical, page)
            elif is_new:
                self._declined(sequence, holding, logical)

    def slide(self, sequence: int) -> None:
        """Give back the pages that no token from the next one on can see, if there is a window."""
        if self.window is None:
            return
        table = self._holdings[sequence].table
        behind = self._num_behind(table.num_tokens)
        while table.holes < behind:
            logical = table.holes
            self.store.drop(table.give_back_first(), sequence, logical)

    def fork(self, parent: int, child: int) -> None:
        """A second sequence with the parent's tokens: all pages are shared until one of the two writes."""
        if child in self._holdings:
            raise ValueError(f"sequence {child} is admitted already; release it first")
        holding = self._holdings[parent]
        table = self._new_table(list(holding.table.pages), holding.table.num_tokens)
        table.holes = holding.table.holes
        self.record(EventKind.FORK, sequence=child, value=parent)
        for logical in range(table.holes, len(table)):
            self.pool.share(table.pages[logical])
            self.record(EventKind.SHARE, table.pages[logical], child, logical)
        self._holdings[child] = Holding(table, holding.cursor, holding.published, holding.retention)

    def release(self, sequence: int) -> None:
        """Take a sequence's pages back, its tail first, so that its tail is also evicted first."""
        self._pins.discard(sequence)
        table = self._holdings.pop(sequence).table
        self.store.drop_all(table.pages[table.holes :], sequence, table.holes)

    def check(self) -> None:
        """Prove the invariants now; raises InvariantViolation with the first that does not hold."""
        self.store.check()
        references = Counter(page for holding in self._holdings.values() for page in holding.table.pages)
        for page in range(self.pool.num_pages):
            if self.pool.refcount(page) != references[page]:
                raise InvariantViolation(
                    f"page {page}: {self.pool.refcount(page)} references counted, {references[page]} entries name it"
                )
        for sequence, holding in self._holdings.items():
            table = holding.table
            if not (table.is_sound() and table.waste < self.page_size):
                raise InvariantViolation(f"sequence {sequence} holds too much, or a page twice: {table}")
            if holding.published * self.page_size > table.num_tokens:
                raise InvariantViolation(f"sequence {sequence} published a page that is not full")
        if not self._holdings and self.pool.num_used:
            raise InvariantViolation(f"nobody runs, yet {self.pool.num_used} pages are used: they leaked")

    def record(self, kind: EventKind, page: int = NONE, sequence: int = NONE, value: int = NONE) -> None:
        """Tell the trace, if there is one. Schedulers add what only they know: arrivals, preemptions, ends."""
        self.store.record(kind, page, sequence, value)

    # Steps that the changes above are made of

    def _new_table(self, pages: list[int], num_tokens: int = 0) -> PageTable:
        return PageTable(self.page_size, pages, num_tokens)

    def _must_copy(self, table: PageTable, num_tokens: int) -> bool:
        """The next token would be written into a partly filled page that another sequence also reads."""
        had = table.num_tokens
        return had < num_tokens and had % self.page_size > 0 and self.pool.refcount(table.pages[-1]) > 1

    def _num_behind(self, position: int) -> int:
        """Leading pages that lie wholly behind the window of the token at ``position``."""
        return 0 if self.window is None else max(0, (position + 1 - self.window) // self.page_size)

    def _append(self, sequence: int, table: PageTable, page: int) -> None:
        if self.store.trace is not None:
            self.record(EventKind.ALLOCATE, page, sequence, len(table))
        table.append(page)

    def _grow(self, sequence: int, table: PageTable, num_tokens: int) -> None:
        for _ in range(self.pages_for(num_tokens) - len(table.pages)):
            self._append(sequence, table, self.store.take())
        table.num_tokens = num_tokens

    def _copy_last_page(self, sequence: int, table: PageTable) -> None:
        logical = len(table) - 1
        shared, fresh = table.pages[logical], self.store.take()
        self.store.copy(shared, fresh)
        table.replace(logical, fresh)
        self.record(EventKind.ALLOCATE, fresh, sequence, logical)
        self.record(EventKind.COPY, fresh, sequence, shared)
        self.store.drop(shared, sequence, logical)
        self.stats.copies += 1

    def _declined(self, sequence: int, holding: Holding, logical: int) -> None:
        """The prefix cache knows what the page holds by another page, or nobody could find the way to it."""

    def _retain(self, holding: Holding, logical: int, page: int) -> None:
        start = logical * self.page_size
        for wish in holding.retention:
            if wish.start < start + self.page_size and (wish.stop is None or wish.stop > start):
                self.store.queue.retain(page, wish.priority, wish.seconds)
