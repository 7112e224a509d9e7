"""What the cache manager asks of a prefix cache, and the cache that remembers nothing.

A prefix cache is an index: it knows which *content* each full page holds, and finds pages by it. It never touches
reference counts, which are the pool's, and does not choose what is evicted, which is the eviction queue's business.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

#: Separates caches that must not share (tenants, adapters). None is a salt like any other.
Salt = Hashable

#: A cache's own mark of how far a sequence's tokens are known to it; None: not at all, and not from now on.
Cursor = Any


class Partial(NamedTuple):
    """``page`` begins with the ``num_tokens`` tokens that come next, and goes on with others: it can be copied."""

    page: int
    num_tokens: int


class Match(NamedTuple):
    pages: list[int]  #: pages that hold the first ``len(pages) * page_size`` tokens, in order
    cursor: Cursor  #: where publishing goes on after them
    partial: Partial | None = None  #: the page that shares most of what follows, where such hits are wanted


class Forgotten(NamedTuple):
    """What a cache tells when it forgets a page."""

    cut_off: Sequence[int] = ()  #: further pages that cannot be hit any more: they continued the forgotten one
    leaves: Sequence[int] = ()  #: pages that no known page continues any more


class PrefixCache(Protocol):
    """Content of full pages."""

    def match(self, tokens: Sequence[int], max_pages: int, salt: Salt) -> Match:
        """The longest run of known pages from the first token on. No content changes."""
        ...

    def partial(self, cursor: Cursor, following: Sequence[int]) -> Partial | None:
        """The page after ``cursor`` that begins most like ``following``, which is one page of tokens or less."""
        ...

    def publish(self, cursor: Cursor, tokens: Sequence[int], page: int) -> Cursor:
        """``page`` holds ``tokens``, the full page after ``cursor``. Returns the cursor after it.

        A cache may decline: ``holds(page)`` says whether the page can be hit from now on.
        """
        ...

    def page_before(self, cursor: Cursor) -> int | None:
        """The page by which the last content before ``cursor`` is found; None for the cursor None."""
        ...

    def holds(self, page: int) -> bool:
        """The content of ``page`` can be hit."""
        ...

    def is_leaf(self, page: int) -> bool:
        """No known page continues ``page``, which it holds."""
        ...

    def move(self, page: int, target: int) -> None:
        """The content of ``page`` stands in page ``target`` from now on."""
        ...

    def forget(self, page: int) -> Forgotten:
        """The content of ``page``, which it holds, must not be hit again."""
        ...

    def pages(self) -> set[int]:
        """All pages that it holds."""
        ...

    def check(self) -> None:
        """Raise InvariantViolation where the cache contradicts itself."""
        ...


class NoPrefixCache:
    """Prefix caching switched off: every lookup misses and nothing is kept."""

    def match(self, tokens: Sequence[int], max_pages: int, salt: Salt) -> Match:
        return Match([], None)

    def partial(self, cursor: Cursor, following: Sequence[int]) -> Partial | None:
        return None

    def publish(self, cursor: Cursor, tokens: Sequence[int], page: int) -> Cursor:
        return None

    def page_before(self, cursor: Cursor) -> int | None:
        return None

    def holds(self, page: int) -> bool:
        return False

    def is_leaf(self, page: int) -> bool:
        raise AssertionError(f"page {page} was sought in a cache that holds none")

    def move(self, page: int, target: int) -> None:
        raise AssertionError(f"page {page} was moved in a cache that holds none")

    def forget(self, page: int) -> Forgotten:
        raise AssertionError(f"page {page} was to be forgotten by a cache that holds none")

    def pages(self) -> set[int]:
        return set()

    def check(self) -> None:
        return


Child = TypeVar("Child")


def shared_run(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading tokens two runs have in common."""
    length = min(len(one), len(other))
    for at in range(length):
        if one[at] != other[at]:
            return at
    return length


def closest(
    children: Sequence[Child],
    tokens: tuple[int, ...],
    run: Callable[[Child], tuple[int, ...]],
    page: Callable[[Child], int | None],
) -> Partial | None:
    """The child whose ``run`` of tokens begins most like ``tokens``, among those that have a ``page``.

    ``children`` are sorted by their runs, so the best one stands next to where ``tokens`` would stand.
    """
    middle = bisect_left(children, tokens, key=run)
    best: Partial | None = None
    for side in (range(middle, len(children)), range(middle - 1, -1, -1)):
        for at in side:
            there = page(children[at])
            if there is None:
                continue
            shared = shared_run(run(children[at]), tokens)
            if shared > (best.num_tokens if best else 0):
                best = Partial(there, shared)
            break  # the farther from the middle, the less is shared
    return best
