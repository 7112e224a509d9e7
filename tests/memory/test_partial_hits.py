"""A page that only begins as a prompt goes on is copied, and used as far as it serves."""

from __future__ import annotations

import pytest

from pagedlab.memory.copies import PageCopy
from tests.memory.serving import (
    A,
    B,
    C,
    D,
    both_caches,
    leave,
    make_manager,
    pages_of,
    published,
    serve,
    serve_and_leave,
    several_slots,
)


@both_caches
@several_slots
def test_a_page_that_begins_alike_is_copied_and_the_rest_computed(page_size: int, cache: str) -> None:
    manager = make_manager(6, page_size, cache, partial_hits=True)
    known = serve_and_leave(manager, 0, [A] * 2 * page_size)
    for shared in range(1, page_size):
        manager.begin_step(1)
        tokens = [A] * (page_size + shared) + [B] * page_size
        assert manager.lookup(tokens) == page_size + shared
        assert manager.admit(1, tokens).num_hit == page_size + shared
        first, copied = pages_of(manager, 1)[:2]
        assert (first, copied != known[1]) == (known[0], True)
        assert manager.take_copies() == [PageCopy(known[1], copied)]
        manager.publish(1, tokens, len(tokens))
        manager.check()
        leave(manager, 1)
        assert manager.lookup([A] * 2 * page_size + [C]) == 2 * page_size, "the page itself is as it was"
        assert manager.lookup([*tokens, C]) == len(tokens) // page_size * page_size, "and so is the new one"
        manager.reset_prefix_cache()
        known = serve_and_leave(manager, 0, [A] * 2 * page_size)


@both_caches
@several_slots
def test_of_several_pages_the_one_that_is_most_alike_is_copied(page_size: int, cache: str) -> None:
    manager = make_manager(20, page_size, cache, partial_hits=True)
    pages = {}
    for shared in range(page_size):
        (pages[shared],) = serve_and_leave(manager, 0, [A] * shared + [100 + shared] * (page_size - shared))
    best = page_size - 1
    manager.take_copies()
    manager.begin_step(1)
    assert manager.admit(1, [A] * page_size + [C]).num_hit == best
    assert manager.take_copies() == [PageCopy(pages[best], pages_of(manager, 1)[0])]


@both_caches
@several_slots
def test_the_last_token_is_computed_even_when_a_whole_page_is_alike(page_size: int, cache: str) -> None:
    """Behaviour 14."""
    manager = make_manager(6, page_size, cache, partial_hits=True)
    serve_and_leave(manager, 0, [A] * 2 * page_size)
    manager.begin_step(1)
    for num_tokens in range(1, 2 * page_size + 1):
        assert manager.admit(1, [A] * num_tokens).num_hit == num_tokens - 1
        manager.check()
        leave(manager, 1)


@both_caches
@several_slots
def test_a_page_whose_content_is_yet_to_come_is_not_copied(page_size: int, cache: str) -> None:
    """Copies are made before the step computes: a page that two share is another matter."""
    manager = make_manager(6, page_size, cache, partial_hits=True)
    manager.begin_step(0)
    manager.admit(0, [A] * page_size)
    manager.publish(0, [A] * page_size, page_size)
    assert manager.lookup([A] * (page_size - 1) + [B, B]) == 0
    assert manager.lookup([A] * page_size + [B]) == page_size
    manager.begin_step(1)
    assert manager.lookup([A] * (page_size - 1) + [B, B]) == page_size - 1


@both_caches
@several_slots
def test_the_page_to_copy_may_be_the_only_one_left(page_size: int, cache: str) -> None:
    """It is evicted to make room for its own copy: its content is where it is wanted."""
    manager = make_manager(1, page_size, cache, partial_hits=True)
    (page,) = serve_and_leave(manager, 0, [A] * page_size)
    manager.begin_step(1)
    assert manager.admit(1, [A] * (page_size - 1) + [B]).num_hit == page_size - 1
    assert pages_of(manager, 1) == [page]
    assert manager.take_copies() == []
    assert not published(manager)
    manager.check()


@both_caches
@several_slots
def test_partial_hits_are_off_unless_asked_for(page_size: int, cache: str) -> None:
    manager = make_manager(4, page_size, cache)
    serve_and_leave(manager, 0, [A] * page_size)
    assert serve(manager, 1, [A] * (page_size - 1) + [B, B]).num_hit == 0


@both_caches
@several_slots
@pytest.mark.parametrize("salt", [None, "tenant"])
def test_partial_hits_keep_to_their_salt(page_size: int, cache: str, salt: str | None) -> None:
    """Behaviour 16."""
    manager = make_manager(4, page_size, cache, partial_hits=True)
    serve_and_leave(manager, 0, [A] * page_size, salt=salt)
    manager.begin_step(1)
    wanted = [A] * (page_size - 1) + [D, D]
    assert manager.lookup(wanted, "another") == 0
    assert manager.lookup(wanted, salt) == page_size - 1
