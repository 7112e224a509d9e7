"""Logical pages: a swap changes the map, and no table."""

from __future__ import annotations

import pytest

from pagedlab.errors import InvariantViolation, OutOfPages
from pagedlab.memory.logical import LogicalManager, LogicalPages
from pagedlab.memory.prefix_hash import HashPrefixCache
from tests.memory.serving import A, B, C, leave, pages_of, serve


def manager_of(num_pages: int, num_host_pages: int, *, cached: bool = False) -> LogicalManager:
    cache = HashPrefixCache(2) if cached else None
    return LogicalManager(num_pages, 2, prefix_cache=cache, num_host_pages=num_host_pages)


def test_every_logical_page_is_somewhere_and_every_page_has_one_number() -> None:
    pages = LogicalPages(4)
    pages.move(0, 3)
    assert pages.where == [3, 1, 2, 0] and pages.number == [3, 1, 2, 0]
    pages.move(1, 0)
    assert pages.where == [3, 0, 2, 1] and pages.number == [1, 3, 2, 0]


def test_a_swap_changes_where_logical_pages_are_and_no_number_in_the_table() -> None:
    """Behaviour 35: out, away while others use the device, and back into other pages."""
    manager = manager_of(num_pages=3, num_host_pages=4)
    tokens = [A] * 5
    serve(manager, 0, tokens)
    numbers, table = manager.logical(0), manager.table(0)
    manager.begin_step(1)
    assert manager.swap_out(0)
    assert manager.logical(0) == numbers
    assert [manager.map.where[number] for number in numbers] == [3, 4, 5], "host pages are numbered from 3 on"
    assert [(copy.source, copy.target) for copy in manager.take_copies()] == [(0, 3), (1, 4), (2, 5)]
    serve(manager, 1, [B, B])
    with pytest.raises(OutOfPages):
        manager.admit(0, tokens, budget=1)
    assert manager.logical(0) == numbers
    leave(manager, 1)
    manager.begin_step(3)
    assert manager.admit(0, tokens, budget=1).num_hit == 5
    manager.check()
    assert manager.logical(0) == numbers and manager.table(0) is table
    assert sorted(pages_of(manager, 0)) == [0, 1, 2] != pages_of(manager, 0), "other pages than before"
    assert table.dirty == 0, "a mirror must read it again"
    leave(manager, 0)


def test_what_others_can_read_is_not_swapped() -> None:
    manager = manager_of(num_pages=6, num_host_pages=6)
    serve(manager, 0, [A] * 4)
    manager.fork(0, 1)
    assert not manager.swap_out(0), "a fork reads on in its pages"
    leave(manager, 1)
    assert manager.swap_out(0)

    manager = manager_of(num_pages=6, num_host_pages=6, cached=True)
    serve(manager, 0, [A])
    serve(manager, 1, [B] * 3)
    assert not manager.swap_out(1), "the prefix cache has its first page"
    assert manager.swap_out(0)
    manager.check()


def test_a_sequence_that_never_comes_back_leaves_no_table_behind() -> None:
    manager = manager_of(num_pages=4, num_host_pages=2)
    serve(manager, 0, [A] * 4)
    manager.begin_step(1)
    assert manager.swap_out(0)
    manager.drop_swapped(0)
    manager.check()
    serve(manager, 1, [C] * 4)
    manager.begin_step(2)
    assert manager.swap_out(1), "its place is free again"
    manager.abandon_step()  # nobody knows whether the copies were made
    manager.check()
    assert not manager.host.swapped and manager.host.num_available == 2


def test_the_check_notices_a_table_that_was_not_translated_and_a_map_that_lies() -> None:
    manager = manager_of(num_pages=4, num_host_pages=2)
    serve(manager, 0, [A] * 4)
    manager.map.move(0, 3)
    with pytest.raises(InvariantViolation, match="sequence 0 holds too much, or a page twice"):
        manager.check()
    manager.map.where[1] = 3
    with pytest.raises(InvariantViolation):
        manager.check()
