"""Who gets which page, what a failure leaves behind, and what a fork shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedlab.errors import InvariantViolation, OutOfPages
from pagedlab.memory.copies import PageCopy
from pagedlab.memory.manager import CacheManager
from tests.memory.proofs import snapshot
from tests.memory.serving import (
    A,
    B,
    C,
    D,
    both_caches,
    leave,
    make_manager,
    page_sizes,
    pages_of,
    published,
    serve,
    several_slots,
    victims,
)


@page_sizes
def test_pages_come_back_to_the_free_queue_tail_first_behind_those_that_wait_there(page_size: int) -> None:
    """Behaviour 5."""
    manager = make_manager(7, page_size, None)
    for name, num_pages in enumerate((2, 3)):
        manager.admit(name, [A] * num_pages * page_size)
    assert (pages_of(manager, 0), pages_of(manager, 1)) == ([0, 1], [2, 3, 4])
    assert manager.pool.free_pages() == [5, 6]
    leave(manager, 1)
    assert manager.pool.free_pages() == [5, 6, 4, 3, 2]
    leave(manager, 0)
    assert manager.pool.free_pages() == [5, 6, 4, 3, 2, 1, 0]
    manager.admit(2, [A] * 3 * page_size)
    assert pages_of(manager, 2) == [5, 6, 4]


@both_caches
@page_sizes
def test_free_queue_and_cached_pages_keep_their_orders_apart(page_size: int, cache: str) -> None:
    """Behaviour 5: of a released sequence, published pages are parked, the others freed, each tail first."""
    manager = make_manager(6, page_size, cache)
    tokens = [A] * 4 * page_size
    manager.admit(0, tokens)
    manager.publish(0, tokens, 2 * page_size)
    leave(manager, 0)
    assert manager.pool.free_pages() == [4, 5, 3, 2]
    assert victims(manager) == [1, 0]


def too_large_to_admit(manager: CacheManager, page_size: int) -> None:
    manager.admit(9, [A] * page_size + [D] * 3 * page_size)


def too_large_to_admit_for_its_hits(manager: CacheManager, page_size: int) -> None:
    manager.admit(9, [B] * page_size + [D] * 2 * page_size)  # two cached pages, but one of them is the hit


def too_large_to_extend(manager: CacheManager, page_size: int) -> None:
    manager.extend(0, 6 * page_size)


@both_caches
@page_sizes
@pytest.mark.parametrize("act", [too_large_to_admit, too_large_to_admit_for_its_hits, too_large_to_extend])
def test_a_failed_allocation_changes_nothing(
    page_size: int, cache: str, act: Callable[[CacheManager, int], None]
) -> None:
    """Behaviour 10."""
    manager = make_manager(5, page_size, cache, trace=True)
    serve(manager, 0, [A] * 3 * page_size)
    serve(manager, 1, [B] * 2 * page_size)
    leave(manager, 1)
    assert (manager.pool.num_used, manager.pool.num_cached, manager.pool.num_free) == (3, 2, 0)
    before = snapshot(manager)
    with pytest.raises(OutOfPages):
        act(manager, page_size)
    assert snapshot(manager) == before
    manager.check()


@both_caches
@several_slots
def test_a_copy_that_finds_no_page_changes_nothing(page_size: int, cache: str) -> None:
    """Behaviour 10."""
    manager = make_manager(2, page_size, cache, trace=True)
    serve(manager, 0, [A] * (page_size + 1))
    manager.fork(0, 1)
    before = snapshot(manager)
    with pytest.raises(OutOfPages, match="1 pages asked for, 0 free and 0 cached"):
        manager.extend(1, page_size + 2)
    assert snapshot(manager) == before


@both_caches
@page_sizes
def test_cached_pages_that_are_hit_are_not_counted_as_room_for_the_rest(page_size: int, cache: str) -> None:
    """Behaviour 11: two pages cached and hit, two free: two more can be had, not three, and not four."""
    manager = make_manager(4, page_size, cache)
    prefix = [A] * 2 * page_size
    serve(manager, 0, prefix)
    leave(manager, 0)
    assert manager.num_available == 4
    with pytest.raises(OutOfPages, match="5 pages asked for, 2 free and 2 cached"):
        manager.admit(1, prefix + [B] * 3 * page_size)
    assert manager.admit(1, prefix + [B] * 2 * page_size) == (2 * page_size, 4 * page_size)
    assert manager.num_available == 0


@both_caches
@page_sizes
def test_pages_hit_while_in_use_take_nothing_from_the_room_there_is(page_size: int, cache: str) -> None:
    """Behaviour 11."""
    manager = make_manager(4, page_size, cache)
    prefix = [A] * 2 * page_size
    serve(manager, 0, prefix)
    assert manager.admit(1, prefix + [B] * 2 * page_size).num_hit == 2 * page_size
    assert manager.num_available == 0


@given(data=st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_what_the_predictors_say_is_what_gets_allocated(data: st.DataObject) -> None:
    """Behaviour 12."""
    page_size = data.draw(st.sampled_from([1, 2, 3, 8]))
    settings: dict[str, Any] = {
        "partial_hits": data.draw(st.booleans()),
        "window": data.draw(st.sampled_from([None, 1, page_size + 1])),
        "num_host_pages": data.draw(st.sampled_from([0, 6])),
    }
    manager = make_manager(24, page_size, data.draw(st.sampled_from(["hash", "radix"])), **settings)
    prompts = st.lists(st.integers(0, 1), min_size=1, max_size=6 * page_size)
    for name in range(4):
        tokens = data.draw(prompts)
        manager.begin_step(name)
        foretold, available = manager.lookup(tokens), manager.num_available
        pages = manager.pages_to_admit(name, tokens, len(tokens))
        assert serve(manager, name, tokens).num_hit == foretold
        assert available - manager.num_available == pages
        manager.fork(name, 100 + name)
        for target in (name, 100 + name):
            total = len(tokens) + data.draw(st.integers(0, 2 * page_size))
            needed, available = manager.pages_needed(target, total), manager.num_available
            if needed <= available:
                manager.extend(target, total)
                assert available - manager.num_available == needed
            else:
                with pytest.raises(OutOfPages):
                    manager.extend(target, total)
        manager.slide(name)
        held, longer = manager.table(name).num_tokens, [*tokens, *[0] * (2 * page_size + 1)]
        if data.draw(st.booleans()) and manager.swap_out(name):
            available, pages = manager.num_available, manager.pages_to_admit(name, longer, held + 1)
            if pages <= available:
                assert manager.admit(name, longer, budget=1) == (held, held + 1)
                assert available - manager.num_available == pages
        leave(manager, 100 + name, *([name] if name in manager.sequences and data.draw(st.booleans()) else []))


@both_caches
@page_sizes
def test_a_request_that_is_tried_again_is_counted_once_and_a_preempted_one_again(page_size: int, cache: str) -> None:
    """Behaviour 20."""
    manager = make_manager(3, page_size, cache)
    serve(manager, 0, [B] * 2 * page_size)
    tokens = [A] * 2 * page_size
    for _ in range(5):
        with pytest.raises(OutOfPages):
            manager.admit(1, tokens)
        manager.lookup(tokens)
    assert manager.stats.queried_tokens == 2 * page_size
    leave(manager, 0)
    serve(manager, 1, tokens)
    assert manager.stats.queried_tokens == 4 * page_size
    assert manager.stats.hit_tokens == 0
    leave(manager, 1)  # preempted
    hit = serve(manager, 1, tokens).num_hit
    assert manager.stats.queried_tokens == 6 * page_size
    assert manager.stats.hit_tokens == hit
    assert manager.stats.hit_rate == hit / (6 * page_size)


@both_caches
@page_sizes
@pytest.mark.parametrize("num_pages", [1, 2, 9])
def test_a_pool_can_be_used_up_to_its_last_page_and_comes_back_whole(
    page_size: int, cache: str, num_pages: int
) -> None:
    """Behaviours 21 and 22, with every page held at once by one sequence, and by as many as there are pages."""
    manager = make_manager(num_pages, page_size, cache)
    for _ in range(3):
        serve(manager, 0, [A] * num_pages * page_size)
        assert manager.num_available == 0
        with pytest.raises(OutOfPages):
            manager.extend(0, num_pages * page_size + 1)
        leave(manager, 0)
        assert (manager.pool.num_used, manager.num_available) == (0, num_pages)
        for name in range(num_pages):
            serve(manager, name, [B + name] * page_size)
        with pytest.raises(OutOfPages):
            manager.admit(num_pages, [A])
        leave(manager, *range(num_pages))
        assert [manager.pool.refcount(page) for page in range(num_pages)] == [0] * num_pages


@both_caches
@page_sizes
def test_full_pages_of_a_fork_are_shared_and_the_partial_one_is_copied_by_whoever_writes_first(
    page_size: int, cache: str
) -> None:
    """Behaviour 34."""
    manager = make_manager(8, page_size, cache)
    num_tokens = page_size + page_size // 2 + 1
    serve(manager, 0, [A] * num_tokens)
    before = pages_of(manager, 0)
    is_partial = num_tokens % page_size != 0
    for writer, other in ((0, 1), (1, 0)):
        manager.fork(0, 1)
        assert pages_of(manager, 1) == pages_of(manager, 0)
        shared = pages_of(manager, 0)
        manager.extend(writer, num_tokens + 1)
        made = manager.take_copies()
        if is_partial:
            assert made == [PageCopy(shared[-1], pages_of(manager, writer)[len(shared) - 1])]
            assert pages_of(manager, writer)[: len(shared) - 1] == shared[:-1]
            assert manager.pool.refcount(shared[-1]) == 1
        else:
            assert made == []
            assert pages_of(manager, writer)[:-1] == shared
        assert pages_of(manager, other) == shared
        manager.check()
        manager.extend(other, num_tokens + 1)
        assert manager.take_copies() == [], "nobody else reads its last page any more"
        assert pages_of(manager, 0)[-1] != pages_of(manager, 1)[-1]
        leave(manager, 0, 1)
        serve(manager, 0, [A] * num_tokens)
    assert manager.stats.copies == (2 if is_partial else 0)
    assert len(before) == manager.pages_for(num_tokens)


@both_caches
@several_slots
def test_of_n_forks_all_but_the_last_to_write_copy(page_size: int, cache: str) -> None:
    """Behaviour 34."""
    manager = make_manager(8, page_size, cache)
    serve(manager, 0, [A])
    for child in (1, 2, 3):
        manager.fork(0, child)
    assert manager.pool.refcount(0) == 4
    num_copies = []
    for name in (2, 0, 3, 1):
        manager.extend(name, 2)
        num_copies.append(len(manager.take_copies()))
    assert num_copies == [1, 1, 1, 0]
    assert len({pages_of(manager, name)[0] for name in range(4)}) == 4
    assert pages_of(manager, 1) == [0]


@both_caches
@page_sizes
def test_a_fork_that_fills_the_page_it_shares_publishes_its_own_tokens(page_size: int, cache: str) -> None:
    """Behaviour 34: what parent and child write after the fork is found apart."""
    manager = make_manager(8, page_size, cache)
    tokens = [A] * (2 * page_size - 1)
    serve(manager, 0, tokens)
    manager.fork(0, 1)
    mine, yours = [*tokens, B], [*tokens, C]
    for name, all_tokens in ((0, mine), (1, yours)):
        manager.extend(name, 2 * page_size)
        manager.publish(name, all_tokens, 2 * page_size)
        manager.check()
    assert len(published(manager)) == 3
    for name, all_tokens in ((0, mine), (1, yours)):
        assert serve(manager, 10 + name, [*all_tokens, D]).num_hit == 2 * page_size
        assert pages_of(manager, 10 + name)[:2] == pages_of(manager, name)


@page_sizes
def test_a_sequence_never_wastes_a_whole_page(page_size: int) -> None:
    manager = make_manager(6, page_size)
    manager.admit(0, [A], budget=0)
    for num_tokens in range(6 * page_size + 1):
        manager.extend(0, num_tokens)
        assert 0 <= manager.table(0).waste < page_size
        assert len(manager.table(0)) == manager.pages_for(num_tokens)
        manager.check()


def test_calls_that_make_no_sense_are_refused() -> None:
    manager = make_manager(4, 4)
    manager.admit(0, [A] * 5)
    for act, message in (
        (lambda: manager.admit(0, [A]), "sequence 0 is admitted already"),
        (lambda: manager.admit(1, []), "without tokens"),
        (lambda: manager.admit(1, [A], budget=-1), "budget of -1"),
        (lambda: manager.fork(0, 0), "sequence 0 is admitted already"),
        (lambda: manager.extend(0, 4), "holds 5 tokens; it cannot shrink to 4"),
        (lambda: CacheManager(4, 0), "page_size 0"),
        (lambda: CacheManager(0, 4), "a pool of 0 pages"),
    ):
        with pytest.raises(ValueError, match=message):
            act()
    assert manager.sequences == [0]
    manager.check()


def test_check_finds_a_reference_that_was_dropped() -> None:
    manager = make_manager(4, 4)
    serve(manager, 0, [A] * 8)
    manager.pool.share(1)
    with pytest.raises(InvariantViolation, match="page 1: 2 references counted, 1 entries name it"):
        manager.check()


def test_check_finds_a_page_that_nobody_holds() -> None:
    manager = make_manager(4, 4)
    manager.pool.take()
    with pytest.raises(InvariantViolation, match="page 0: 1 references counted, 0 entries"):
        manager.check()


def test_check_finds_a_page_whose_content_was_kept_though_it_is_blank() -> None:
    manager = make_manager(4, 4)
    serve(manager, 0, [A] * 4)
    leave(manager, 0)
    manager.pool.blank(0)
    with pytest.raises(InvariantViolation, match="page 0 is free, its content is published"):
        manager.check()


def test_check_finds_a_page_that_is_cached_without_content() -> None:
    manager = make_manager(4, 4)
    serve(manager, 0, [A] * 4)
    leave(manager, 0)
    manager.prefix_cache.forget(0)
    with pytest.raises(InvariantViolation, match="page 0 is cached, its content is not published"):
        manager.check()


def test_check_finds_a_sequence_that_holds_a_page_too_many_or_one_twice() -> None:
    manager = make_manager(4, 4)
    manager.admit(0, [A] * 5)
    manager.table(0).num_tokens = 4
    with pytest.raises(InvariantViolation, match="sequence 0 holds too much, or a page twice"):
        manager.check()
    manager.table(0).num_tokens = 8
    first, second = pages_of(manager, 0)
    manager.table(0).pages[1] = first
    manager.pool.share(first)
    manager.pool.drop(second, keep=False)
    with pytest.raises(InvariantViolation, match="sequence 0 holds too much, or a page twice"):
        manager.check()


def test_check_finds_a_partial_page_that_was_published() -> None:
    manager = make_manager(4, 4)
    serve(manager, 0, [A] * 8)
    manager.table(0).num_tokens = 7
    with pytest.raises(InvariantViolation, match="published a page that is not full"):
        manager.check()
