"""CacheManager: who owns which page. Nobody else changes the pool or a page table.

Every operation either happens as a whole or raises and changes nothing. These hold after each; ``check()`` proves what
can be seen of them (1, 3, 5 and 6), and tests watch the others:

1. a page is in exactly one state; its reference count is the number of page-table entries that name it;
2. a page with more than one reference is never written: it is copied first;
3. only full pages are published, under a key that chains all tokens before them;
4. at least one token of a sequence is always computed, however much was hit;
5. a sequence never holds more than ``page_size - 1`` slots that it did not ask for;
6. when nobody runs, used = 0 and cached + free = total.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pagedlab.errors import PagesInUse
from pagedlab.memory.copies import PageCopy
from pagedlab.memory.events import EventKind
from pagedlab.memory.eviction import Retention
from pagedlab.memory.holdings import Holding, Holdings
from pagedlab.memory.host import Swapped
from pagedlab.memory.prefix_cache import Match, Salt
from pagedlab.memory.table import HOLE, PageTable


class Admission(NamedTuple):
    num_hit: int  #: tokens that need not be computed: found in the prefix cache, or back from host memory
    num_tokens: int  #: tokens the sequence now has slots for, the hit ones included


class CacheManager(Holdings):
    """Pages for sequences, named by integers of the caller's choosing.

    ``pool`` and ``prefix_cache`` may be any objects that behave like PagePool and PrefixCache. ``eviction`` names an
    order or is one. ``num_host_pages`` of host memory keep what the device evicts and sequences that are swapped out.
    ``min_offload_priority`` and ``whole_sequences`` are PageStore's, ``last_freed_first`` is PagePool's.
    ``partial_hits``: a page that only begins as a prompt goes on is copied and used as far as it serves. ``window``:
    every layer attends to so many tokens at most, so pages behind them are given back.
    """

    #: The last question of ``_match``, with the epoch in which it was asked, and the answer.
    _last_match: tuple[tuple[int, Salt, list[int]], Match] | None = None

    # Questions: nothing changes

    @property
    def pins(self) -> frozenset[int]:
        """Names of what is pinned."""
        return frozenset(self._pins)

    @property
    def num_pinned(self) -> int:
        """Pages that pins hold."""
        return len(self._pinned())

    def pages_to_pin(self, tokens: Sequence[int], salt: Salt = None) -> int:
        """Pages that ``pin`` would hold and no other pin holds yet."""
        match = self.prefix_cache.match(tokens, len(tokens) // self.page_size, salt)
        return len(set(match.pages) - self._pinned())

    def lookup(self, tokens: Sequence[int], salt: Salt = None) -> int:
        """Tokens that admitting ``tokens`` now would find in the prefix cache."""
        return self._known(self._match(tokens, salt))

    def pages_to_admit(self, sequence: int, tokens: Sequence[int], num_tokens: int, salt: Salt = None) -> int:
        """Pages, of those available, that ``sequence`` would use if it were admitted to hold ``num_tokens``."""
        if sequence in self.host.swapped:
            swapped = self.host.swapped[sequence]
            asked = self.pages_for(num_tokens) - swapped.pages.count(HOLE)
            return self.store.cost(asked, self._still_cached(tokens, swapped, salt).pages)
        match = self._match(tokens, salt)
        behind = self._num_behind(self._known(match))
        return self.store.cost(self.pages_for(num_tokens) - behind, match.pages[behind:])

    # A step

    def begin_step(self, step: int) -> None:
        """What the step before was to compute has been computed."""
        self.store.begin_step()
        self.record(EventKind.STEP, value=step)

    def take_copies(self) -> list[PageCopy]:
        """Copies asked for since this was last called: they must be made, in this order, before the step computes."""
        return self.store.take_copies()

    def abandon_step(self) -> None:
        """The step failed, and its sequences have been released: forget all content that it was to bring.

        A pin that waited for such content stays, and holds nothing.
        """
        for name in self._pins:
            holding = self._holdings[name]
            if self.store.is_to_be_brought(holding.table.pages):
                holding.published = 0
                self.truncate(name, 0)
        self.store.abandon_step()

    # Changes

    def admit(
        self,
        sequence: int,
        tokens: Sequence[int],
        budget: int | None = None,
        salt: Salt = None,
        retention: Sequence[Retention] = (),
    ) -> Admission:
        """Give a new sequence the pages it hits and fresh ones for its first ``budget`` tokens after them.

        At most ``len(tokens) - 1`` tokens are hit: the last one must be computed to yield logits. A sequence that was
        swapped out gets back what it had. Raises OutOfPages, with nothing changed, when the pages cannot be had.
        """
        if sequence in self._holdings:
            raise ValueError(f"sequence {sequence} is admitted already; release it first")
        if not tokens:
            raise ValueError("a sequence without tokens cannot be admitted")
        if budget is not None and budget < 0:
            raise ValueError(f"a budget of {budget} tokens was given; it is at least 0")
        budget = len(tokens) if budget is None else budget
        if sequence in self.host.swapped:
            return self._resume(sequence, tokens, budget, salt, retention)
        match = self._match(tokens, salt)
        known = self._known(match)
        num_tokens = min(len(tokens), known + budget)
        behind = self._num_behind(known)
        self.store.require(self.pages_for(num_tokens) - behind, match.pages[behind:])

        self._claim(sequence, match, behind)
        copied = None
        if match.partial:  # at once, before what it copies is evicted
            copied = self.store.take()
            if copied != match.partial.page:  # else it was evicted for this very purpose
                self.store.copy(match.partial.page, copied)
        table = self._hold(sequence, match, retention, behind)
        if match.partial and copied is not None:
            self._append(sequence, table, copied)
            self.record(EventKind.FILL, copied, sequence, match.partial.num_tokens)
        if self.caching:
            self.store.count(len(tokens), known)
        self.record(EventKind.ADMIT, sequence=sequence, value=known)
        self._grow(sequence, table, num_tokens)
        return Admission(known, num_tokens)

    def pin(self, name: int, tokens: Sequence[int], salt: Salt = None) -> int:
        """Hold the cached pages that ``tokens`` begins with, as a sequence would, until ``release(name)``.

        Returns how many tokens they hold. Raises OutOfPages, with nothing changed, when some are in host memory and
        there is no room for them.
        """
        if name in self._holdings:
            raise ValueError(f"sequence {name} is admitted already; release it first")
        match = self.prefix_cache.match(tokens, len(tokens) // self.page_size, salt)
        self.store.require(len(match.pages), match.pages)
        self._claim(name, match)
        table = self._hold(name, match, ())
        table.num_tokens = len(match.pages) * self.page_size
        self._pins.add(name)
        return table.num_tokens

    def swap_out(self, sequence: int) -> bool:
        """Release a sequence, but keep what it computed in host memory. False, and nothing changed, without room."""
        table = self._holdings[sequence].table
        if not self.host.num_pages or len(table) - table.holes > self.host.num_available:
            return False
        pages = [HOLE] * table.holes
        for page in table.pages[table.holes :]:
            pages.append(self.host.take())
            self.store.copy(page, pages[-1])
        num_tokens = table.num_tokens
        self.release(sequence)
        self.host.swapped[sequence] = Swapped(pages, num_tokens)
        self.stats.swaps += 1
        return True

    def receive(self, sequence: int, num_tokens: int) -> bool:
        """Another machine has computed the first ``num_tokens`` of a sequence, and its pages arrive in host memory.

        It can be admitted as if it had been swapped out here. False, and nothing changes, without room.
        """
        if sequence in self._holdings or sequence in self.host.swapped:
            raise ValueError(f"sequence {sequence} has pages here already; release them first")
        num_pages = self.pages_for(num_tokens)
        if num_tokens < 1 or num_pages > self.host.num_available:
            return False
        self.host.swapped[sequence] = Swapped([self.host.take() for _ in range(num_pages)], num_tokens)
        return True

    def drop_swapped(self, sequence: int) -> None:
        """What a sequence left in host memory, if anything, is not needed any more."""
        if sequence in self.host.swapped:
            self.host.drop(sequence)

    def reset_prefix_cache(self) -> None:
        """Forget all cached content. Raises PagesInUse while any sequence runs."""
        if self.pool.num_used:
            raise PagesInUse(self.pool.num_used)
        for page in sorted(self.prefix_cache.pages()):
            if self.prefix_cache.holds(page):  # it may have gone with another
                self.store.forget(page)
        self.store.reset_stats()

    # Steps that the changes above are made of

    def _pinned(self) -> set[int]:
        return {page for name in self._pins for page in self._holdings[name].table.pages}

    def _match(self, tokens: Sequence[int], salt: Salt) -> Match:
        """Whoever asks whether a request can come in has it admitted next, so the last answer is kept."""
        question = (self.store.epoch, salt, tokens)
        if self._last_match is None or self._last_match[0] != question:
            self._last_match = (self.store.epoch, salt, list(tokens)), self._match_anew(tokens, salt)
        return self._last_match[1]

    def _match_anew(self, tokens: Sequence[int], salt: Salt) -> Match:
        match = self.prefix_cache.match(tokens, (len(tokens) - 1) // self.page_size, salt)
        if not self.partial_hits:
            return match
        start = len(match.pages) * self.page_size
        partial = self.prefix_cache.partial(match.cursor, tokens[start : start + self.page_size])
        if partial and self.store.can_copy(partial.page):
            useful = min(partial.num_tokens, len(tokens) - 1 - start)
            if useful > 0:
                return match._replace(partial=partial._replace(num_tokens=useful))
        return match

    def _known(self, match: Match) -> int:
        return len(match.pages) * self.page_size + (match.partial.num_tokens if match.partial else 0)

    def _claim(self, sequence: int, match: Match, behind: int = 0) -> None:
        """The pages of ``match`` must stay, but for the first ``behind``. All at once, before any page is taken."""
        for logical, page in enumerate(match.pages[behind:], start=behind):
            self.store.claim(page)
            if self.store.trace is not None and page < self.pool.num_pages:
                self.record(EventKind.SHARE, page, sequence, logical)

    def _hold(self, sequence: int, match: Match, retention: Sequence[Retention], behind: int = 0) -> PageTable:
        """Enter the pages of ``match``, which are claimed, into a new table; those in host memory come back.

        The first ``behind`` of them are not claimed, and holes from the beginning.
        """
        table = self._new_table([HOLE] * behind)
        table.holes = behind
        self._holdings[sequence] = holding = Holding(table, match.cursor, len(match.pages), retention)
        for logical, page in enumerate(match.pages[behind:], start=behind):
            if page < self.pool.num_pages:
                table.append(page)
            else:
                page = self.store.bring_back(page)
                self._append(sequence, table, page)
                self.record(EventKind.FILL, page, sequence, self.page_size)
                if self.prefix_cache.holds(page):
                    self.record(EventKind.PUBLISH, page, sequence, logical)
            if retention and self.prefix_cache.holds(page):
                self._retain(holding, logical, page)
        return table

    def _resume(
        self, sequence: int, tokens: Sequence[int], budget: int, salt: Salt, retention: Sequence[Retention]
    ) -> Admission:
        """Back from host memory. Full pages that can still be hit are shared, and come back for all if they must."""
        swapped = self.host.swapped[sequence]
        match = self._still_cached(tokens, swapped, salt)
        num_tokens = min(len(tokens), swapped.num_tokens + budget)
        self.store.require(self.pages_for(num_tokens) - swapped.pages.count(HOLE), match.pages)
        self._claim(sequence, match)
        table = self._hold(sequence, match, retention)
        for page in swapped.pages[len(match.pages) :]:
            if page == HOLE:
                table.append(HOLE)
                table.holes += 1
                continue
            target = self.store.take()
            self.store.copy(page, target)
            self._append(sequence, table, target)
            filled = min(self.page_size, swapped.num_tokens - (len(table) - 1) * self.page_size)
            self.record(EventKind.FILL, target, sequence, filled)
        self.host.drop(sequence)
        self.record(EventKind.RESUME, sequence=sequence, value=swapped.num_tokens)
        self._grow(sequence, table, num_tokens)
        return Admission(swapped.num_tokens, num_tokens)

    def _still_cached(self, tokens: Sequence[int], swapped: Swapped, salt: Salt) -> Match:
        """Full pages of a swapped sequence that can still be hit, on the device or in host memory."""
        if HOLE in swapped.pages:  # what comes after what it gave back is of no use to others
            return Match([], None)
        return self.prefix_cache.match(tokens, swapped.num_tokens // self.page_size, salt)
