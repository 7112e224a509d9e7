"""The cache manager: your pool and your tables, made into something an engine can trust.

A scheduler asks it for pages and never touches one. It is made of what you have already: a pool (03.pool), tables that
fork (03.fork) and a prefix cache, which is given. What is new is that *cached* pages are memory too: when free pages
run out, those that have been idle longest are evicted, and only when none is left is the answer OutOfPages.

Pages of 4, a pool of 3, prompts as letters. "abcdefgh" is admitted, published and released: its two pages are cached,
one is free. "abcdxyz" hits the page of "abcd" and takes the free one. Now "1234" needs a page: none is free, but nobody
uses "efgh", so that is evicted. Had it been "12345678", the answer would be OutOfPages, and "efgh" would be cached yet.

The engine calls this from its scheduler: ``LLM(model, manager=Manager)``.
"""

from collections.abc import Sequence
from typing import Any

from pagedlab.errors import OutOfPages
from pagedlab.learn import solved
from pagedlab.memory.manager import Admission
from pagedlab.memory.pool import PageState
from pagedlab.memory.prefix_cache import Cursor, NoPrefixCache
from pagedlab.memory.store import CacheStats
from pagedlab.memory.table import PageTable

PagePool = solved("03.pool").PagePool
ForkingTables = solved("03.fork").ForkingTables


class Manager:
    """Pages for sequences, which are known by numbers. Every operation happens as a whole or changes nothing."""

    def __init__(
        self, num_pages: int, page_size: int, *, pool: Any = None, prefix_cache: Any = None, **other_knobs: Any
    ) -> None:
        self.pool = PagePool(num_pages) if pool is None else pool
        self.page_size = page_size
        self.tables = ForkingTables(self.pool, page_size)
        self.prefix_cache = NoPrefixCache() if prefix_cache is None else prefix_cache
        self.idle: list[int] = []  #: cached pages; the one that has been idle longest is first
        self.cursors: dict[int, Cursor] = {}  #: sequence -> how far the prefix cache knows its tokens
        self.published: dict[int, int] = {}  #: sequence -> how many of its pages are published
        self.copies: list[tuple[int, int]] = []  #: (source, copy): to be made before the step computes
        self.fresh: list[int] = []  #: pages that were published in this step
        self.stats = CacheStats()

    @property
    def num_available(self) -> int:
        """Pages that somebody can have: the free ones and, after those, the cached ones."""
        return self.pool.num_free + self.pool.num_cached

    def pages_for(self, num_tokens: int) -> int:
        """Pages that hold ``num_tokens`` tokens."""
        return -(-num_tokens // self.page_size)

    def make_room(self, num_pages: int) -> None:
        """See to it that ``num_pages`` pages are free, by evicting those that have been idle longest.

        To evict a page is to tell the prefix cache to ``forget`` it, and to ``blank`` it in the pool. ``forget`` may
        name further pages that are ``cut_off``: nothing can find them now, so those that are cached go too.
        Raises OutOfPages(asked, free, cached), with nothing changed, where even all cached pages are too few.
        """
        raise NotImplementedError("13.manager: make_room is yours to write")

    def pages_needed(self, sequence: int, num_tokens: int) -> int:
        """Pages that ``extend(sequence, num_tokens)`` would take, a copy of a shared last page among them.

        The last page needs a copy when it is not full, more than one table names it, and a token is to be added.
        """
        raise NotImplementedError("13.manager: pages_needed is yours to write")

    def extend(self, sequence: int, num_tokens: int) -> None:
        """Room for ``num_tokens`` tokens in all. A copy that must be made is put into ``copies``."""
        raise NotImplementedError("13.manager: extend is yours to write")

    def admit(
        self, sequence: int, tokens: Sequence[int], budget: int, salt: Any = None, retention: Any = ()
    ) -> Admission:
        """A new sequence: the pages it hits, and room for at most ``budget`` tokens after them.

        ``prefix_cache.match(tokens, max_pages, salt)`` has ``.pages``, the hit ones, and ``.cursor``. The last token
        must be computed, or there are no logits: at most ``len(tokens) - 1`` tokens may be hit, in full pages.
        Hit pages must be held *before* room is made for the others, or they are what is evicted.

        Returns Admission(num_hit, num_tokens): tokens that were hit, and tokens it has room for, the hit ones among
        them. Raises OutOfPages with nothing changed.
        """
        raise NotImplementedError("13.manager: admit is yours to write")

    def publish(self, sequence: int, tokens: Sequence[int], num_tokens: int) -> None:
        """The first ``num_tokens`` tokens are being written: others may share the pages that they fill.

        Page after page, ``prefix_cache.publish(cursor, tokens_of_the_page, page)`` returns the next cursor. A cursor
        of None means that the cache knows nothing of this sequence, and there is nothing to publish. A page that
        ``prefix_cache.holds`` afterwards, and did not before, belongs into ``fresh``.
        """
        raise NotImplementedError("13.manager: publish is yours to write")

    def fork(self, parent: int, child: int) -> None:
        """A second sequence with the parent's tokens and pages; what is published is known of both."""
        raise NotImplementedError("13.manager: fork is yours to write")

    def release(self, sequence: int) -> None:
        """Give all pages back, the last one first. What the prefix cache holds is kept, and idle from now on."""
        raise NotImplementedError("13.manager: release is yours to write")

    # What follows is written already: what an engine and a scheduler ask besides.

    trace = window = None  # nothing is recorded, and nobody forgets what lies far behind
    num_pinned = 0
    pins: frozenset[int] = frozenset()

    def table(self, sequence: int) -> PageTable:
        """The sequence's table as a kernel is given it."""
        return PageTable(self.page_size, list(self.tables.pages[sequence]), self.tables.num_tokens[sequence])

    def lookup(self, tokens: Sequence[int], salt: Any = None) -> int:
        return len(self.prefix_cache.match(tokens, (len(tokens) - 1) // self.page_size, salt).pages) * self.page_size

    def pages_to_admit(self, sequence: int, tokens: Sequence[int], num_tokens: int, salt: Any = None) -> int:
        """Pages of those available that the sequence would use: a cached page that it hits is one."""
        pages = self.prefix_cache.match(tokens, (len(tokens) - 1) // self.page_size, salt).pages
        in_use = sum(self.pool.state(page) is PageState.USED for page in pages)
        return self.pages_for(num_tokens) - in_use

    def begin_step(self, step: int) -> None:
        self.fresh = []

    def take_copies(self) -> list[tuple[int, int]]:
        copies, self.copies = self.copies, []
        return copies

    def abandon_step(self) -> None:
        """The step failed: what it was to write must not be found."""
        for page in self.fresh:
            if self.prefix_cache.holds(page):
                self.prefix_cache.forget(page)
            if self.pool.state(page) is PageState.CACHED:
                self.idle.remove(page)
                self.pool.blank(page)
        self.fresh, self.copies = [], []

    def drop_swapped(self, sequence: int) -> None:
        """There is no host memory here: nothing was swapped."""

    def record(self, *event: Any, **fields: Any) -> None:
        """There is no trace here."""

    def check(self) -> None:
        """The pool's books balance, and every cached page is in line to be evicted."""
        self.pool.check()
        if sorted(self.idle) != sorted(self.pool.cached_pages()):
            raise AssertionError(f"cached: {sorted(self.pool.cached_pages())}; in line: {sorted(self.idle)}")
