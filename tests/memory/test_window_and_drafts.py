"""Pages that a sequence gives back while it runs: those behind its window, and those of rejected drafts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedlab.memory.table import HOLE
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
    serve_and_leave,
    several_slots,
)


@given(page_size=st.integers(1, 5), window=st.integers(1, 17), num_tokens=st.integers(1, 40))
def test_exactly_the_pages_that_no_coming_token_sees_are_given_back(
    page_size: int, window: int, num_tokens: int
) -> None:
    """Behaviour 31."""
    manager = make_manager(40, page_size, window=window)
    serve(manager, 0, [A] * num_tokens)
    manager.slide(0)
    manager.check()
    next_token = num_tokens
    seen = {position // page_size for position in range(next_token - window + 1, next_token) if position >= 0}
    for logical, page in enumerate(pages_of(manager, 0)):
        whole = (logical + 1) * page_size <= num_tokens
        assert (page == HOLE) == (logical not in seen and whole)


@both_caches
@page_sizes
def test_pages_behind_the_window_come_back_while_the_sequence_runs_on(page_size: int, cache: str) -> None:
    """Behaviour 31: a sequence far longer than the pool, decoded token by token."""
    manager = make_manager(4, page_size, cache, window=page_size + 1)
    tokens = [A]
    serve(manager, 0, tokens)
    for step in range(20 * page_size):
        manager.begin_step(step)
        tokens.append(A + step % 3)
        manager.extend(0, len(tokens))
        manager.publish(0, tokens, len(tokens))
        manager.slide(0)
        manager.check()
        table = manager.table(0)
        assert len(table) - table.holes <= 3
        with pytest.raises(IndexError):
            table.locate(table.holes * page_size - 1)
        table.slots(max(0, len(tokens) - page_size), len(tokens))
    leave(manager, 0)
    assert manager.pool.num_used == 0


@both_caches
@page_sizes
def test_a_page_behind_one_window_stays_for_those_who_still_see_it(page_size: int, cache: str) -> None:
    """Behaviour 31: never while in use."""
    manager = make_manager(6, page_size, cache, window=page_size)
    tokens = [A] * 3 * page_size
    serve(manager, 0, tokens)
    manager.fork(0, 1)
    first = pages_of(manager, 0)[0]
    manager.slide(0)
    assert pages_of(manager, 0)[0] == HOLE
    assert manager.pool.refcount(first) == 1
    assert pages_of(manager, 1)[0] == first
    manager.slide(1)
    assert manager.pool.refcount(first) == 0
    assert first in published(manager)
    manager.check()


@both_caches
@page_sizes
def test_hits_behind_the_window_take_no_page_and_need_not_stay(page_size: int, cache: str) -> None:
    """Behaviours 11 and 31."""
    manager = make_manager(5, page_size, cache, window=page_size)
    tokens = [A] * 4 * page_size
    serve_and_leave(manager, 0, tokens)
    cost = manager.pages_to_admit(1, [*tokens, B], len(tokens) + 1)
    available = manager.num_available
    admission = serve(manager, 1, [*tokens, B])
    assert admission.num_hit == 4 * page_size
    num_behind = (4 * page_size + 1 - page_size) // page_size
    assert pages_of(manager, 1)[:num_behind] == [HOLE] * num_behind
    assert available - manager.num_available == cost == 5 - num_behind


@page_sizes
def test_a_fork_has_the_holes_of_its_parent(page_size: int) -> None:
    """Behaviours 31 and 34."""
    manager = make_manager(8, page_size, window=page_size)
    serve(manager, 0, [A] * 4 * page_size)
    manager.slide(0)
    manager.fork(0, 1)
    assert pages_of(manager, 1) == pages_of(manager, 0)
    assert manager.table(1).holes == manager.table(0).holes > 0
    leave(manager, 0, 1)
    assert manager.pool.num_used == 0


@both_caches
@page_sizes
def test_drafted_tokens_that_were_rejected_are_never_cached(page_size: int, cache: str) -> None:
    """Behaviour 33."""
    for num_drafts in range(1, 2 * page_size + 2):
        for num_accepted in range(num_drafts + 1):
            manager = make_manager(8, page_size, cache)
            prompt = [A] * (page_size + page_size // 2) + [B]
            serve(manager, 0, prompt)
            free = manager.pool.num_free
            manager.extend(0, len(prompt) + num_drafts)
            drafts = [C] * num_drafts
            tokens = prompt + drafts[:num_accepted]
            manager.truncate(0, len(tokens))
            manager.publish(0, tokens, len(tokens))
            manager.check()
            assert len(manager.table(0)) == manager.pages_for(len(tokens))
            assert free - manager.pool.num_free == manager.pages_for(len(tokens)) - manager.pages_for(len(prompt))
            assert manager.lookup([*prompt, *drafts, D]) == len(tokens) // page_size * page_size
            assert len(published(manager)) == len(tokens) // page_size


@several_slots
def test_what_others_read_cannot_be_cut(page_size: int) -> None:
    """Behaviour 2: a published page stays as it is, and so does one that a fork reads."""
    manager = make_manager(6, page_size)
    serve(manager, 0, [A] * (page_size + 1))
    for cut in (0, page_size - 1):
        before = snapshot(manager)
        with pytest.raises(ValueError, match=f"1 published; it cannot be cut to {cut}"):
            manager.truncate(0, cut)
        assert snapshot(manager) == before
    manager.extend(0, 2 * page_size)
    manager.fork(0, 1)
    before = snapshot(manager)
    with pytest.raises(ValueError, match="others read on in page 1"):
        manager.truncate(1, page_size + 1)
    assert snapshot(manager) == before
    manager.truncate(1, page_size)
    manager.check()
    assert len(manager.table(0)) == 2


def test_a_hole_cannot_be_published_and_ends_publishing() -> None:
    manager = make_manager(6, 2, window=1)
    manager.admit(0, [A] * 4)
    manager.slide(0)
    manager.publish(0, [A] * 4, 4)
    manager.extend(0, 6)
    manager.publish(0, [A] * 6, 6)
    manager.check()
    assert not published(manager)


@page_sizes
def test_what_was_given_back_cannot_be_cut(page_size: int) -> None:
    manager = make_manager(6, page_size, None, window=1)
    serve(manager, 0, [A] * 4 * page_size)
    manager.slide(0)
    before = snapshot(manager)
    with pytest.raises(ValueError, match="4 of its pages were given back, 0 published; it cannot be cut to 0"):
        manager.truncate(0, 0)
    assert snapshot(manager) == before
