"""PagePool: every page in exactly one state, and out and in by the same door."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pagedlab.errors import InvariantViolation, OutOfPages
from pagedlab.memory.pool import PagePool, PageState


class PoolMachine(RuleBasedStateMachine):
    """Against three plain lists."""

    @initialize(num_pages=st.integers(1, 8), last_freed_first=st.booleans())
    def begin(self, num_pages: int, last_freed_first: bool) -> None:
        self.pool = PagePool(num_pages, last_freed_first=last_freed_first)
        self.references = [0] * num_pages
        self.free = list(range(num_pages))
        self.cached: set[int] = set()

    @rule()
    def take(self) -> None:
        if not self.free:
            with pytest.raises(OutOfPages):
                self.pool.take()
            return
        assert self.pool.take() == self.free[0]
        self.references[self.free.pop(0)] = 1

    @rule(page=st.integers(0, 7))
    def share(self, page: int) -> None:
        page %= self.pool.num_pages
        if page in self.free:
            with pytest.raises(InvariantViolation, match="there is no content to share"):
                self.pool.share(page)
            return
        self.pool.share(page)
        self.cached.discard(page)
        self.references[page] += 1

    @rule(page=st.integers(0, 7), keep=st.booleans())
    def drop(self, page: int, keep: bool) -> None:
        page %= self.pool.num_pages
        if not self.references[page]:
            with pytest.raises(InvariantViolation, match="dropped once more than it was taken"):
                self.pool.drop(page, keep=keep)
            return
        self.references[page] -= 1
        assert self.pool.drop(page, keep=keep) == self.references[page]
        if not self.references[page]:
            self.cached.add(page) if keep else self.line_up(page)

    @precondition(lambda self: self.cached)
    @rule()
    def blank(self) -> None:
        page = min(self.cached)
        self.pool.blank(page)
        self.cached.remove(page)
        self.line_up(page)

    def line_up(self, page: int) -> None:
        self.free.insert(0 if self.pool.last_freed_first else len(self.free), page)

    @rule(page=st.integers(0, 7))
    def blank_what_is_not_cached(self, page: int) -> None:
        page %= self.pool.num_pages
        if page not in self.cached:
            with pytest.raises(InvariantViolation, match="only a cached page can be blanked"):
                self.pool.blank(page)

    @invariant()
    def agrees(self) -> None:
        pool = self.pool
        pool.check()
        assert pool.free_pages() == self.free
        assert (pool.num_free, pool.num_cached) == (len(self.free), len(self.cached))
        assert pool.num_used == sum(count > 0 for count in self.references)
        for page, count in enumerate(self.references):
            assert pool.refcount(page) == count
            expected = PageState.USED if count else PageState.CACHED if page in self.cached else PageState.FREE
            assert pool.state(page) is expected


TestPagePool = PoolMachine.TestCase
TestPagePool.settings = settings(max_examples=100, stateful_step_count=30, deadline=None, derandomize=True)


@pytest.mark.parametrize("num_pages", [1, 2, 17])
def test_the_queue_works_empty_with_one_page_and_with_all(num_pages: int) -> None:
    """Behaviour 21."""
    pool = PagePool(num_pages)
    for _ in range(3):
        taken = [pool.take() for _ in range(num_pages)]
        assert sorted(taken) == list(range(num_pages))
        assert (pool.num_free, pool.num_used, pool.free_pages()) == (0, num_pages, [])
        with pytest.raises(OutOfPages, match="1 pages asked for, 0 free"):
            pool.take()
        pool.drop(taken[-1], keep=False)
        assert pool.free_pages() == [taken[-1]]
        assert pool.take() == taken[-1]
        for page in taken:
            pool.drop(page, keep=False)
        assert pool.free_pages() == taken
        pool.check()


def test_a_pool_without_pages_is_refused() -> None:
    with pytest.raises(ValueError, match="a pool of 0 pages was asked for"):
        PagePool(0)


def queue_twice(pool: PagePool) -> None:
    pool._free.append(pool._free[0])


def lose_a_page(pool: PagePool) -> None:
    pool._free.popleft()


def cache_a_free_page(pool: PagePool) -> None:
    pool._cached.add(3)


def free_a_used_page(pool: PagePool) -> None:
    pool._free.append(0)


def cache_a_used_page(pool: PagePool) -> None:
    pool._cached.add(0)


def drop_below_nothing(pool: PagePool) -> None:
    pool._refcount[0] = -1


@pytest.mark.parametrize(
    "spoil", [queue_twice, lose_a_page, cache_a_free_page, free_a_used_page, cache_a_used_page, drop_below_nothing]
)
def test_check_finds_a_pool_whose_books_were_spoiled(spoil: Callable[[PagePool], None]) -> None:
    pool = PagePool(4)
    assert pool.take() == 0
    pool.check()
    spoil(pool)
    with pytest.raises(InvariantViolation):
        pool.check()
