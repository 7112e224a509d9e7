"""A pool that grows as it is used does what the plain one does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedlab.errors import OutOfPages
from pagedlab.memory.pool import PagePool
from pagedlab.simulate.pool import UntouchedPool
from pagedlab.simulate.simulator import Simulator

MOVES = st.lists(st.tuples(st.sampled_from(["take", "take", "share", "keep", "drop", "blank"]), st.integers(0, 9)))


def moved(pool: PagePool, move: str, page: int) -> object:
    try:
        if move == "take":
            return pool.take()
        if move == "blank":
            return pool.blank(page) if page in pool.cached_pages() else None
        if not pool.refcount(page):
            return None
        return pool.share(page) if move == "share" else pool.drop(page, keep=move == "keep")
    except OutOfPages:
        return "out"


@given(moves=MOVES)
def test_pages_that_nobody_took_are_free_all_the_same(moves):
    plain, grown = PagePool(10), UntouchedPool(10)
    for move, page in moves:
        assert moved(grown, move, page) == moved(plain, move, page)
        for pool in (plain, grown):
            pool.check()
        assert grown.free_pages() == plain.free_pages()
        assert grown.cached_pages() == plain.cached_pages()
        assert (grown.num_free, grown.num_cached, grown.num_used) == (plain.num_free, plain.num_cached, plain.num_used)
        assert [grown.state(page) for page in range(10)] == [plain.state(page) for page in range(10)]


def test_a_pool_without_pages_is_refused():
    with pytest.raises(ValueError, match="a pool of 0 pages"):
        UntouchedPool(0)


def test_replicas_take_no_memory_for_pages_that_they_never_touch():
    pool = Simulator("sglang").replica().scheduler.manager.pool
    assert isinstance(pool, UntouchedPool)
    assert pool.num_free == pool.num_pages > 100_000
    assert not pool._refcount
