"""What the cache manager asks of a prefix cache, and the cache that remembers nothing.

A prefix cache knows which *content* each full page holds. It never touches reference counts: those are the pool's.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence, Set
from typing import Any, NamedTuple, Protocol

from pagedlab.errors import InvariantViolation

#: Separates caches that must not share (tenants, adapters). None is a salt like any other.
Salt = Hashable

#: A cache's own mark of how far a sequence's tokens are known to it.
Cursor = Any


class Match(NamedTuple):
    pages: list[int]  #: pages that hold the first ``len(pages) * page_size`` tokens, in order
    cursor: Cursor  #: where publishing goes on after them


class PrefixCache(Protocol):
    """Content of full pages. A page is *parked* while nobody uses it; only parked pages are evicted."""

    def match(self, tokens: Sequence[int], max_pages: int, salt: Salt) -> Match:
        """The longest run of known pages from the first token on. Changes nothing."""
        ...

    def publish(self, cursor: Cursor, tokens: Sequence[int], page: int) -> Cursor:
        """``page`` holds ``tokens``, the full page after ``cursor``. Returns the cursor after it."""
        ...

    def holds(self, page: int) -> bool:
        """The content of ``page`` can be hit."""
        ...

    def park(self, page: int) -> None:
        """The last reference to ``page`` is gone: it may be evicted, after those parked before it."""
        ...

    def claim(self, page: int) -> None:
        """A parked page was hit: it must not be evicted."""
        ...

    def evict(self) -> int:
        """Choose a parked page, forget it and return it. There is one: the pool counts cached pages."""
        ...

    def forget(self, page: int) -> None:
        """The content of ``page``, used or parked, must not be hit again."""
        ...

    def check(self, cached: Set[int]) -> None:
        """Raise InvariantViolation where the cache contradicts itself or the pool, which says what is ``cached``."""
        ...


class NoPrefixCache:
    """Prefix caching switched off: every lookup misses and nothing is kept."""

    def match(self, tokens: Sequence[int], max_pages: int, salt: Salt) -> Match:
        return Match([], None)

    def publish(self, cursor: Cursor, tokens: Sequence[int], page: int) -> Cursor:
        return None

    def holds(self, page: int) -> bool:
        return False

    def park(self, page: int) -> None:
        raise AssertionError("a page was parked in a cache that holds none")

    claim = forget = park

    def evict(self) -> int:
        raise AssertionError("a page was to be evicted from a cache that holds none")

    def check(self, cached: Set[int]) -> None:
        if cached:
            raise InvariantViolation(f"pages {sorted(cached)} are cached, but nothing remembers their content")
